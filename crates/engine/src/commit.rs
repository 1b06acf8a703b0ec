use corral_image::{Commit, ContainerConfig};
use corral_journal::Action;
use corral_spec::{ContainerId, ContainerSpec, Digest, Entrypoint, ImageRef, UserPart};
use corral_state::ContainerRecord;

use crate::exec::set;
use crate::journal::of_container;
use crate::{Engine, Error, State};

/// What `commit` was told.
#[derive(Clone, Debug, Default)]
pub struct CommitRequest {
    /// Name of the new image.
    pub reference: Option<ImageRef>,
    /// Who makes it.
    pub author: String,
    /// The remark in its history.
    pub message: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
}

impl Engine {
    /// Makes an image of a container: its image, and its writable layer as one more. It is read as it is at this
    /// moment; whoever wants it to hold still pauses it before.
    ///
    /// # Errors
    /// When the container's image is gone, an instruction makes no sense, or the layer has what no layer can have.
    pub fn commit(&self, id: &ContainerId, request: &CommitRequest) -> Result<Digest, Error> {
        let view = self.view(id)?.ok_or_else(|| Error::NoContainer(id.to_string()))?;
        let record = view.record;
        let _lease = self.store().lease()?;
        let image = self.store().resolve(&record.image.to_string())?;
        let launch = self.launch(id)?;
        // One that does not run shall not begin meanwhile.
        let lock = match view.state {
            State::Running(_) | State::Paused(_) => None,
            _ => Some(self.layout.lock(id)?),
        };
        let (upper, reading) = self.writable_layer(&launch);
        let made = self.store().upper_layer(&upper, reading).and_then(|layer| {
            corral_fault::step!(CommitLayerMade);
            self.store().commit(Commit {
                base: &image.config,
                layer: layer.diff_id,
                config: config(image.config.config.clone(), &record.spec),
                changes: &request.changes,
                author: &request.author,
                message: &request.message,
                created_by: launch.process.argv.join(" "),
                reference: request.reference.as_ref(),
            })
        });
        if let Some(lock) = lock {
            self.layout.unlock(lock, id)?;
        }
        let made = made?;
        let event = of_container(Action::Commit, &record).with("comment", &request.message);
        let event = event.with("imageID", made.to_string());
        let name = request.reference.as_ref().map(ToString::to_string).unwrap_or_default();
        self.record_end(event.with("imageRef", name))?;
        Ok(made)
    }
}

impl Engine {
    /// How a container runs, in the words of an image: its image's way, and what was asked of it. Of an image that is
    /// gone or damaged nothing is known, which is no reason to hide its containers.
    pub fn config(&self, record: &ContainerRecord) -> ContainerConfig {
        let image = self.store().resolve(&record.image.to_string());
        config(image.map(|image| image.config.config).unwrap_or_default(), &record.spec)
    }
}

/// How the container runs: its image's way, and what was asked of it.
fn config(image: ContainerConfig, spec: &ContainerSpec) -> ContainerConfig {
    let mut config = image;
    match &spec.entrypoint {
        Entrypoint::Image => {}
        Entrypoint::Reset => (config.entrypoint, config.cmd) = (Vec::new(), Vec::new()),
        Entrypoint::Program(program) => {
            (config.entrypoint, config.cmd) = (vec![program.clone()], Vec::new());
        }
    }
    if !spec.command.is_empty() {
        config.cmd.clone_from(&spec.command);
    }
    for variable in &spec.env {
        set(&mut config.env, &variable.name, &variable.value);
    }
    if let Some(user) = &spec.user {
        let part = |part: &UserPart| match part {
            UserPart::Id(id) => id.to_string(),
            UserPart::Name(name) => name.to_string(),
        };
        let group = user.group.as_ref().map(|group| format!(":{}", part(group)));
        config.user = part(&user.user) + &group.unwrap_or_default();
    }
    if let Some(dir) = &spec.workdir {
        config.working_dir = dir.to_string();
    }
    if let Some(signal) = spec.stop_signal {
        config.stop_signal = signal.to_string();
    }
    config.labels.extend(spec.labels.iter().cloned());
    config
}
