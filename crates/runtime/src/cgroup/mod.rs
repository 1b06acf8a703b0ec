//! A container's control groups, on cgroup v1, v2 and hybrid hosts.
//!
//! ```text
//! v2       OWN/corral-ID            placement (CLONE_INTO_CGROUP), kill, freeze, all limits
//! hybrid   OWN/corral-ID (cgroup2)  placement, kill, freeze, and limits whose controller is there
//!          OWN/corral-ID (v1)       one a hierarchy that carries another limit
//! v1       OWN/corral-ID (freezer)  kill, freeze; and as above
//! ```
//!
//! OWN is the caller's own group in each hierarchy, so that a limit on the caller holds for the
//! container too. On cgroup2 a group with processes cannot have children with controllers: then it is
//! the nearest group above, provided none that is passed has a limit of its own.
//!
//! Removal is by path and idempotent: whoever reads the paths from a record can finish what a dead
//! process left.

mod apply;
mod bound;
mod devices;
pub use devices::OWN as OWN_DEVICES;
mod files;
mod find;
pub(crate) mod hierarchy;
pub(crate) mod plan;
mod update;
mod usage;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use corral_spec::record::{Cgroup, ProcessName, Status};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, Signal, kill_process};

use crate::{Error, kernel_file};
use bound::Bound;
use hierarchy::{Hierarchies, Place};

pub use update::Update;
pub use usage::Usage;

/// How long dying processes may hold a group, and a frozen state may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The control groups of one container: its cgroup2 directory where the host has one (kill, freeze,
/// placement, limits), and a cgroup v1 directory for each v1 controller in use.
#[derive(Debug)]
pub struct ControlGroup {
    v2: Option<PathBuf>,
    v1: Vec<PathBuf>,
    /// Which of them has a memory limit, as far as this process has set it.
    memory: Option<PathBuf>,
    /// The first process, by which the others are found where there is no group.
    init: Option<ProcessName>,
}

/// Open descriptors through which a child enters a group.
pub(crate) struct Entrance {
    /// The cgroup2 directory, for CLONE_INTO_CGROUP.
    pub(crate) v2: Option<OwnedFd>,
    /// The `tasks` file of each v1 group. Writing `0` there moves the writing thread itself, which alone
    /// spares the kernel's RCU grace period (kernel/cgroup/cgroup.c, cgroup_procs_write_start).
    pub(crate) v1: Vec<OwnedFd>,
}

impl Entrance {
    /// Moves this process, which has one thread, into the v1 groups.
    pub(crate) fn join_v1(&self) -> Result<(), Error> {
        self.v1.iter().try_for_each(|tasks| {
            rustix::io::write(tasks, b"0")
                .map(drop)
                .map_err(|errno| Error::inside("join the control group", errno))
        })
    }
}

impl ControlGroup {
    /// Makes the groups and sets their limits. If it fails nothing is left.
    pub(crate) fn create(limits: &Cgroup, name: &str) -> Result<Self, Error> {
        if limits.more.no_groups {
            return Ok(Self::open(None, &[]));
        }
        let own = Hierarchies::detect()?;
        let offered = offered(&own);
        let parent = limits.more.cgroup_parent.as_ref();
        let found = plan::v1_below(&own, parent)?;
        let split = plan::split(&found, &offered, Bound::of(limits));
        let mut groups = plan::v1_groups(&found, &split.v1, name)?;
        let v1 = groups.iter().map(|group| group.dir.clone()).collect();
        let mut memory = groups.iter().find(|group| group.bounds_memory()).map(|group| group.dir.clone());
        if parent.is_some() {
            make_v1_parents(&own, &groups)?;
        }
        let mut v2 = None;
        if let Some(place) = &own.v2 {
            let controllers: Vec<_> = split.v2.iter().filter_map(|bound| bound.v2_controller()).collect();
            let mut above = plan::v2_parent(place, &controllers, false)?;
            if let Some(parent) = parent {
                let place = Place { mount: place.mount.clone(), own: above.clone() };
                let named = plan::below(&place, parent)?;
                apply::make_parents(&above, &named.own)?;
                above = plan::v2_parent(&named, &controllers, true)?;
            }
            let dir = above.join(name);
            v2 = Some(dir.clone());
            let group = plan::v2_group(dir, &split.v2)?;
            memory = memory.or_else(|| group.bounds_memory().then(|| group.dir.clone()));
            groups.insert(0, group);
        }
        let made = Self { v2, v1, memory, init: None };
        match groups.iter().try_for_each(plan::Group::make) {
            Ok(()) => Ok(made),
            Err(cause) => Err(cause.with_left(made.remove())),
        }
    }

    /// The groups that a [`Status`](corral_spec::record::Status) names. Nothing is opened yet, so that
    /// groups already gone can be collected too.
    pub fn open(cgroup2: Option<&Path>, cgroup1: &[PathBuf]) -> Self {
        Self { v2: cgroup2.map(Path::to_owned), v1: cgroup1.to_vec(), memory: None, init: None }
    }

    /// As [`Self::open`], and the processes of a container without groups (`--cgroups disabled`) are known.
    pub fn of(status: &Status) -> Self {
        Self { init: Some(status.init), ..Self::open(status.cgroup2.as_deref(), &status.cgroup1) }
    }

    /// The cgroup2 directory.
    pub fn v2(&self) -> Option<&Path> {
        self.v2.as_deref()
    }

    /// The cgroup v1 directories.
    pub fn v1(&self) -> &[PathBuf] {
        &self.v1
    }

    /// Opens the way in for a child.
    pub(crate) fn entrance(&self) -> Result<Entrance, Error> {
        let open = |path: PathBuf, flags: OFlags| {
            openat(CWD, &path, flags | OFlags::CLOEXEC, Mode::empty()).map_err(|source| Error::Group {
                act: "open",
                path,
                source: source.into(),
            })
        };
        let v2 =
            self.v2.as_ref().map(|dir| open(dir.clone(), OFlags::PATH | OFlags::DIRECTORY)).transpose()?;
        let v1 =
            self.v1.iter().map(|dir| open(dir.join("tasks"), OFlags::WRONLY)).collect::<Result<_, _>>()?;
        Ok(Entrance { v2, v1 })
    }

    /// Sends SIGKILL to every process in the group.
    ///
    /// # Errors
    /// [`Error::Group`]; a group that is gone is no error.
    pub fn kill(&self) -> Result<(), Error> {
        if let Some(dir) = &self.v2 {
            let path = dir.join("cgroup.kill");
            match kernel_file::write(&path, "1") {
                Ok(()) => return Ok(()),
                // Before Linux 5.14 the file is missing; without the directory nobody is left.
                Err(error) if error.kind() == io::ErrorKind::NotFound && dir.exists() => {}
                Err(error) if gone(&error) => return Ok(()),
                Err(source) => return Err(Error::Group { act: "write", path, source }),
            }
        }
        match self.v2.as_ref().or(self.v1.first()) {
            Some(dir) => kill_each(dir),
            None => Ok(()),
        }
    }

    /// Freezes every process in the group and returns once all are frozen.
    ///
    /// # Errors
    /// [`Error::Group`], with `TimedOut` when a process sits in the kernel for over two seconds.
    pub fn freeze(&self) -> Result<(), Error> {
        let (path, value) = self.freezer("1", "FROZEN")?;
        files::set(path.clone(), value)?;
        let deadline = Instant::now() + PATIENCE;
        while !self.is_at_rest()? {
            if Instant::now() > deadline {
                return Err(Error::Group { act: "freeze", path, source: io::ErrorKind::TimedOut.into() });
            }
            // A v1 freezer goes from FREEZING to FROZEN only when it is looked at.
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// Lets the processes go on.
    ///
    /// # Errors
    /// [`Error::Group`].
    pub fn thaw(&self) -> Result<(), Error> {
        let (path, value) = self.freezer("0", "THAWED")?;
        files::set(path, value)
    }

    /// Whether the group is frozen or on the way there.
    ///
    /// # Errors
    /// [`Error::Group`].
    pub fn frozen(&self) -> Result<bool, Error> {
        if self.v2.is_none() && self.v1.is_empty() {
            return Ok(false);
        }
        let (path, _) = self.freezer("", "")?;
        let text = files::read(&path)?;
        Ok(!matches!(text.trim(), "0" | "THAWED"))
    }

    /// How many processes of the group the kernel killed for memory. Without a memory limit that this process has set
    /// it is 0: there is no group that counts.
    ///
    /// # Errors
    /// [`Error::Group`].
    pub fn oom_kills(&self) -> Result<u64, Error> {
        let Some(dir) = &self.memory else { return Ok(0) };
        let file = if self.v2.as_ref() == Some(dir) { "memory.events" } else { "memory.oom_control" };
        let text = files::read(&dir.join(file))?;
        Ok(files::keyed(&text, "oom_kill").unwrap_or(0))
    }

    /// Removes the directories; those already gone are no error. Waits a moment for processes that are
    /// just dying. Runs to the end and returns what failed.
    pub fn remove(&self) -> Vec<Error> {
        self.remove_within(PATIENCE)
    }

    /// As [`Self::remove`], with this much patience.
    pub(crate) fn remove_within(&self, patience: Duration) -> Vec<Error> {
        let deadline = Instant::now() + patience;
        let remove = |dir: &PathBuf| {
            let removed = remove_tree(dir, deadline);
            removed.map_err(|source| Error::Group { act: "remove", path: dir.clone(), source }).err()
        };
        self.v2.iter().chain(&self.v1).filter_map(remove).collect()
    }

    /// The file that freezes, and the spelling of a value for it.
    fn freezer<'v>(&self, v2: &'v str, v1: &'v str) -> Result<(PathBuf, &'v str), Error> {
        if let Some(dir) = &self.v2 {
            return Ok((dir.join("cgroup.freeze"), v2));
        }
        match self.v1.iter().map(|dir| dir.join("freezer.state")).find(|path| path.exists()) {
            Some(path) => Ok((path, v1)),
            None if self.v1.is_empty() => Err(Error::Launch(
                "it has no control group (--cgroups disabled), and nothing freezes it (commit --pause=false does without)".to_owned(),
            )),
            None => Err(Error::Group {
                act: "find the freezer of",
                path: self.v1.first().cloned().unwrap_or_default(),
                source: io::ErrorKind::NotFound.into(),
            }),
        }
    }

    fn is_at_rest(&self) -> Result<bool, Error> {
        match &self.v2 {
            Some(dir) => Ok(files::keyed(&files::read(&dir.join("cgroup.events"))?, "frozen") == Some(1)),
            None => Ok(files::read(&self.freezer("", "")?.0)?.trim() == "FROZEN"),
        }
    }
}

/// Makes the groups of a named parent in the v1 hierarchies that are used. They stay: they are not the container's.
fn make_v1_parents(own: &Hierarchies, groups: &[plan::Group]) -> Result<(), Error> {
    for group in groups {
        let Some(parent) = group.dir.parent() else { continue };
        let place = own.v1.iter().map(|(_, place)| place).find(|place| parent.starts_with(&place.mount));
        if let Some(place) = place {
            apply::make_parents(&place.own, parent)?;
        }
    }
    Ok(())
}

/// The controllers that cgroup2 has; a v1 hierarchy may hold the others.
fn offered(found: &Hierarchies) -> String {
    let read =
        |place: &hierarchy::Place| kernel_file::read_single(place.mount.join("cgroup.controllers")).ok();
    found.v2.as_ref().and_then(read).unwrap_or_default()
}

/// Kills by number until none is left; the group's pids cannot be reused while it is being listed
/// faster than they die, and a stray one is refused by the next listing.
fn kill_each(dir: &Path) -> Result<(), Error> {
    let path = dir.join("cgroup.procs");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let listed = match kernel_file::read(&path) {
            Ok(listed) => listed,
            Err(error) if gone(&error) => return Ok(()),
            Err(source) => return Err(Error::Group { act: "read", path, source }),
        };
        let pids: Vec<_> = listed.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect();
        if pids.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::Group { act: "empty", path, source: io::ErrorKind::TimedOut.into() });
        }
        for pid in pids {
            match kill_process(pid, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(source) => {
                    return Err(Error::Group { act: "kill the processes of", path, source: source.into() });
                }
            }
        }
        thaw_the_dying(dir)?;
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Nobody dies in a frozen v1 group. Each member has its signal by now, and does nothing else once thawed.
fn thaw_the_dying(dir: &Path) -> Result<(), Error> {
    let path = dir.join("freezer.state");
    match kernel_file::write(&path, "THAWED") {
        Err(source) if !gone(&source) => Err(Error::Group { act: "write", path, source }),
        _ => Ok(()),
    }
}

/// rmdir, with patience for dying processes and with the groups below it.
fn remove_tree(dir: &Path, deadline: Instant) -> io::Result<()> {
    loop {
        match std::fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if gone(&error) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                for entry in std::fs::read_dir(dir)?.flatten() {
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        remove_tree(&entry.path(), deadline)?;
                    }
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
}

fn gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}
