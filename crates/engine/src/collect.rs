use std::cell::OnceCell;
use std::collections::BTreeSet;

use corral_journal::{Action, Event};
use corral_runtime::ControlGroup;
use corral_spec::record::{Exit, GENERATION, Status};
use corral_spec::{ContainerId, Digest};
use corral_state::{ContainerLock, ContainerRecord, Life, read_record, stage_record};

use crate::journal::of_container;
use crate::remove::Taking;
use crate::wait::open_process;
use crate::{Engine, Error, host};

/// How many run directories a start looks at: enough that garbage never piles up, and few enough that
/// the thousandth container starts as fast as the first.
const GLANCE: usize = 16;

/// How a container ended whose monitor cannot say so.
const KILLED: u8 = 137;
const CAUSE: &str = "the monitor was killed, or the host went down";

/// What a collection took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Containers whose monitor or maker was killed.
    pub containers: usize,
    /// Leases of containers that are gone.
    pub leases: usize,
}

/// What is to be done about a container that nobody works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// It rests; at most its run directory is left over.
    Nothing,
    /// It ended with its monitor: that is to be recorded.
    Settle,
    /// It was half made, or was to disappear at its end.
    Remove,
}

impl Engine {
    /// Finds everything that killed processes left behind and cleans it up.
    ///
    /// # Errors
    /// The first, when the disk fails; what comes after it is cleaned up all the same. Containers that someone works on
    /// are left alone.
    pub fn collect(&self) -> Result<Collected, Error> {
        let (mut collected, mut failed) = (Collected::default(), None);
        for id in self.layout.container_ids()? {
            match self.collect_one(&id) {
                Ok(done) => collected.containers += usize::from(done),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        collected.leases = self.layout.collect_leases()? + self.collect_templates()?;
        failed.map_or(Ok(collected), Err)
    }

    /// The same, as far as it can be done: a full disk keeps nobody from seeing what there is, or from removing it.
    /// `repair` says what cannot be done.
    pub fn collect_if_possible(&self) {
        drop(self.collect());
    }

    /// What a monitor does last, in its own place: takes down what its container held. The monitor's lock went with
    /// it; if another command was faster, there is nothing left to do.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn reap(&self, id: &ContainerId) -> Result<(), Error> {
        self.collect_one(id)?;
        corral_fault::step!(ReapCollected);
        // A container that is kept has a history worth pinning; nobody waits for this.
        if self.layout.life(id) == Life::Lasting && self.layout.container(id).exists() {
            self.journal().anchor()?;
        }
        Ok(())
    }

    /// The images that containers were made from.
    ///
    /// # Errors
    /// When a record cannot be read: then nothing may be called unused.
    pub fn images_in_use(&self) -> Result<BTreeSet<Digest>, Error> {
        let used = |view: crate::View| view.record.mount_images.into_iter().chain([view.record.image]);
        Ok(self.list()?.into_iter().flat_map(used).collect())
    }

    /// Removes image data that neither an image nor a container uses.
    ///
    /// # Errors
    /// When the store or a record fails.
    pub fn collect_images(&self) -> Result<corral_image::Collected, Error> {
        // Asked by the store once nobody holds a lease any more, so that a container made meanwhile counts. A
        // record that cannot be read keeps every image.
        let used = OnceCell::new();
        let in_use = |image: &Digest| match used.get_or_init(|| self.images_in_use()) {
            Ok(used) => used.contains(image),
            Err(_) => true,
        };
        Ok(self.store().gc(&in_use)?)
    }

    /// The bounded form for the way of `run`: looks at a few run directories only.
    pub(crate) fn glance(&self) -> Result<(), Error> {
        for id in self.layout.run_ids()?.into_iter().take(GLANCE) {
            self.collect_one(&id)?;
        }
        Ok(())
    }

    /// Cleans up after one container if nobody holds its lock; true if there was something to do.
    pub(crate) fn collect_one(&self, id: &ContainerId) -> Result<bool, Error> {
        let has_run_dir = self.layout.run(id).exists();
        if has_run_dir && self.layout.is_locked(id) {
            return Ok(false);
        }
        // A record that cannot be read belongs to a container that exists: it is the user's to remove.
        let record = match self.layout.container_record(id) {
            Ok(record) => record,
            Err(_) if !has_run_dir => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if !has_run_dir && self.due(id, record.as_ref()) == Due::Nothing {
            return Ok(false);
        }
        let Some(lock) = self.layout.try_lock(id)? else { return Ok(false) };
        self.end_processes(id)?;
        corral_fault::step!(ProcessesEnded);
        let record = self.layout.container_record(id)?;
        match self.due(id, record.as_ref()) {
            Due::Nothing => self.layout.unlock(lock, id)?,
            Due::Settle => self.settle_dead(id, lock, record.as_ref())?,
            // It was to go with all that was made for it.
            Due::Remove => self.finish_removal(lock, id, record)?,
        }
        Ok(true)
    }

    /// Takes away what a dead process was taking away, or was to: with the events that it has not recorded.
    fn finish_removal(
        &self,
        lock: ContainerLock,
        id: &ContainerId,
        record: Option<ContainerRecord>,
    ) -> Result<(), Error> {
        let mut events = self.unsaid_end(id, record.as_ref());
        // One that is on its way out has its record elsewhere, and has lost the volumes that were to go with it.
        let going = self.layout.going_record(id).unwrap_or_default();
        let volumes = going.is_none();
        let record = record.or(going);
        events.extend(record.as_ref().map(|record| of_container(Action::Destroy, record)));
        self.take_away((lock, self.layout.life(id)), id, record.as_ref(), Taking { volumes, events })
    }

    /// The end of a container whose monitor died before it wrote that down. What does not last is started at once.
    pub(crate) fn unsaid_end(&self, id: &ContainerId, record: Option<&ContainerRecord>) -> Vec<Event> {
        let began =
            self.layout.life(id) == Life::Passing || self.layout.container(id).join("started").exists();
        let unsaid = record.filter(|_| began && !self.has_ended(id));
        let died = |record| {
            of_container(Action::Die, record).with("exitCode", KILLED.to_string()).with("error", CAUSE)
        };
        unsaid.map(died).into_iter().collect()
    }

    fn has_ended(&self, id: &ContainerId) -> bool {
        self.layout.records(id, self.layout.life(id)).join("exit.json").exists()
    }

    fn due(&self, id: &ContainerId, record: Option<&ContainerRecord>) -> Due {
        let dir = self.layout.container(id);
        match (record, self.layout.life(id)) {
            (None, _) | (Some(_), Life::Passing) => Due::Remove,
            (Some(_), Life::Lasting) if !dir.join("started").exists() => Due::Nothing,
            (Some(record), Life::Lasting) if record.spec.remove => Due::Remove,
            (Some(_), Life::Lasting) if dir.join("exit.json").exists() => Due::Nothing,
            (Some(_), Life::Lasting) => Due::Settle,
        }
    }

    /// The processes died with their monitor (parent-death signal); what may be left are those that
    /// another process joined, and the groups. A monitor that died before it wrote its status has groups too.
    pub(crate) fn end_processes(&self, id: &ContainerId) -> Result<(), Error> {
        let Some(status) = read_record::<Status>(&self.layout.run(id).join("status.json"))? else {
            // Without a launch there was nothing to make groups for, and whoever wrote its end had removed them.
            return match self.launch(id) {
                Ok(_) if !self.has_ended(id) => remove_groups(&ControlGroup::find(id.short())?),
                _ => Ok(()),
            };
        };
        if let Some(init) = open_process(&status.init)? {
            match rustix::process::pidfd_send_signal(&init, rustix::process::Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(Error::io("kill what a dead monitor left")(error.into())),
            }
        }
        remove_groups(&ControlGroup::open(status.cgroup2.as_deref(), &status.cgroup1))?;
        // Its next life may have got other groups than the last, which its status speaks of.
        if status.restarting { remove_groups(&ControlGroup::find(id.short())?) } else { Ok(()) }
    }

    fn settle_dead(
        &self,
        id: &ContainerId,
        lock: ContainerLock,
        record: Option<&ContainerRecord>,
    ) -> Result<(), Error> {
        // Gone with the boot if the host went down.
        let status = read_record::<Status>(&self.layout.run(id).join("status.json"))?;
        let exit = Exit {
            generation: GENERATION,
            code: KILLED,
            oom_killed: false,
            oom_kills: 0,
            over_disk: false,
            restarts: status.as_ref().map_or(0, |status| status.restarts),
            error: CAUSE.into(),
            started_ns: status.map_or(0, |status| status.started_ns),
            finished_ns: host::now_ns(),
        };
        let path = self.layout.container(id).join("exit.json");
        let staged = stage_record(&path, &exit, true)?;
        // Recorded first: a kill in between records it twice, and never not. Without space for both there is neither.
        let recorded = record.map_or(Ok(()), |record| {
            let died = of_container(Action::Die, record).with("exitCode", exit.code.to_string());
            self.record_end(died.with("error", CAUSE))
        });
        staged.place()?;
        recorded?;
        Ok(self.layout.unlock(lock, id)?)
    }
}

fn remove_groups(group: &ControlGroup) -> Result<(), Error> {
    group.kill()?;
    match group.remove().into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}
