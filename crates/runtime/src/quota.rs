//! Bounds that a file system enforces: project quotas of ext4 and XFS, mounted with `prjquota`.
//!
//! ```text
//! directories ── project (FS_IOC_FSSETXATTR), handed on to all that is made in them ── hard limit (quotactl_fd)
//! ```
//!
//! No list says which projects are taken: the file system counts the inodes of each, and a project without any is free.
//! So a killed command leaves nothing to collect, and another program's projects are never shared. Two that take the same
//! one at the same moment see too many inodes, and choose again.
//!
//! A process in a user namespace of its own cannot change a file's project (`fileattr_set_prepare`), neither through
//! an overlay, and a file of one project is neither renamed nor linked into a directory of another (EXDEV). The limit
//! holds for it although overlayfs writes with the mounter's rights, because it lays CAP_SYS_RESOURCE down first.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::Error;
use crate::detached::host;
use crate::sys::{enforces_projects, limit_project, project, project_usage, set_project};

/// Projects that are chosen from: where nobody numbers theirs by hand, and below 2^31.
const FIRST: u32 = 0x4000_0000;
const COUNT: u32 = 0x3fff_0000;
/// How many are tried: of a thousand million, a second is hardly ever needed.
const TRIES: usize = 16;
/// A file that is not empty takes a block. As many inodes as a full bound has blocks, then, hinder only who
/// makes empty ones.
const BLOCK: u64 = 4096;
/// An image's worth of empty files fits into any bound.
const LEAST_INODES: u64 = 1024;

/// The most inodes that go with a bound in bytes.
pub fn inodes(bytes: u64) -> u64 {
    (bytes / BLOCK).max(LEAST_INODES)
}

/// Binds directories that are empty and of one file system together: what will be made in them takes at most so many
/// bytes. None if the file system keeps no projects within limits.
///
/// # Errors
/// [`Error::Host`] when it does, and refuses.
pub fn bind(dirs: &[&Path], bytes: u64, mut random: impl FnMut() -> u32) -> Result<Option<u32>, Error> {
    let opened = dirs.iter().map(|dir| open(dir)).collect::<Result<Vec<_>, _>>()?;
    let (Some(path), Some(on)) = (dirs.first(), opened.first()) else { return Ok(None) };
    // A file system without quotas has many ways to say so.
    if !enforces_projects(on.as_fd()).unwrap_or(false) {
        return Ok(None);
    }
    let fail = |act| move |source: io::Error| Error::Host { act, path: path.to_path_buf(), source };
    for _ in 0..TRIES {
        let project = FIRST + random() % COUNT;
        if project_usage(on.as_fd(), project).map_err(fail("ask for the quota of a project"))? != (0, 0) {
            continue;
        }
        limit_project(on.as_fd(), project, bytes, inodes(bytes))
            .map_err(fail("set the quota of a project"))?;
        for (dir, path) in opened.iter().zip(dirs) {
            let fail =
                |source| Error::Host { act: "put it into a project", path: path.to_path_buf(), source };
            set_project(dir.as_fd(), project).map_err(fail)?;
        }
        let (_, inodes) =
            project_usage(on.as_fd(), project).map_err(fail("ask for the quota of a project"))?;
        if inodes == dirs.len() as u64 {
            return Ok(Some(project));
        }
    }
    let full = io::Error::other("every project that was tried has files already");
    Err(fail("find a free project")(full))
}

/// The project that a directory and all in it belong to, if limits of projects are enforced there.
///
/// # Errors
/// [`Error::Host`] when the directory cannot be opened.
pub fn project_of(dir: &Path) -> Result<Option<u32>, Error> {
    let on = open(dir)?;
    if !enforces_projects(on.as_fd()).unwrap_or(false) {
        return Ok(None);
    }
    Ok(project(on.as_fd()).unwrap_or(None))
}

/// Takes the limit of a project away, whose files are removed next.
///
/// # Errors
/// [`Error::Host`].
pub fn release(dir: &Path, project: u32) -> Result<(), Error> {
    let fail = |source| Error::Host { act: "take the quota off", path: dir.to_path_buf(), source };
    limit_project(open(dir)?.as_fd(), project, 0, 0).map_err(fail)
}

fn open(dir: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, dir, flags, Mode::empty()).map_err(host("open", dir))
}
