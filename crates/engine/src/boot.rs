use corral_spec::{ContainerId, RestartPolicy};

use crate::signal::{STOPPED, Stopped};
use crate::{Engine, Error, State, View};

impl Engine {
    /// The containers that a boot starts: those that run always, and those that run unless somebody has stopped them
    /// and nobody but the host has; one that is started after failures only if it was running when the host went down.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn due_at_boot(&self) -> Result<Vec<View>, Error> {
        let mut due = Vec::new();
        for view in self.list()? {
            if self.is_due(&view)? {
                due.push(view);
            }
        }
        // In the order in which they were made.
        due.reverse();
        Ok(due)
    }

    fn is_due(&self, view: &View) -> Result<bool, Error> {
        let id = &view.record.id;
        let was_running = match view.state {
            State::Dead => true,
            State::Exited(_) => self.was_stopped_by_host(id)?,
            _ => false,
        };
        let ended = matches!(view.state, State::Dead | State::Exited(_));
        Ok(match self.launch(id)?.restart {
            RestartPolicy::No => false,
            RestartPolicy::OnFailure(_) => was_running,
            RestartPolicy::Always => ended,
            RestartPolicy::UnlessStopped => ended && (was_running || !self.is_stopped(id)),
        })
    }

    fn was_stopped_by_host(&self, id: &ContainerId) -> Result<bool, Error> {
        match std::fs::read_to_string(self.layout().container(id).join(STOPPED)) {
            Ok(word) => Ok(word == Stopped::ByHost.word()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("read who stopped the container")(error)),
        }
    }

    /// Stops a container because the host goes down: the next boot starts it again if its policy says so.
    ///
    /// # Errors
    /// When its processes do not end even after SIGKILL.
    pub fn halt(&self, id: &ContainerId) -> Result<(), Error> {
        self.stop_for(id, Stopped::ByHost, (None, None))
    }
}
