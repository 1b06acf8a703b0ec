//! Other bounds for a container that runs.
//!
//! All that is asked for is written, also what is the same: the record may be older than what holds. A bound whose v1
//! hierarchy has no group of the container yet gets one: it is made, the container is frozen, and its processes move,
//! until a look finds none outside. What fails is undone: the old values are written back, and a group that was made is
//! removed.
//!
//! Not covered: a process that `exec` starts at the same moment, after a look at which groups there were, and that enters
//! the container only after the last look here, is not in the new group until the next update.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use corral_spec::record::Cgroup;

use super::bound::{Bound, Value};
use super::hierarchy::Hierarchies;
use super::plan::{self, Group};
use super::{ControlGroup, PATIENCE, apply, files, gone, offered};
use crate::{Error, kernel_file};

/// What an update does, decided and not yet done.
#[derive(Debug)]
pub struct Update {
    steps: Vec<Step>,
}

/// A group, what is to be written there, and what was there.
#[derive(Debug)]
struct Step {
    dir: PathBuf,
    values: Vec<Value>,
    old: Vec<Value>,
    new: bool,
}

impl Update {
    /// The directories that it will make: to be recorded before, so that whoever finds a dead process's record can
    /// remove them.
    pub fn groups(&self) -> impl Iterator<Item = &PathBuf> {
        self.steps.iter().filter(|step| step.new).map(|step| &step.dir)
    }
}

impl ControlGroup {
    /// Decides how `to` is made to hold, and reads what holds now; touches no limit. Must be called by the process that made
    /// the groups, which is where the container's groups are looked for. Devices cannot be changed.
    ///
    /// # Errors
    /// [`Error::Limit`] for what the host cannot enforce.
    pub fn plan_update(&self, to: &Cgroup) -> Result<Update, Error> {
        let own = Hierarchies::detect()?;
        let offered = offered(&own);
        let found = plan::v1_below(&own, to.more.cgroup_parent.as_ref())?;
        let is_device = |bound: &Bound<'_>| matches!(bound, Bound::Devices(_));
        let wanted = Bound::of(to).into_iter().filter(|bound| !is_device(bound)).collect();
        let split = plan::split(&found, &offered, wanted);
        let name = self.name();
        let mut steps = Vec::new();
        for bound in split.v2 {
            let (Some(dir), Some(place)) = (&self.v2, &found.v2) else { continue };
            plan::v2_give(place, dir, bound.v2_controller().unwrap_or_default())?;
            let values = bound.v2()?;
            steps.push(Step { dir: dir.clone(), old: current(dir, &values), values, new: false });
        }
        for bound in split.v1 {
            let Group { dir, values, .. } = plan::v1_group(&found, bound, &name)?;
            let new = !self.v1.contains(&dir);
            if new && matches!(bound, Bound::Memory(_)) {
                takes_charges_along(&dir)?;
            }
            match steps.iter_mut().find(|step: &&mut Step| step.new && step.dir == dir) {
                Some(step) => step.values.extend(values),
                None => steps.push(Step { old: current(&dir, &values), dir, values, new }),
            }
        }
        Ok(Update { steps })
    }

    /// Does it.
    ///
    /// # Errors
    /// [`Error::Limit`] or [`Error::Group`]; the old bounds hold then.
    pub fn carry_out(&mut self, update: Update) -> Result<(), Error> {
        let steps = update.steps;
        let (mut done, mut taken) = (0, Ok(()));
        while let (Some(step), Ok(())) = (steps.get(done), &taken) {
            taken = self.take(step);
            done += 1;
        }
        if let Err(cause) = taken.and_then(|()| self.sweep(&steps)) {
            let left = steps[..done].iter().rev().filter_map(|step| self.undo(step).err()).collect();
            return Err(cause.with_left(left));
        }
        for step in steps {
            if step.values.iter().any(Value::is_memory) {
                self.memory = Some(step.dir.clone());
            }
            if step.new {
                self.v1.push(step.dir);
            }
        }
        Ok(())
    }

    /// Takes along whoever was started beside an earlier update, or this one.
    fn sweep(&self, steps: &[Step]) -> Result<(), Error> {
        let Some(from) = self.v2.as_ref().or(self.v1.first()) else { return Ok(()) };
        let v1 = steps.iter().filter(|step| self.v2.as_ref() != Some(&step.dir));
        v1.into_iter().try_for_each(|step| self.pour(from, &step.dir))
    }

    fn name(&self) -> String {
        let name = self.v2.as_ref().or(self.v1.first()).and_then(|dir| dir.file_name());
        name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    fn take(&self, step: &Step) -> Result<(), Error> {
        if !step.new {
            return apply::write_all(&step.dir, &step.values);
        }
        Group { dir: step.dir.clone(), values: step.values.clone(), program: None }.make()?;
        // Kernels that can move charges move them with the processes; the others were told from.
        if step.dir.join("memory.limit_in_bytes").exists() {
            files::set(step.dir.join(MOVE_CHARGES), "3")?;
        }
        self.gather(&step.dir)
    }

    fn undo(&self, step: &Step) -> Result<(), Error> {
        if !step.new {
            return apply::write_all(&step.dir, &step.old);
        }
        let above = step.dir.parent().unwrap_or(&step.dir);
        self.pour(&step.dir, above)?;
        match std::fs::remove_dir(&step.dir) {
            Err(source) if !gone(&source) => {
                Err(Error::Group { act: "remove", path: step.dir.clone(), source })
            }
            _ => Ok(()),
        }
    }

    /// Moves every process of the container into one more v1 group. Frozen, none can be made meanwhile.
    fn gather(&self, into: &Path) -> Result<(), Error> {
        let frozen = self.frozen()?;
        if !frozen {
            self.freeze()?;
        }
        let moved = match self.v2.as_ref().or(self.v1.first()) {
            Some(from) => self.pour(from, into),
            None => Ok(()),
        };
        let thawed = if frozen { Ok(()) } else { self.thaw() };
        moved.and(thawed)
    }

    /// Moves who is in `from` to `into`, until nobody is only there.
    fn pour(&self, from: &Path, into: &Path) -> Result<(), Error> {
        let deadline = Instant::now() + PATIENCE;
        let procs = into.join("cgroup.procs");
        loop {
            let there: BTreeSet<i32> = members(into)?.into_iter().collect();
            let missing: Vec<i32> = members(from)?.into_iter().filter(|pid| !there.contains(pid)).collect();
            if missing.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::Group {
                    act: "fill",
                    path: procs,
                    source: io::ErrorKind::TimedOut.into(),
                });
            }
            for pid in missing {
                match kernel_file::write(&procs, &pid.to_string()) {
                    Err(source) if source.raw_os_error() != Some(libc::ESRCH) => {
                        return Err(Error::Group { act: "move a process to", path: procs, source });
                    }
                    _ => {}
                }
            }
        }
    }
}

/// What the files hold now, to be written back. What has several lines is a list by device, which no update changes.
fn current(dir: &Path, values: &[Value]) -> Vec<Value> {
    let now = |value: &Value| {
        let (file, text) = value
            .choices
            .iter()
            .find_map(|(file, _)| Some((*file, kernel_file::read(dir.join(file)).ok()?)))?;
        let text = text.trim();
        (!text.contains('\n'))
            .then(|| Value { choices: vec![(file, Some(text.to_owned()))], ..value.clone() })
    };
    values.iter().filter_map(now).collect()
}

/// The processes of a group; none if it is gone.
pub(super) fn members(group: &Path) -> Result<Vec<i32>, Error> {
    let path = group.join("cgroup.procs");
    match kernel_file::read(&path) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error) if gone(&error) => Ok(Vec::new()),
        Err(source) => Err(Error::Group { act: "read", path, source }),
    }
}

const MOVE_CHARGES: &str = "memory.move_charge_at_immigrate";

/// A memory limit that counts only what is allocated from now on is none. Linux before 6.13 can move what is in use
/// along with the processes.
fn takes_charges_along(group: &Path) -> Result<(), Error> {
    let above = group.parent().unwrap_or(group).join(MOVE_CHARGES);
    let now = files::read(&above)?;
    // To write what is there changes nothing, and newer kernels refuse it all the same, unless it is 0.
    let number = if now.trim() == "0" { "1" } else { now.trim() };
    let taken = kernel_file::write(&above, number).and_then(|()| kernel_file::write(&above, now.trim()));
    taken.map_err(|_| Error::Limit {
        limit: "memory",
        reason:
            "the container runs without a memory group, and this kernel cannot count what it uses already; \
                 stop it, update it and start it again"
                .to_owned(),
    })
}
