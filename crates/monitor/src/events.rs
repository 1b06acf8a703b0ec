//! What a monitor records of its container: from its start to its end, in as few appends as there are moments.

use std::time::{Duration, Instant};

use corral_journal::{Action, Error, Event, Grade, Journal};
use corral_spec::record::{Exit, Journaled, JournaledVolume, Launch};
use corral_spec::{ContainerId, HealthState};

/// The container's part of the journal; none for what is not recorded.
#[derive(Clone, Debug)]
pub struct Events {
    id: ContainerId,
    known: Option<Journaled>,
    /// What comes before the start and is recorded with it.
    before: Vec<Action>,
    turns: Turns,
}

/// Events that a container causes as often as it likes, such as turns of its health: some at once, then one a while, so
/// that it cannot push what others did out of the journal. What comes in between is counted, and the last of it told.
#[derive(Clone, Debug)]
struct Turns {
    left: u32,
    since: Instant,
    pending: Option<HealthState>,
    skipped: u32,
}

impl Turns {
    const AT_ONCE: u32 = 10;
    const EACH: Duration = Duration::from_secs(10);

    fn new() -> Self {
        Self { left: Self::AT_ONCE, since: Instant::now(), pending: None, skipped: 0 }
    }

    /// The state to tell now, and how many were not told before it.
    fn take(&mut self, now: Instant) -> Option<(HealthState, u32)> {
        let passed = now.saturating_duration_since(self.since).as_secs() / Self::EACH.as_secs();
        if passed > 0 {
            self.left = Self::AT_ONCE.min(self.left.saturating_add(passed.try_into().unwrap_or(u32::MAX)));
            self.since = now;
        }
        self.pending?;
        self.left = self.left.checked_sub(1)?;
        Some((self.pending.take()?, std::mem::take(&mut self.skipped)))
    }
}

impl Events {
    pub fn of(launch: &Launch) -> Self {
        let (id, known) = (launch.id.clone(), launch.journal.clone());
        Self { id, known, before: Vec::new(), turns: Turns::new() }
    }

    /// Of a container that the same command has made, and watches: that is recorded with its start.
    pub fn of_own(launch: &Launch) -> Self {
        Self { before: vec![Action::Create, Action::Attach], ..Self::of(launch) }
    }

    /// Its program runs.
    pub fn started(&mut self) -> Result<(), Error> {
        let Some(known) = &self.known else { return Ok(()) };
        let mounted = known.volumes.iter().map(|volume| self.of_volume(Action::VolumeMount, volume));
        let events: Vec<_> =
            self.unsaid().into_iter().chain(mounted).chain([self.event(Action::Start)]).collect();
        journal(known).append(Grade::Work, &events)?;
        self.before.clear();
        Ok(())
    }

    /// Its first process ended, or never ran.
    pub fn died(&self, exit: &Exit) -> Result<(), Error> {
        let Some(known) = &self.known else { return Ok(()) };
        journal(known).append(Grade::End, &self.death(exit))
    }

    /// What there is to record of that.
    pub fn death(&self, exit: &Exit) -> Vec<Event> {
        let Some(known) = &self.known else { return Vec::new() };
        let ran = exit.started_ns > 0;
        let seconds = if ran { exit.finished_ns.saturating_sub(exit.started_ns) / 1_000_000_000 } else { 0 };
        let mut die = self
            .event(Action::Die)
            .with("execDuration", seconds.to_string())
            .with("exitCode", exit.code.to_string());
        if !exit.error.is_empty() {
            die = die.with("error", &exit.error);
        }
        let oom = exit.oom_killed.then(|| self.event(Action::Oom));
        let unmounted = known.volumes.iter().filter(|_| ran);
        let unmounted = unmounted.map(|volume| self.of_volume(Action::VolumeUnmount, volume));
        self.unsaid().into_iter().chain(oom).chain([die]).chain(unmounted).collect()
    }

    /// From now on it goes by this name.
    pub fn rename(&mut self, name: &str) {
        let attributes = self.known.iter_mut().flat_map(|known| &mut known.attributes);
        attributes.filter(|(key, _)| key == "name").for_each(|(_, value)| name.clone_into(value));
    }

    /// What has not been recorded yet.
    pub fn unsaid(&self) -> Vec<Event> {
        self.before.iter().map(|action| self.event(*action)).collect()
    }

    /// Something is about to be done.
    pub fn work(&self, action: Action) -> Result<(), Error> {
        self.append(Grade::Work, &[action])
    }

    /// Something happened anyway.
    pub fn end(&self, actions: &[Action]) -> Result<(), Error> {
        self.append(Grade::End, actions)
    }

    /// Its health was looked at, and is another than before if there is a state.
    pub fn health(&mut self, turned: Option<HealthState>) -> Result<(), Error> {
        if let Some(state) = turned {
            self.turns.skipped += u32::from(self.turns.pending.replace(state).is_some());
        }
        let Some(known) = &self.known else { return Ok(()) };
        let Some((state, skipped)) = self.turns.take(Instant::now()) else { return Ok(()) };
        let mut event = self.event(Action::HealthStatus).detailed(state.as_str());
        if skipped > 0 {
            event = event.with("skipped", skipped.to_string());
        }
        journal(known).append(Grade::End, &[event])
    }

    fn append(&self, grade: Grade, actions: &[Action]) -> Result<(), Error> {
        let Some(known) = &self.known else { return Ok(()) };
        let events: Vec<_> = actions.iter().map(|action| self.event(*action)).collect();
        journal(known).append(grade, &events)
    }

    fn event(&self, action: Action) -> Event {
        let known = self.known.iter().flat_map(|known| &known.attributes);
        Event::new(action, self.id.as_str()).with_all(known)
    }

    fn of_volume(&self, action: Action, volume: &JournaledVolume) -> Event {
        let event =
            Event::new(action, &*volume.name).with("container", self.id.as_str()).with("driver", "local");
        match action {
            Action::VolumeMount => event
                .with("destination", volume.target.to_string())
                .with("propagation", "")
                .with("read/write", (!volume.read_only).to_string()),
            _ => event,
        }
    }
}

fn journal(known: &Journaled) -> Journal {
    Journal::new(&known.root, &known.run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_of_health_are_told_some_at_once_and_then_seldom() {
        let mut turns = Turns::new();
        let begin = turns.since;
        let mut turn = |state, seconds| {
            turns.skipped += u32::from(turns.pending.replace(state).is_some());
            turns.take(begin + Duration::from_secs(seconds))
        };
        for _ in 0..Turns::AT_ONCE {
            assert_eq!(turn(HealthState::Healthy, 1), Some((HealthState::Healthy, 0)));
        }
        for _ in 0..100 {
            assert_eq!(turn(HealthState::Unhealthy, 2), None);
        }
        assert_eq!(
            turn(HealthState::Healthy, 11),
            Some((HealthState::Healthy, 100)),
            "the last, and a count"
        );
        assert_eq!(turn(HealthState::Unhealthy, 12), None);
        assert_eq!(turns.take(begin + Duration::from_secs(25)), Some((HealthState::Unhealthy, 0)));
        assert_eq!(turns.take(begin + Duration::from_secs(99)), None, "nothing to tell");
    }
}
