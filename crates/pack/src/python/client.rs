//! pip, or uv where only that is there.
//!
//! ```text
//! generated requirements ──▶ pip download --no-deps --only-binary :all: --require-hashes   (cwd: empty)
//!                                 └─▶ DEST/*.whl ──sha256──▶ CACHE/wheels/HEX/NAME.whl
//! ```

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::environment::Environment;
use crate::Error;
use crate::client;

/// A client that answered.
pub(super) struct Client {
    argv: Vec<OsString>,
}

impl Client {
    /// Finds the user's pip; through uv if only that is there.
    ///
    /// # Errors
    /// [`Error::Client`] with the way to install one.
    pub(super) fn find(project: &Path) -> Result<Self, Error> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let find = |name: &str| client::find(name, &path, project);
        let with = |program: PathBuf, arguments: &[&str]| {
            std::iter::once(program.into_os_string())
                .chain(arguments.iter().map(OsString::from))
                .collect::<Vec<_>>()
        };
        let candidates = [
            find("python3").map(|python| with(python, &["-m", "pip"])),
            find("pip3").map(|pip| with(pip, &[])),
            find("pip").map(|pip| with(pip, &[])),
            find("uv").map(|uv| {
                with(uv, &["run", "--no-project", "--quiet", "--with", "pip", "python", "-m", "pip"])
            }),
        ];
        for argv in candidates.into_iter().flatten() {
            let client = Self { argv };
            if client.run(&["--version".into()], project).is_ok() {
                return Ok(client);
            }
        }
        Err(Error::Client {
            client: "pip".into(),
            reason: "no working pip or uv on PATH to fetch wheels with: `apt-get install python3-pip`".into(),
        })
    }

    /// Fetches what the requirements name into `dest`, for the environment.
    ///
    /// # Errors
    /// [`Error::Client`] with what the client said.
    pub(super) fn download(
        &self,
        requirements: &Path,
        dest: &Path,
        environment: &Environment,
        project: &Path,
    ) -> Result<(), Error> {
        let mut arguments = words(&["download", "--quiet", "--no-deps", "--require-hashes", "--dest"]);
        arguments.push(dest.into());
        arguments.extend(target(environment));
        arguments.extend(indexes_of_uv());
        arguments.extend([OsString::from("-r"), requirements.into()]);
        self.run(&arguments, project).map(drop)
    }

    /// Resolves requirements without installing: gives the client's report as JSON.
    ///
    /// # Errors
    /// [`Error::Client`] with what the client said.
    pub(super) fn resolve(
        &self,
        requirements: &Path,
        work: &Path,
        environment: &Environment,
        project: &Path,
    ) -> Result<Vec<u8>, Error> {
        let report = work.join("report.json");
        let mut arguments = words(&["install", "--quiet", "--dry-run", "--ignore-installed", "--report"]);
        arguments.push(report.clone().into());
        arguments.extend([OsString::from("--target"), work.join("target").into()]);
        arguments.extend(target(environment));
        arguments.extend(indexes_of_uv());
        arguments.extend([OsString::from("-r"), requirements.into()]);
        self.run(&arguments, project)?;
        std::fs::read(&report).map_err(|_| Error::Client {
            client: "pip".into(),
            reason:
                "it is too old to report a resolution; 22.2 can: upgrade it, or lock with hashes yourself"
                    .into(),
        })
    }

    fn run(&self, arguments: &[OsString], project: &Path) -> Result<Vec<u8>, Error> {
        client::run(&self.argv, arguments, project, explain)
    }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// Indexes that the user has set for uv in the environment, where none is set for pip. uv itself can only
/// install, not keep a wheel as it came, so that its hash could be checked again.
fn indexes_of_uv() -> Vec<OsString> {
    if std::env::var_os("PIP_INDEX_URL").is_some() {
        return Vec::new();
    }
    let mut options = Vec::new();
    for (variable, option) in [
        ("UV_DEFAULT_INDEX", "--index-url"),
        ("UV_INDEX_URL", "--index-url"),
        ("UV_EXTRA_INDEX_URL", "--extra-index-url"),
    ] {
        let values = std::env::var(variable).unwrap_or_default();
        for value in values.split_whitespace() {
            // NAME=URL is uv's way to name an index.
            let url =
                value.split_once("=http").map_or_else(|| value.to_owned(), |(_, rest)| format!("http{rest}"));
            options.extend([OsString::from(option), url.into()]);
        }
    }
    options
}

/// The options that make pip choose for the image and not for the host.
fn target(environment: &Environment) -> Vec<OsString> {
    let mut options = words(&["--only-binary", ":all:", "--implementation", "cp", "--python-version"]);
    options.push(environment.version.clone().into());
    let abi = format!("cp{}", environment.version.replace('.', ""));
    for abi in [abi.as_str(), "abi3", "none"] {
        options.extend(words(&["--abi", abi]));
    }
    for platform in environment.tags.platforms() {
        options.extend(words(&["--platform", platform]));
    }
    options
}

/// pip's last words, with the way out for the two that are ours to explain.
fn explain(said: &str) -> String {
    if said.contains("No matching distribution") {
        return format!(
            "{said}; no wheel for the image's Python: another version may have one, or another suite (--suite)"
        );
    }
    if said.contains("DO NOT MATCH THE HASHES") {
        return format!("{said}; the index offers another file than the lock names: it was not used");
    }
    said.to_owned()
}
