//! What is known of each container, in files.
//!
//! ```text
//! ROOT/ID/              made by `create`, the name's only owner
//!   lock                held (flock) by `create`, `start`, `delete` while they work
//!   state.json          Record; replaced by rename
//!   config.json         the configuration as `create` read it
//!   start.sock          what the first process waits at, until `start`
//!   root/               where the root is mounted if the container's mount namespace is not its own
//! ```
//!
//! The status is not stored: it follows from the process, the socket, the freezer and the lock. A record without a
//! process whose lock is free was left by a `create` that died; `delete` collects it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use corral_runtime::ControlGroup;
use corral_spec::record::ProcessName;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::Error;
use crate::config::{Annotations, Config};

/// What `create` writes down.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) oci_version: String,
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) created: String,
    #[serde(default)]
    pub(crate) annotations: Annotations,
    pub(crate) cgroup2: Option<PathBuf>,
    pub(crate) cgroup1: Vec<PathBuf>,
    pub(crate) process: Option<ProcessName>,
}

/// Where in its life a container is (runtime.md, "State").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl Record {
    pub(crate) fn group(&self) -> ControlGroup {
        ControlGroup::open(self.cgroup2.as_deref(), &self.cgroup1)
    }

    /// The state as hooks and clients read it.
    pub(crate) fn state(&self, pid: i32, status: &str) -> serde_json::Value {
        let mut state = json!({
            "ociVersion": self.oci_version,
            "id": self.id,
            "pid": pid,
            "status": status,
            "bundle": self.bundle,
        });
        if !self.annotations.is_empty() {
            state["annotations"] = json!(self.annotations);
        }
        state
    }
}

/// One container's directory.
pub(crate) struct Container {
    pub(crate) dir: PathBuf,
    pub(crate) record: Record,
    /// Whether this process has its lock: then nobody is creating it.
    pub(crate) locked: bool,
}

/// A name that is safe as a directory's.
pub(crate) fn check_id(id: &str) -> Result<(), Error> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    match id {
        "" | "." | ".." => {
            Err(Error::Invalid("container id cannot be empty: invalid container ID format".to_owned()))
        }
        id if id.len() > 1024 || !id.chars().all(fine) => {
            Err(Error::Invalid(format!("invalid container ID format: {id:?}")))
        }
        _ => Ok(()),
    }
}

/// Takes the name: no other container has it from now on. The lock is held until it is dropped.
pub(crate) fn claim(root: &Path, id: &str) -> Result<(PathBuf, File), Error> {
    check_id(id)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(Error::file("create", root))?;
    let dir = root.join(id);
    match fs::DirBuilder::new().mode(0o711).create(&dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Error::Exists(id.to_owned())),
        Err(error) => Err(Error::file("create", &dir)(error)),
        Ok(()) => lock(&dir).map(|lock| (dir, lock)),
    }
}

/// Where the root of a container goes that has no mount namespace of its own.
pub(crate) fn stage(dir: &Path) -> PathBuf {
    dir.join("root")
}

/// Waits for the container's lock.
pub(crate) fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let open = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = open.map_err(Error::file("lock", &path))?;
    flock(&file, FlockOperation::LockExclusive).map_err(|errno| Error::file("lock", &path)(errno.into()))?;
    Ok(file)
}

/// Whole or not at all.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let new = path.with_extension("new");
    let put = || {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        fs::rename(&new, path)
    };
    put().map_err(Error::file("write", path))
}

impl Container {
    /// The container of this name.
    pub(crate) fn find(root: &Path, id: &str) -> Result<Self, Error> {
        check_id(id)?;
        let dir = root.join(id);
        let path = dir.join("state.json");
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing(id.to_owned()));
            }
            read => read.map_err(Error::file("read", &path))?,
        };
        let record = serde_json::from_slice(&bytes).map_err(|source| Error::Json { path, source })?;
        Ok(Self { dir, record, locked: false })
    }

    /// As [`Self::find`], with its lock, and as it is once that is held.
    pub(crate) fn find_locked(root: &Path, id: &str) -> Result<(Self, File), Error> {
        let lock = lock(&Self::find(root, id)?.dir)?;
        let found = Self::find(root, id)?;
        Ok((Self { locked: true, ..found }, lock))
    }

    pub(crate) fn save(&self) -> Result<(), Error> {
        let bytes = serde_json::to_vec(&self.record)
            .map_err(|source| Error::Json { path: self.dir.clone(), source })?;
        write(&self.dir.join("state.json"), &bytes)
    }

    /// The configuration that it was created with.
    pub(crate) fn config(&self) -> Result<Config, Error> {
        read_config(&self.dir.join("config.json"))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("start.sock")
    }

    pub(crate) fn pid(&self) -> i32 {
        self.record.process.map_or(0, |process| process.pid)
    }

    pub(crate) fn status(&self) -> Result<Status, Error> {
        let Some(process) = self.record.process else {
            let path = self.dir.join("lock");
            let held = !self.locked
                && File::open(&path)
                    .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared).is_err());
            return Ok(if held { Status::Creating } else { Status::Stopped });
        };
        if !is_alive(&process)? {
            return Ok(Status::Stopped);
        }
        if self.socket().exists() {
            return Ok(Status::Created);
        }
        // A group that is gone freezes nobody.
        Ok(if self.record.group().frozen().unwrap_or(false) { Status::Paused } else { Status::Running })
    }
}

/// A zombie has ended, whether or not its parent has asked.
fn is_alive(process: &ProcessName) -> Result<bool, Error> {
    let found =
        corral_runtime::find_process(process).map_err(Error::file("look for the process in", "/proc"))?;
    if found.is_none() {
        return Ok(false);
    }
    // Its name may be any bytes.
    let stat = fs::read(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat);
    let letter = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    Ok(letter.is_some_and(|letter| letter != 'Z' && letter != 'X'))
}

/// Reads a configuration.
pub(crate) fn read_config(path: &Path) -> Result<Config, Error> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::Invalid(format!("JSON specification file {} not found", path.display())));
        }
        read => read.map_err(Error::file("read", path))?,
    };
    serde_json::from_slice(&bytes).map_err(|source| Error::Json { path: path.to_owned(), source })
}

/// Every container of a root, by name.
pub(crate) fn all(root: &Path) -> Result<Vec<Container>, Error> {
    let entries = match fs::read_dir(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file("list", root))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::file("list", root))?.file_name();
        match Container::find(root, &name.to_string_lossy()) {
            // Gone meanwhile, or not there yet.
            Err(Error::Missing(_)) => {}
            container => found.push(container?),
        }
    }
    found.sort_by(|a, b| a.record.id.cmp(&b.record.id));
    Ok(found)
}
