use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use corral_image::{Error as Broken, Upper};
use corral_runtime::{Scope, Visit};
use corral_spec::ContainerId;
use corral_spec::record::{Launch, Status};
use corral_state::ContainerLock;

use crate::create::make_layer;
use crate::{Engine, Error, State};

/// How long a copy waits for others that work on the container.
const PATIENCE: Duration = Duration::from_secs(30);

/// Somebody of ours in a container's tree. One that does not run stays locked meanwhile, so that nobody starts
/// it on the same writable layer.
pub(crate) struct Guest<'e> {
    engine: &'e Engine,
    id: ContainerId,
    lock: Option<ContainerLock>,
    visit: Visit,
}

impl Engine {
    /// Has `work` done inside a container; the guest's stream is the other end of the one that `work` gets.
    pub(crate) fn guest(
        &self,
        id: &ContainerId,
        scope: Scope,
        work: impl FnOnce(OwnedFd, File) -> Result<(), String>,
    ) -> Result<Guest<'_>, Error> {
        let (status, lock) = self.doorway(id)?;
        let enter = || {
            let launch = self.launch(id)?;
            if status.is_none() {
                make_layer(&launch)?;
            }
            Ok(corral_runtime::visit(&launch, status.as_ref(), scope, work)?)
        };
        match enter() {
            Ok(visit) => {
                corral_fault::step!(GuestStarted);
                Ok(Guest { engine: self, id: id.clone(), lock, visit })
            }
            Err(error) => {
                if let Some(lock) = lock {
                    self.layout.unlock(lock, id)?;
                }
                Err(error)
            }
        }
    }

    /// How a container can be entered now: by the processes that it has, or else under its lock. Who works on it may
    /// be a copy as well, and a killed one holds the lock until its guest is dead: so this waits.
    fn doorway(&self, id: &ContainerId) -> Result<(Option<Status>, Option<ContainerLock>), Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let view = self.view(id)?.ok_or_else(|| Error::NoContainer(id.to_string()))?;
            match view.state {
                State::Running(status) | State::Paused(status) => return Ok((Some(status), None)),
                State::Dead => {
                    self.collect_one(id)?;
                }
                State::Created | State::Exited(_) => {
                    if let Some(lock) = self.layout.try_lock(id)? {
                        return Ok((None, Some(lock)));
                    }
                }
                State::Busy | State::Restarting(..) => {}
            }
            if Instant::now() > deadline {
                return Err(Error::WrongState {
                    name: view.record.name.to_string(),
                    state: "busy",
                    way_out: "another command works on it: try again",
                });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Where a container's writable layer is, and how to read it.
    pub(crate) fn writable_layer(&self, launch: &Launch) -> (PathBuf, Upper) {
        let mount_points: BTreeSet<PathBuf> =
            launch.mounts.iter().map(|mount| mount.target.relative().to_owned()).collect();
        // An ordinary user's layers have the ids of their namespace, whatever a container sees.
        let user_marks = launch.shared.is_some();
        let ids = launch.ids.filter(|_| !user_marks).map(|ids| (ids.host, ids.count));
        let lowers = launch.root.lowers.clone();
        (launch.root.writable.join("upper"), Upper { ids, user_marks, mount_points, lowers })
    }
}

impl Guest<'_> {
    /// Our end of the stream.
    pub(crate) fn stream(&mut self) -> &mut File {
        &mut self.visit.stream
    }

    /// Says that nothing more will come.
    pub(crate) fn close_write(&self) -> Result<(), Error> {
        Ok(self.visit.close_write()?)
    }

    /// Waits for the guest's end and lets the container go. What the guest said comes first: it is why the
    /// stream broke.
    pub(crate) fn leave<T>(self, done: Result<T, Error>) -> Result<T, Error> {
        let ended = self.visit.finish().map_err(Error::from);
        let unlocked = match self.lock {
            Some(lock) => self.engine.layout.unlock(lock, &self.id).map_err(Error::from),
            None => Ok(()),
        };
        match (ended, done) {
            (Err(said), Err(Error::Io { .. } | Error::Image(Broken::Stream { .. } | Broken::Archive(_)))) => {
                Err(said)
            }
            (_, Err(error)) => Err(error),
            (Err(said), Ok(_)) => Err(said),
            (Ok(()), Ok(done)) => unlocked.map(|()| done),
        }
    }
}

/// A path typed for a container: absolute, without `..`, as Docker cleans it before it looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InsidePath {
    /// Clean, starts with `/`.
    pub(crate) clean: PathBuf,
    /// It ended in `/` or `/.`, and so names a directory, or what a link leads to.
    pub(crate) directory: bool,
    /// It ended in `/.`: what is in the directory.
    pub(crate) contents: bool,
}

impl InsidePath {
    pub(crate) fn new(text: &Path) -> Self {
        let bytes = text.as_os_str().as_encoded_bytes();
        let contents = bytes == b"." || bytes.ends_with(b"/.");
        let mut clean = PathBuf::from("/");
        for component in text.components() {
            match component {
                std::path::Component::Normal(name) => clean.push(name),
                std::path::Component::ParentDir => {
                    clean.pop();
                }
                _ => {}
            }
        }
        let root = clean == Path::new("/");
        Self { clean, directory: contents || root || bytes.ends_with(b"/"), contents: contents || root }
    }
}
