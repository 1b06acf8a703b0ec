//! The package client that the user has configured, used for one thing: to fetch files whose hashes are known.
//!
//! ```text
//! generated requirements ──▶ pip download --no-deps --only-binary :all: --require-hashes   (cwd: empty)
//!                                 └─▶ DEST/*.whl ──sha256──▶ CACHE/wheels/HEX/NAME.whl
//! ```
//!
//! The client keeps the user's environment and configuration (indexes, proxies, credentials) and sees
//! nothing of the project: an empty working directory, no variable that loads code from elsewhere, and
//! never a client that lies inside the project, as an activated virtual environment would give.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::environment::Environment;
use crate::Error;
use crate::step::last_lines;

/// Variables that a client may see, by their beginning or as a whole.
const KEPT_PREFIXES: [&str; 3] = ["PIP_", "UV_", "PYENV_"];
const KEPT: [&str; 22] = [
    "HOME",
    "PATH",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "NETRC",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "XDG_CONFIG_HOME",
    "XDG_CONFIG_DIRS",
    "XDG_CACHE_HOME",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "DBUS_SESSION_BUS_ADDRESS",
];

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
        let find = |name: &str| program(name, &path, project);
        let with = |program: PathBuf, arguments: &[&str]| {
            std::iter::once(program.into_os_string())
                .chain(arguments.iter().map(OsString::from))
                .collect::<Vec<_>>()
        };
        let candidates = [
            find("python3").map(|python| with(python, &["-m", "pip"])),
            find("pip3").map(|pip| with(pip, &[])),
            find("pip").map(|pip| with(pip, &[])),
            find("uv").map(|uv| with(uv, &["tool", "run", "--no-config", "pip"])),
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
        let name = || self.argv.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let fail = |reason: String| Error::Client { client: name(), reason };
        let empty =
            tempfile::tempdir().map_err(|error| fail(format!("no empty directory to run in: {error}")))?;
        let mut command = Command::new(&self.argv[0]);
        command.args(&self.argv[1..]).args(arguments).current_dir(empty.path()).env_clear();
        command.envs(std::env::vars_os().filter(|(name, _)| {
            name.to_str().is_some_and(|name| {
                KEPT.contains(&name) || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            })
        }));
        if let Some(path) = std::env::var_os("PATH") {
            command.env("PATH", without_project(&path, project));
        }
        command.env("LC_ALL", "C.UTF-8").env("PIP_DISABLE_PIP_VERSION_CHECK", "1").env("PIP_NO_INPUT", "1");
        command.env("PYTHONSAFEPATH", "1");
        let output =
            command.stdin(Stdio::null()).output().map_err(|error| fail(format!("cannot be run: {error}")))?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(fail(explain(&last_lines(&output.stderr)))),
        }
    }
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
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

/// The first executable of that name on the path which does not lie inside the project.
fn program(name: &str, path: &std::ffi::OsStr, project: &Path) -> Option<PathBuf> {
    std::env::split_paths(path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(|file| {
        let executable = rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file();
        executable
            && !file.starts_with(project)
            && file.canonicalize().is_ok_and(|real| !real.starts_with(project))
    })
}

/// The path without relative directories and those of the project: a shim would find its target there.
fn without_project(path: &std::ffi::OsStr, project: &Path) -> OsString {
    let kept = std::env::split_paths(path).filter(|dir| dir.is_absolute() && !dir.starts_with(project));
    std::env::join_paths(kept).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_inside_the_project_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("temporary directory");
        let root = dir.path().canonicalize().expect("canonical");
        let (project, other) = (root.join("project"), root.join("other"));
        for bin in [project.join(".venv/bin"), other.clone()] {
            std::fs::create_dir_all(&bin).expect("made");
            std::fs::write(bin.join("pip"), "#!/bin/sh\n").expect("written");
            std::fs::set_permissions(bin.join("pip"), PermissionsExt::from_mode(0o755)).expect("executable");
        }
        std::os::unix::fs::symlink(project.join(".venv/bin/pip"), root.join("pip")).expect("linked");
        let path =
            std::env::join_paths([project.join(".venv/bin"), root.clone(), other.clone()]).expect("path");
        assert_eq!(program("pip", &path, &project), Some(other.join("pip")));
        assert_eq!(program("pip", std::ffi::OsStr::new("bin:."), &project), None);
        assert_eq!(without_project(&path, &project), std::env::join_paths([root, other]).expect("path"));
    }
}
