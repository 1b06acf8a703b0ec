//! Whether the store's file system enforces a bound.

use std::fs;

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use super::Ground;
use super::failure::Failure;
use crate::quota;

/// The trial's project and bound.
const PROJECT_SEED: u32 = 0x2f6b_11d3;
const BYTES: u64 = 1 << 20;

/// Writes past the limit of a project, without the right to.
pub(super) fn project_quota(ground: &Ground) -> Result<String, Failure> {
    let dir = ground.scratch.join("bounded");
    fs::create_dir(&dir).map_err(|error| Failure::new("make a directory", error))?;
    let mut seed = PROJECT_SEED ^ std::process::id();
    let next = || {
        seed = seed.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
        seed
    };
    let Some(project) = quota::bind(&[&dir], BYTES, next)? else {
        return Err(Failure::new("find quotas of projects on the store's file system", Errno::OPNOTSUPP));
    };
    let written = write_unprivileged(&dir.join("file"));
    quota::release(&dir, project)?;
    match written? {
        Err(error) if error.raw_os_error() == Some(libc::EDQUOT) => {
            Ok("a write past the bound is refused".to_owned())
        }
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
            Ok("a write past the bound is refused".to_owned())
        }
        Err(error) => Err(Failure::new("write below a bound", error)),
        Ok(()) => Err(Failure::no_effect("write no more than a bound")),
    }
}

/// Whoever has CAP_SYS_RESOURCE passes every limit.
fn write_unprivileged(path: &std::path::Path) -> Result<std::io::Result<()>, Failure> {
    let before = capabilities(None).map_err(|errno| Failure::new("ask for the own capabilities", errno))?;
    let mut lower = before;
    lower.effective.remove(CapabilitySet::SYS_RESOURCE);
    let lay = |set| set_capabilities(None, set).map_err(|errno| Failure::new("lay a capability down", errno));
    lay(lower)?;
    let written = fs::write(path, vec![0; 2 * BYTES as usize]);
    lay(before)?;
    Ok(written)
}
