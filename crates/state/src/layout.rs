use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use corral_spec::ContainerId;

use crate::Error;

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

    /// Makes the directories that every command relies on, mode 0700. Costs one system call each when they
    /// are there.
    ///
    /// # Errors
    /// [`Error::Io`] when a directory can neither be made nor is there.
    pub fn prepare(&self) -> Result<(), Error> {
        for dir in [self.containers(), self.root.join("ids"), self.root.join("names"), self.runs()] {
            if dir.is_dir() {
                continue;
            }
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(Error::io("make directory", &dir))?;
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
        self.root.join("containers")
    }

    /// Parent of the run directories.
    pub fn runs(&self) -> PathBuf {
        self.run.join("containers")
    }

    /// The lasting directory of a container.
    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.root.join("containers").join(id.as_str())
    }

    /// The directory of a container that is being worked on or runs.
    pub fn run(&self, id: &ContainerId) -> PathBuf {
        self.run.join("containers").join(id.as_str())
    }

    pub(crate) fn slot(&self, slot: u32) -> PathBuf {
        self.root.join("ids").join(slot.to_string())
    }

    pub(crate) fn name(&self, name: &str) -> PathBuf {
        self.root.join("names").join(name)
    }

    /// The data directory of a named volume.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.root.join("volumes").join(name)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("state.db")
    }

    /// The identities of all container directories, committed or not.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be read.
    pub fn container_ids(&self) -> Result<Vec<ContainerId>, Error> {
        ids_in(&self.containers())
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
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read directory", dir)(error)),
    };
    let mut ids = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read directory", dir))?;
        if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            ids.push(id);
        }
    }
    Ok(ids)
}
