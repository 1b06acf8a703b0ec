//! What the engine records, and of whom: the events whose cause is a command. What happens to a running container
//! its monitor records.

use corral_image::Image;
use corral_journal::{Action, Event, Grade, Journal};
use corral_policy::Denial;
use corral_spec::record::{Journaled, JournaledVolume, Launch};
use corral_spec::{ContainerId, ContainerSpec, MountSource, Signal};
use corral_state::ContainerRecord;

use crate::{Engine, Error, Watch};

/// A process in a container whose end is still to be recorded.
#[derive(Clone, Debug)]
pub struct ExecNote {
    event: Event,
}

impl Engine {
    /// The journal of this root.
    pub fn journal(&self) -> Journal {
        Journal::new(self.layout().root(), self.layout().run_root())
    }

    /// Records what is about to be done.
    ///
    /// # Errors
    /// When it cannot be recorded: then it must not be done.
    pub(crate) fn record_work(&self, events: &[Event]) -> Result<(), Error> {
        Ok(self.journal().append(Grade::Work, events)?)
    }

    /// Records that a container comes to be, and that its maker is about to watch it.
    pub(crate) fn record_created(&self, launch: &Launch, watch: Watch) -> Result<(), Error> {
        let actions: &[Action] = match watch {
            Watch::Nobody => &[Action::Create],
            Watch::Caller => &[Action::Create, Action::Attach],
            Watch::Monitor => return Ok(()),
        };
        let event = |action: &Action| {
            let known = launch.journal.iter().flat_map(|known| &known.attributes);
            Event::new(*action, launch.id.as_str()).with_all(known)
        };
        let events: Vec<_> = actions.iter().map(event).collect();
        self.record_work(&events)
    }

    /// Records that a rule forbade something.
    pub(crate) fn record_denial(&self, what: &str, of: &str, denial: &Denial) -> Result<(), Error> {
        let event = Event::new(Action::Refuse, of).with("refused", what).with("reason", denial.to_string());
        Ok(self.journal().append(Grade::Refusal, &[event])?)
    }

    /// Records what happens anyway.
    ///
    /// # Errors
    /// When it cannot be recorded, which does not undo it.
    pub(crate) fn record_end(&self, event: Event) -> Result<(), Error> {
        Ok(self.journal().append(Grade::End, &[event])?)
    }

    /// Records a signal that is about to be sent.
    pub(crate) fn record_signal(&self, record: &ContainerRecord, signal: Signal) -> Result<(), Error> {
        self.record_end(of_container(Action::Kill, record).with("signal", signal.number().to_string()))
    }

    /// Records that a client is about to start a container and watch it.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn record_attach(&self, record: &ContainerRecord) -> Result<(), Error> {
        self.record_work(&[of_container(Action::Attach, record)])
    }

    /// Records that a container was stopped and started again.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn record_restart(&self, id: &ContainerId) -> Result<(), Error> {
        match self.layout().container_record(id)? {
            Some(record) => self.record_end(of_container(Action::Restart, &record)),
            None => Ok(()),
        }
    }

    /// Records a process that is about to be executed in a container.
    pub(crate) fn record_exec(&self, record: &ContainerRecord, argv: &[String]) -> Result<ExecNote, Error> {
        let id = crate::host::new_id()?;
        let command = argv.join(" ");
        let event = |action| of_container(action, record).with("execID", id.as_str());
        self.record_work(&[
            event(Action::ExecCreate).detailed(&command),
            event(Action::ExecStart).detailed(&command),
        ])?;
        Ok(ExecNote { event: event(Action::ExecDie) })
    }

    /// Records the end of that process.
    ///
    /// # Errors
    /// When it cannot be recorded.
    pub fn record_exec_end(&self, note: ExecNote, code: u8) -> Result<(), Error> {
        self.record_end(note.event.with("exitCode", code.to_string()))
    }
}

/// An event of a container, with what Docker says beside it.
pub(crate) fn of_container(action: Action, record: &ContainerRecord) -> Event {
    Event::new(action, record.id.as_str())
        .with("image", &record.image_name)
        .with("name", record.name.as_str())
        .with_all(&record.spec.labels)
}

/// Bytes of an image's labels that each event has: what does not fit is in the image all the same, and an image is not to
/// fill the journal.
const IMAGE_LABELS: usize = 4096;

/// What the monitor records with: the labels of image and command line, and the named volumes.
pub(crate) fn for_monitor(engine: &Engine, record: &ContainerRecord, image: &Image) -> Journaled {
    // Through an event, so that of two labels of one name the command line's wins.
    let labels = &image.config.config.labels;
    let labels: Vec<_> = labels
        .iter()
        .scan(IMAGE_LABELS, |room, (name, value)| {
            *room = room.checked_sub(name.len() + value.len())?;
            Some((name.clone(), value.clone()))
        })
        .collect();
    let event = of_container(Action::Create, record).with_all(&labels);
    Journaled {
        root: engine.layout().root().to_owned(),
        run: engine.layout().run_root().to_owned(),
        attributes: event.attributes.into_iter().collect(),
        volumes: volumes(&record.spec),
    }
}

fn volumes(spec: &ContainerSpec) -> Vec<JournaledVolume> {
    let named = spec.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume(name) => Some(JournaledVolume {
            name: name.clone(),
            target: mount.target.clone(),
            read_only: mount.read_only,
        }),
        _ => None,
    });
    named.collect()
}
