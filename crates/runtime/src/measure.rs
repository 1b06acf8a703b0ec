//! What a container keeps on disk, counted by a process that its monitor does not wait for.
//!
//! ```text
//! monitor ── fork ─▶ counter   each tree, by openat; files without a name that a process of the container holds
//!    ▲                  │      stops at the first byte over a bound, dies with the monitor
//!    └── pidfd, pipe ───┘      two numbers a bound: bytes, inodes
//! ```
//!
//! The tree is hostile. No link is followed and no other file system entered; a directory that is too deep, and a file
//! that cannot be looked at, count as everything that there is. A file with several names counts in parts, as all its names
//! are in the tree: nothing is remembered of it.

use std::collections::HashSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use corral_spec::record::DiskBound;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat, fstat, open, openat, stat, statat, statfs};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, pidfd_send_signal, set_parent_process_death_signal};

use crate::running::Child;
use crate::sys::{Forked, exit, fork, keep_only};
use crate::{ControlGroup, Error, ExitState, quota};

/// Nobody works so deep: a path of one-letter names is longer than PATH_MAX far above it.
const DEEPEST: usize = 400;
/// Files without a name that are remembered, so that one which many hold counts once.
const MOST_NAMELESS: usize = 100_000;
/// OVERLAYFS_SUPER_MAGIC (linux/magic.h).
const OVERLAY: u64 = 0x794c_7630;

/// What was counted for one bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
}

impl Count {
    const EVERYTHING: Self = Self { bytes: u64::MAX, inodes: u64::MAX };

    /// Whether it is more than a bound allows.
    pub fn is_over(self, bound: &DiskBound) -> bool {
        self.bytes > bound.bytes || self.inodes > quota::inodes(bound.bytes)
    }
}

/// A counter at work. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Measure {
    answer: OwnedFd,
    counter: Child,
    bounds: usize,
}

impl Measure {
    /// Begins to count what is below each bound's directories, and what the processes of `group` hold that has no name.
    ///
    /// # Errors
    /// When no process can be made.
    pub fn start(bounds: &[DiskBound], group: &ControlGroup) -> Result<Self, Error> {
        let fail = |errno| Error::inside("make a pipe for a measurement", errno);
        let (answer, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(fail)?;
        match fork(0, None).map_err(Error::Namespaces)? {
            Forked::Parent { pid, pidfd } => {
                Ok(Self { answer, counter: Child::new(pid, pidfd), bounds: bounds.len() })
            }
            Forked::Child => {
                // A lock among the caller's descriptors would outlive it.
                let counted = keep_only(theirs).and_then(|theirs| count_all(bounds, group, &theirs));
                exit(i32::from(counted.is_err()))
            }
        }
    }

    /// Readable when it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.counter.pidfd.as_fd()
    }

    /// What it has counted, one for each bound; none if it failed. Blocks until it has ended.
    ///
    /// # Errors
    /// [`Error::Process`].
    pub fn finish(mut self) -> Result<Option<Vec<Count>>, Error> {
        if self.counter.wait()? != ExitState::Code(0) {
            return Ok(None);
        }
        let mut bytes = vec![0; self.bounds * 16];
        let read = rustix::io::read(&self.answer, &mut bytes[..]).unwrap_or(0);
        let number = |at: &[u8]| at.try_into().map_or(u64::MAX, u64::from_ne_bytes);
        let counts = bytes[..read].chunks_exact(16);
        let counts = counts.map(|at| Count { bytes: number(&at[..8]), inodes: number(&at[8..]) });
        Ok(Some(counts.collect()).filter(|counts: &Vec<_>| counts.len() == self.bounds))
    }
}

impl Drop for Measure {
    fn drop(&mut self) {
        if self.counter.ended.is_none() {
            // It may have ended meanwhile; a killed child is always reaped.
            let _ = pidfd_send_signal(&self.counter.pidfd, Signal::KILL);
            let _ = self.counter.wait();
        }
    }
}

/// Bytes that are in use on the file system of a path.
///
/// # Errors
/// As statfs(2).
pub fn used_around(path: &Path) -> io::Result<u64> {
    let stat = statfs(path)?;
    let blocks = stat.f_blocks.saturating_sub(stat.f_bfree);
    Ok(blocks.saturating_mul(u64::try_from(stat.f_bsize).unwrap_or(0)))
}

fn count_all(bounds: &[DiskBound], group: &ControlGroup, answer: &OwnedFd) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let nameless = nameless(group);
    let mut bytes = Vec::new();
    for bound in bounds {
        let count = count(bound, &nameless);
        bytes.extend(count.bytes.to_ne_bytes());
        bytes.extend(count.inodes.to_ne_bytes());
    }
    rustix::io::write(answer, &bytes)?;
    Ok(())
}

fn count(bound: &DiskBound, nameless: &[Nameless]) -> Count {
    let mut tally = Tally { bound, count: Count::default() };
    for (at, path) in bound.dirs.iter().enumerate() {
        let walked = open(path, DIRECTORY, Mode::empty()).and_then(|dir| {
            let stat = fstat(&dir)?;
            if at == 0 {
                nameless.iter().filter(|file| file.is_in(&stat)).for_each(|file| tally.add(file.bytes));
            }
            tally.tree(dir.as_fd(), stat.st_dev, DEEPEST)
        });
        match walked {
            Ok(()) => {}
            Err(Errno::DQUOT) => break,
            Err(_) => return Count::EVERYTHING,
        }
    }
    tally.count
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Tally<'b> {
    bound: &'b DiskBound,
    count: Count,
}

impl Tally<'_> {
    fn add(&mut self, bytes: u64) {
        self.count.bytes = self.count.bytes.saturating_add(bytes);
        self.count.inodes = self.count.inodes.saturating_add(1);
    }

    /// EDQUOT once the bound is passed: what is beyond it need not be known.
    fn tree(&mut self, dir: BorrowedFd<'_>, device: u64, depth: usize) -> Result<(), Errno> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); 2048];
        let mut reader = RawDir::new(dir, &mut buffer);
        while let Some(entry) = reader.next() {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // It was removed meanwhile.
                Err(Errno::NOENT) => continue,
                Err(errno) => return Err(errno),
            };
            let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            let names = if is_dir { 1 } else { u128::from(stat.st_nlink).max(1) };
            self.add((u128::from(blocks(&stat)) / names) as u64);
            if self.count.is_over(self.bound) {
                return Err(Errno::DQUOT);
            }
            if is_dir && stat.st_dev == device {
                let depth = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
                match openat(dir, name, DIRECTORY, Mode::empty()) {
                    Ok(below) => self.tree(below.as_fd(), device, depth)?,
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        Ok(())
    }
}

fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512)
}

/// A file that has no name any more and goes with the last who holds it.
struct Nameless {
    device: u64,
    bytes: u64,
    on_overlay: bool,
}

impl Nameless {
    /// Whether it belongs to the tree of this directory: the writable layer below an overlay, or a volume.
    fn is_in(&self, dir: &Stat) -> bool {
        self.on_overlay || self.device == dir.st_dev
    }
}

/// Those that the container's processes have open or mapped.
fn nameless(group: &ControlGroup) -> Vec<Nameless> {
    let (mut seen, mut found) = (HashSet::new(), Vec::new());
    // A process that ends meanwhile holds nothing.
    for pid in group.processes().unwrap_or_default() {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let open = names(&proc.join("fd")).into_iter().map(|name| proc.join("fd").join(name));
        let mapped = deleted_maps(&proc).into_iter().map(|name| proc.join("map_files").join(name));
        for path in open.chain(mapped) {
            let Ok(stat) = stat(&path) else { continue };
            let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
            if !regular || stat.st_nlink > 0 || seen.len() >= MOST_NAMELESS {
                continue;
            }
            if seen.insert((stat.st_dev, stat.st_ino)) {
                let on_overlay = statfs(&path).is_ok_and(|fs| u64::try_from(fs.f_type) == Ok(OVERLAY));
                found.push(Nameless { device: stat.st_dev, bytes: blocks(&stat), on_overlay });
            }
        }
    }
    found
}

/// The names in a directory of /proc.
fn names(dir: &Path) -> Vec<std::ffi::OsString> {
    std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
}

/// The mappings of files without a name, as /proc/PID/map_files calls them.
fn deleted_maps(proc: &Path) -> Vec<String> {
    let maps = crate::kernel_file::read(proc.join("maps")).unwrap_or_default();
    let deleted = maps.lines().filter(|line| line.ends_with(" (deleted)"));
    deleted.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_spec::record::DiskKeeper;

    fn bound(dir: &Path, bytes: u64) -> DiskBound {
        DiskBound { what: "test".into(), dirs: vec![dir.to_owned()], bytes, keeper: DiskKeeper::Monitor }
    }

    fn measure(dir: &Path, bytes: u64) -> Count {
        count(&bound(dir, bytes), &[])
    }

    #[test]
    fn each_file_once_by_its_blocks() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let file = dir.path().join("file");
        std::fs::write(&file, vec![1; 100_000]).expect("file");
        let alone = measure(dir.path(), 1 << 30);
        assert!((100_000..120_000).contains(&alone.bytes) && alone.inodes == 1, "{alone:?}");
        std::fs::create_dir(dir.path().join("sub")).expect("directory");
        std::fs::hard_link(&file, dir.path().join("sub/again")).expect("link");
        std::os::unix::fs::symlink("/", dir.path().join("root")).expect("link");
        let linked = measure(dir.path(), 1 << 30);
        assert!(linked.bytes < alone.bytes + 20_000 && linked.inodes == 4, "{linked:?}");
        // As sparse as it looks.
        std::fs::File::create(dir.path().join("holes"))
            .and_then(|file| file.set_len(1 << 40))
            .expect("sparse");
        assert!(measure(dir.path(), 1 << 30).bytes < linked.bytes + 20_000);
        assert!(measure(dir.path(), 50_000).is_over(&bound(dir.path(), 50_000)));
    }

    #[test]
    fn what_cannot_be_counted_is_everything() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let mut at: OwnedFd = std::fs::File::open(dir.path()).expect("open").into();
        for _ in 0..DEEPEST + 2 {
            rustix::fs::mkdirat(&at, "d", Mode::from_raw_mode(0o700)).expect("mkdir");
            at = openat(&at, "d", DIRECTORY, Mode::empty()).expect("open");
        }
        assert_eq!(measure(dir.path(), 1 << 40), Count::EVERYTHING);
        assert_eq!(measure(&dir.path().join("nothing"), 1), Count::EVERYTHING);
    }

    #[test]
    fn a_tree_of_many_files_is_over_before_its_end() {
        let dir = tempfile::tempdir().expect("temporary directory");
        for number in 0..1200 {
            std::fs::write(dir.path().join(number.to_string()), "").expect("file");
        }
        let count = measure(dir.path(), 1 << 20);
        assert_eq!(count.inodes, 1025, "an empty file is an inode all the same");
        assert!(count.is_over(&bound(dir.path(), 1 << 20)));
    }
}
