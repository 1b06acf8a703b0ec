//! The package clients that the user has configured (pip, uv, npm), used to fetch files whose hashes are known, to
//! resolve what has none among wheels, and to tell how they are configured; never to run or build a package.
//!
//! A client keeps the user's environment and configuration (indexes, proxies, credentials) and sees
//! nothing of the project: an empty working directory, no variable that loads code from elsewhere, and
//! never a client that lies inside the project, as an activated virtual environment would give.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;
use crate::step::last_lines;

/// Variables that a client may see, by their beginning or as a whole.
const KEPT_PREFIXES: [&str; 5] = ["PIP_", "UV_", "PYENV_", "NPM_CONFIG_", "npm_config_"];
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

/// What a client sees of the user's environment, and what keeps it from asking or looking around.
///
/// Indexes that are set for uv are set for pip where it has none of its own: uv itself can only install,
/// not keep a wheel as it came, so that its hash could be checked again.
pub(crate) fn environment() -> Vec<(OsString, OsString)> {
    let mut kept: Vec<(OsString, OsString)> = std::env::vars_os()
        .filter(|(name, _)| {
            name.to_str().is_some_and(|name| {
                KEPT.contains(&name) || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            })
        })
        .collect();
    for (name, value) in [
        ("LC_ALL", "C.UTF-8"),
        ("PIP_DISABLE_PIP_VERSION_CHECK", "1"),
        ("PIP_NO_INPUT", "1"),
        ("PYTHONSAFEPATH", "1"),
    ] {
        kept.push((name.into(), value.into()));
    }
    if std::env::var_os("PIP_INDEX_URL").is_none() {
        for (from, to) in [
            ("UV_INDEX_URL", "PIP_INDEX_URL"),
            ("UV_DEFAULT_INDEX", "PIP_INDEX_URL"),
            ("UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL"),
        ] {
            if let Ok(value) = std::env::var(from) {
                kept.push((to.into(), unnamed(&value).into()));
            }
        }
    }
    kept
}

/// `NAME=URL` is uv's way to name an index; pip takes the address.
fn unnamed(indexes: &str) -> String {
    let plain = indexes.split_whitespace().map(|index| match index.split_once("=http") {
        Some((name, rest)) if !name.contains(':') => format!("http{rest}"),
        _ => index.to_owned(),
    });
    plain.collect::<Vec<_>>().join(" ")
}

/// Runs a client in an empty directory and gives its output.
///
/// # Errors
/// [`Error::Client`] with the last lines that it wrote, passed through `explain`.
pub(crate) fn run(
    argv: &[OsString],
    arguments: &[OsString],
    project: &Path,
    explain: fn(&str) -> String,
) -> Result<Vec<u8>, Error> {
    let name = || argv.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let fail = |reason: String| Error::Client { client: name(), reason };
    let [program, first @ ..] = argv else { return Err(fail("no client".into())) };
    let empty =
        tempfile::tempdir().map_err(|error| fail(format!("no empty directory to run in: {error}")))?;
    let mut command = Command::new(program);
    command.args(first).args(arguments).current_dir(empty.path()).env_clear();
    command.envs(environment());
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", without_project(&path, project));
    }
    let output =
        command.stdin(Stdio::null()).output().map_err(|error| fail(format!("cannot be run: {error}")))?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(fail(explain(&last_lines(&output.stderr)))),
    }
}

/// The first executable of that name on the path which does not lie inside the project.
pub(crate) fn find(name: &str, path: &OsStr, project: &Path) -> Option<PathBuf> {
    std::env::split_paths(path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(|file| {
        let executable = rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file();
        executable
            && !file.starts_with(project)
            && file.canonicalize().is_ok_and(|real| !real.starts_with(project))
    })
}

/// The path without relative directories and those of the project: a shim would find its target there.
fn without_project(path: &OsStr, project: &Path) -> OsString {
    let kept = std::env::split_paths(path).filter(|dir| dir.is_absolute() && !dir.starts_with(project));
    std::env::join_paths(kept).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_of_uv() {
        assert_eq!(unnamed("own=https://h/s?a=http https://b"), "https://h/s?a=http https://b");
        assert_eq!(unnamed("https://u:p@h/s?x=http://y"), "https://u:p@h/s?x=http://y");
    }

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
        assert_eq!(find("pip", &path, &project), Some(other.join("pip")));
        assert_eq!(find("pip", OsStr::new("bin:."), &project), None);
        assert_eq!(without_project(&path, &project), std::env::join_paths([root, other]).expect("path"));
    }
}
