//! What ordinary users' containers need beside the rest.

use std::path::Path;

use rustix::fs::{FileType, Mode, XattrFlags, mknodat, setxattr};

use super::Ground;
use super::failure::{Failure, at};
use crate::rootless;

const MISSING: std::io::ErrorKind = std::io::ErrorKind::NotFound;

/// What stands for a deletion in a layer: a device 0:0, and an attribute of a directory.
pub(super) fn marks(ground: &Ground) -> Result<String, Failure> {
    let dir = &ground.scratch;
    mknodat(rustix::fs::CWD, dir.join("gone"), FileType::CharacterDevice, Mode::empty(), 0)
        .map_err(at("make a whiteout (mknod 0:0)"))?;
    setxattr(dir, "user.overlay.opaque", b"y", XattrFlags::empty())
        .map_err(at("set an attribute (user.overlay.opaque)"))?;
    Ok("whiteouts and opaque directories".to_owned())
}

/// Ids beside the user's own.
pub(super) fn subordinate_ids(ground: &Ground) -> Result<String, Failure> {
    match ground.shared {
        Some(shared) if shared.count > 1 => {
            Ok(format!("{} ids beside your own {}", shared.count - 1, shared.uid))
        }
        Some(shared) => {
            let reason = rootless::why_single(shared.uid, shared.gid);
            let reason =
                reason.unwrap_or_else(|| "they were added after your first container began".to_owned());
            Err(Failure::new(format!("map more than your own id: {reason}"), MISSING))
        }
        None => Ok("root needs none".to_owned()),
    }
}

/// A helper, of which only the presence can be seen.
pub(super) fn pasta(_: &Ground) -> Result<String, Failure> {
    let path = Path::new("/usr/bin/pasta");
    if path.exists() { Ok("is there".to_owned()) } else { Err(Failure::new("find /usr/bin/pasta", MISSING)) }
}

/// No trial can make it so.
pub(super) fn separation(_: &Ground) -> Result<String, Failure> {
    Err(Failure::by_nature("all containers of a user have the same ids"))
}
