//! What a project and the options ask of Debian.

use std::str::FromStr;

use crate::debian::{Request, Suite};
use crate::lock::Lock;
use crate::project::{Kind, Project};
use crate::{Error, PackOptions};

/// The base's request.
///
/// # Errors
/// [`Error::Debian`] for an unknown suite.
pub(crate) fn of(options: &PackOptions, project: &Project, lock: &Lock) -> Result<Request, Error> {
    let settings = &project.settings;
    let suite = match options.suite.as_deref().or(settings.suite.as_deref()) {
        Some(name) => Suite::from_str(name)?,
        None => default_suite(project, lock),
    };
    let mut request = Request::new(suite);
    request.allow_expired = options.allow_expired;
    request.python = matches!(project.kind, Kind::Python(_));
    request.packages = settings.packages.iter().chain(&options.packages).cloned().collect();
    if settings.shell {
        request.packages.push("dash".into());
    }
    if let Kind::Python(python) = &project.kind
        && python.has_packages()
    {
        // The manylinux platforms (PEP 600) promise it to every wheel with native code.
        request.packages.push("libstdc++6".into());
    }
    if let Kind::Node(node) = &project.kind {
        request.packages.extend(node.debian_packages(suite).iter().map(|name| (*name).to_owned()));
    }
    request.packages.sort();
    request.packages.dedup();
    request.omit = settings.omit.clone();
    request.users = settings.users.clone();
    request.directories = settings.directories.clone();
    Ok(request)
}

/// The suite of the lock; without one, the oldest whose Python or Node the project admits.
fn default_suite(project: &Project, lock: &Lock) -> Suite {
    if let Some(base) = &lock.base {
        return base.suite;
    }
    let suites = [Suite::Bookworm, Suite::Trixie];
    match &project.kind {
        Kind::Python(python) => {
            let admits = |suite: &Suite| python.admits_minor(suite.python_version());
            suites.into_iter().find(admits).unwrap_or(Suite::Bookworm)
        }
        Kind::Node(node) => node.suite(),
        _ => Suite::Bookworm,
    }
}
