//! Files of proc and the control group file systems: small, read in one go, written in one go.

use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};

/// Reads the whole file. The kernel makes up its text while it is read, so few large reads cost least. What others
/// wrote into it, a process's name or a mount point, need not be text.
pub(crate) fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let fd = open(path.as_ref(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = Vec::new();
    loop {
        let mut block = [0; 8192];
        match rustix::io::read(&fd, &mut block)? {
            0 => break,
            length => text.extend_from_slice(&block[..length]),
        }
    }
    Ok(String::from_utf8(text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Reads a file that the kernel makes up as one piece (single_open in its sources): what it gives at once is all,
/// unless it fills the room.
pub(crate) fn read_single(path: impl AsRef<Path>) -> io::Result<String> {
    let fd = open(path.as_ref(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut block = [0; 4096];
    let length = rustix::io::read(&fd, &mut block)?;
    if length == block.len() {
        return read(path);
    }
    Ok(String::from_utf8_lossy(&block[..length]).into_owned())
}

/// Writes with one write(2), as these files demand.
pub(crate) fn write(path: impl AsRef<Path>, text: &str) -> io::Result<()> {
    let fd = open(path.as_ref(), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&fd, text.as_bytes())?;
    Ok(())
}
