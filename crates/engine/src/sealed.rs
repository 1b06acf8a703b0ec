use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use crate::Error;

/// A copy of this program that nobody can write to, in memory.
///
/// A container without a user namespace of its own runs as the host's root, and can reach the program that
/// made it through `/proc/PID/exe` (by a script whose interpreter is `/proc/self/exe`), and overwrite it once it
/// has ended: CVE-2019-5736. What it reaches then is this copy.
pub(crate) struct Sealed(OwnedFd);

impl Sealed {
    /// Copies the running program: some milliseconds, which only the weaker mode pays.
    pub(crate) fn copy() -> Result<Self, Error> {
        let fail = |error: std::io::Error| Error::io("make a sealed copy of this program")(error);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut copy = File::from(memfd_create("corral", flags).map_err(|errno| fail(errno.into()))?);
        let mut program = File::open("/proc/self/exe").map_err(fail)?;
        std::io::copy(&mut program, &mut copy).map_err(fail)?;
        let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
        fcntl_add_seals(copy.as_fd(), seals).map_err(|errno| fail(errno.into()))?;
        Ok(Self(copy.into()))
    }

    /// The name by which this process executes it. Valid as long as the value lives.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.0.as_raw_fd()).into()
    }
}
