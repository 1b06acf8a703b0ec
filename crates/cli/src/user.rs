//! An ordinary user's directories, and the way into the user's namespace.
//!
//! ```text
//! data   $XDG_DATA_HOME/corral, else $HOME/.local/share/corral
//! run    $XDG_RUNTIME_DIR/corral, else /run/user/UID/corral, else /tmp/corral-UID
//! ```
//!
//! Each is the user's and nobody else can write there, or it is not used: what lies in the run directory decides which
//! process is joined, and another user's would be obeyed.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use corral_engine::{Ground, INSIDE};
use corral_runtime::rootless;

use crate::Failure;

/// The two directories, as they are without a flag or a variable of ours: data and run.
pub(crate) fn directories(uid: u32) -> Result<[PathBuf; 2], Failure> {
    let in_variable = |name| absolute(std::env::var_os(name));
    let data = match in_variable("XDG_DATA_HOME") {
        Some(dir) => dir,
        None => in_variable("HOME").or_else(|| home(uid)).map(|home| home.join(".local/share")).ok_or_else(
            || {
                Failure::new(
                    "there is no home directory for data: set XDG_DATA_HOME, or name --root and --run-root",
                )
            },
        )?,
    };
    let run = match in_variable("XDG_RUNTIME_DIR") {
        // It was made by whoever logged this user in; su and sudo may leave another's.
        Some(dir) => check(&dir, uid, "XDG_RUNTIME_DIR").map(|()| dir.join("corral"))?,
        None => {
            let usual = PathBuf::from(format!("/run/user/{uid}"));
            let is_own = std::fs::metadata(&usual).is_ok_and(|found| found.is_dir() && found.uid() == uid);
            if is_own { usual.join("corral") } else { PathBuf::from(format!("/tmp/corral-{uid}")) }
        }
    };
    Ok([data.join("corral"), run])
}

/// A relative path there is no path at all (XDG Base Directory Specification).
fn absolute(value: Option<OsString>) -> Option<PathBuf> {
    value.map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Of /etc/passwd.
fn home(uid: u32) -> Option<PathBuf> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(&uid.to_string()))?;
    line.split(':').nth(5).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Makes a directory, or sees that it is the user's alone.
fn own(path: &Path, uid: u32, what: &str) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| Failure::new(format!("cannot make {} ({what}): {error}", path.display())))?;
    check(path, uid, what)
}

fn check(path: &Path, uid: u32, what: &str) -> Result<(), Failure> {
    let refuse = |reason: String| {
        Err(Failure::new(format!("{} ({what}) {reason}; nothing was done there", path.display())))
    };
    // Not through a link: who may turn it decides what is used.
    match std::fs::symlink_metadata(path) {
        Err(error) => refuse(format!("cannot be looked at: {error}")),
        Ok(found) if !found.is_dir() => refuse("is no directory".to_owned()),
        Ok(found) if found.uid() != uid => refuse(format!(
            "belongs to user {}, and you are {uid}: name a directory of your own",
            found.uid()
        )),
        Ok(found) if found.mode() & 0o022 != 0 => {
            refuse(format!("can be written by others (mode {:o}): chmod go-w", found.mode() & 0o7777))
        }
        Ok(_) => Ok(()),
    }
}

/// What containers are made with: for an ordinary user the namespace is entered first.
pub(crate) fn ground(uid: u32, root: &Path, run: &Path) -> Result<Ground, Failure> {
    let no_groups = match std::env::var_os("CORRAL_CGROUPS") {
        None => false,
        Some(word) if word.is_empty() || word == "enabled" => false,
        Some(word) if word == "disabled" => true,
        Some(word) => {
            return Err(Failure::new(format!(
                "CORRAL_CGROUPS={}: expected enabled or disabled",
                word.display()
            )));
        }
    };
    let shared = match (uid, std::env::var_os(INSIDE).is_some()) {
        (0, false) => None,
        // Started by one of ours in there.
        (0, true) => Some(rootless::register(run).map_err(Failure::new)?.shared),
        _ => {
            own(root, uid, "data directory")?;
            own(run, uid, "run directory")?;
            let entered = rootless::enter(run).map_err(Failure::new)?;
            if let Some(reason) = entered.single {
                eprintln!(
                    "corral: warning: only your own id is mapped: {reason}; images with other owners, and users other \
                     than root, are refused"
                );
            }
            Some(entered.shared)
        }
    };
    Ok(Ground { shared, no_groups })
}
