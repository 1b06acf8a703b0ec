use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use corral_spec::ContainerId;
use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::Errno;

use crate::Error;
use crate::write_file::open;

const CONTAINERS: &str = "containers";
/// Of ranges of host ids; below both roots.
pub(crate) const IDS: &str = "ids";
/// Of names; below both roots.
pub(crate) const NAMES: &str = "names";
/// The file that makes a container exist.
pub(crate) const RECORD: &str = "container.json";

/// How long what is recorded of a container is worth keeping, which decides where that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Until its end, and never across a boot (`run --rm`): records and leases are below `RUN`, in memory.
    Passing,
    /// Until it is removed: below `ROOT`, on disk.
    Lasting,
}

/// The two directories that hold everything: one that lasts, one that ends with the boot.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    run: PathBuf,
}

impl Layout {
    /// Takes the directories as given; nothing is made yet.
    pub fn new(root: PathBuf, run: PathBuf) -> Self {
        Self { root, run }
    }

    /// Makes the directories that every command relies on, mode 0700. Costs two system calls when they are
    /// there: the last of each root is made last and stands for the others.
    ///
    /// # Errors
    /// [`Error::Io`] when a directory can neither be made nor is there.
    pub fn prepare(&self) -> Result<(), Error> {
        for root in [&self.root, &self.run] {
            if root.join(NAMES).is_dir() {
                continue;
            }
            for dir in [CONTAINERS, IDS, NAMES].map(|name| root.join(name)) {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&dir)
                    .map_err(Error::io("make directory", &dir))?;
            }
            corral_fault::step!(DirectoriesMade);
        }
        Ok(())
    }

    /// The lasting directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The directory that ends with the boot.
    pub fn run_root(&self) -> &Path {
        &self.run
    }

    /// Parent of the container directories.
    pub fn containers(&self) -> PathBuf {
        self.root.join(CONTAINERS)
    }

    /// Parent of the run directories.
    pub fn runs(&self) -> PathBuf {
        self.run.join(CONTAINERS)
    }

    /// The directory of a container's data: its writable layer, its log, and what is recorded of a lasting one.
    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.root.join(CONTAINERS).join(id.as_str())
    }

    /// The directory of a container that is being worked on or runs.
    pub fn run(&self, id: &ContainerId) -> PathBuf {
        self.run.join(CONTAINERS).join(id.as_str())
    }

    /// The directory of a container's records.
    pub fn records(&self, id: &ContainerId, life: Life) -> PathBuf {
        match life {
            Life::Passing => self.run(id),
            Life::Lasting => self.container(id),
        }
    }

    /// How long a container lives, by where its record is; lasting if it has none.
    pub fn life(&self, id: &ContainerId) -> Life {
        if self.run(id).join(RECORD).exists() { Life::Passing } else { Life::Lasting }
    }

    /// The directories that hold leases, of passing containers first.
    pub(crate) fn leases(&self, kind: &str) -> [PathBuf; 2] {
        [self.run.join(kind), self.root.join(kind)]
    }

    /// Parent of the volumes' data directories.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// The data directory of a volume.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.volumes().join(name)
    }

    /// There while the image's files are copied into a volume; no volume's name begins so.
    pub fn filling(&self, name: &str) -> PathBuf {
        self.volumes().join(format!(".filling-{name}"))
    }

    /// The most bytes that a volume may hold, if it is bounded.
    pub fn volume_size(&self, name: &str) -> PathBuf {
        self.volumes().join(format!(".size-{name}"))
    }

    /// Where a bounded volume is made: it gets its name once the bound holds.
    pub fn making(&self, name: &str) -> PathBuf {
        self.volumes().join(format!(".making-{name}"))
    }

    /// Waits for the right to make and remove volumes, and to use them before a record says so. It ends with the
    /// descriptor.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be made or locked.
    pub fn lock_volumes(&self) -> Result<OwnedFd, Error> {
        let path = self.root.join("volumes.lock");
        let file = open(&path, OFlags::WRONLY | OFlags::CREATE).map_err(Error::io("open", &path))?;
        loop {
            match rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive) {
                Ok(()) => return Ok(file.into()),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Error::io("lock", &path)(errno.into())),
            }
        }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("state.db")
    }

    /// The identities of all containers, whole or half made, of either life.
    ///
    /// # Errors
    /// [`Error::Io`] when a directory cannot be read.
    pub fn container_ids(&self) -> Result<Vec<ContainerId>, Error> {
        let mut ids = ids_in(&self.containers())?;
        ids.extend(self.run_ids()?);
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// The identities of all run directories.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be read.
    pub fn run_ids(&self) -> Result<Vec<ContainerId>, Error> {
        ids_in(&self.runs())
    }
}

fn ids_in(dir: &Path) -> Result<Vec<ContainerId>, Error> {
    let names = names_in(dir)?;
    Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
}

/// The entries of a directory, none if it is not there. opendir(3), which std calls, takes its memory from musl's
/// allocator: six system calls more at the first of them.
pub(crate) fn names_in(dir: &Path) -> Result<Vec<OsString>, Error> {
    let fail = |errno: Errno| Error::io("read directory", dir)(errno.into());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = match rustix::fs::open(dir, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        opened => opened.map_err(fail)?,
    };
    let mut buffer = Vec::with_capacity(2048);
    let mut entries = RawDir::new(opened, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let name = entry.map_err(fail)?.file_name().to_bytes().to_vec();
        if !matches!(name.as_slice(), b"." | b"..") {
            names.push(OsString::from_vec(name));
        }
    }
    Ok(names)
}
