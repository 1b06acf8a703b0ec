//! The records that others read: written whole, under another name first.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corral_spec::record::{GENERATION, Launch};
use rustix::event::Timespec;
use rustix::fs::{Mode, OFlags};
use serde::Serialize;

use crate::Error;

/// Whether a record must survive a power failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It names what a power failure ends anyway.
    None,
    /// It is on the disk before this returns.
    Disk,
}

/// A directory that records are written to.
#[derive(Debug)]
pub struct Directory {
    /// For messages.
    pub path: PathBuf,
    /// What is used.
    pub fd: OwnedFd,
}

impl Directory {
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { path: path.to_owned(), fd: crate::enter::directory(path)? })
    }

    /// Whether it has not been removed.
    pub fn exists(&self) -> bool {
        rustix::fs::fstat(&self.fd).is_ok_and(|stat| stat.st_nlink > 0)
    }

    /// Puts a record in place of the one before it; a reader sees the one or the other.
    pub fn put(&self, name: &str, record: &impl Serialize, durability: Durability) -> Result<(), Error> {
        let next = format!("{name}.new");
        let fail = |act| Error::file(act, self.path.join(name));
        let bytes = serde_json::to_vec(record).map_err(io::Error::from).map_err(fail("encode"))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let write = || -> io::Result<()> {
            let mut file: File = rustix::fs::openat(&self.fd, &next, flags, Mode::RUSR | Mode::WUSR)?.into();
            file.write_all(&bytes)?;
            if durability == Durability::Disk {
                file.sync_data()?;
            }
            corral_fault::step!(StatusStaged);
            rustix::fs::renameat(&self.fd, &next, &self.fd, name)?;
            corral_fault::step!(StatusPlaced);
            if durability == Durability::Disk {
                // An O_PATH descriptor cannot be synced.
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                rustix::fs::fsync(rustix::fs::openat(&self.fd, ".", flags, Mode::empty())?)?;
            }
            Ok(())
        };
        write().map_err(fail("write"))
    }

    /// Appends a line that only a person will read.
    pub fn note(&self, name: &str, line: &str) {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        // There is nobody left to be told that a note could not be taken.
        if let Ok(file) = rustix::fs::openat(&self.fd, name, flags, Mode::RUSR | Mode::WUSR) {
            let _ = File::from(file).write_all(format!("{line}\n").as_bytes());
        }
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = rustix::fs::openat(&self.fd, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut bytes = Vec::with_capacity(16 << 10);
        while rustix::io::read(&file, rustix::buffer::spare_capacity(&mut bytes))? > 0 {
            bytes.reserve(4 << 10);
        }
        Ok(bytes)
    }

    /// Reads the launch record.
    pub fn launch(&self) -> Result<Launch, Error> {
        let path = self.path.join("launch.json");
        let bytes = self.read("launch.json").map_err(Error::file("read", &path))?;
        let wrong = |reason: String| Error::Record { path: path.clone(), reason };
        let launch: Launch = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        // What was not known to an older writer is not asked.
        if launch.generation <= GENERATION {
            Ok(launch)
        } else {
            let made = format!("generation {}; this build knows {GENERATION}", launch.generation);
            Err(wrong(format!("written by a newer build ({made})")))
        }
    }
}

/// Nanoseconds since the epoch.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as u64)
}

/// For poll(2), rounded up so that it does not wake before its time.
pub fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: i64::from(duration.subsec_nanos()) as _ }
}

/// Whether a descriptor belongs to a caller whom the socket admits: the same user, or root.
pub fn is_admitted(socket: impl AsFd) -> bool {
    rustix::net::sockopt::socket_peercred(socket)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}
