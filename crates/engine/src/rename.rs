use corral_journal::Action;
use corral_spec::{ContainerId, ContainerName};
use corral_state::{ContainerRecord, Life, write_record};

use crate::journal::of_container;
use crate::{Engine, Error};

impl Engine {
    /// Gives a container another name, whether it runs or not.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it has that name already; when another container has it; [`Error::NoContainer`].
    pub fn rename(&self, id: &ContainerId, name: &ContainerName) -> Result<(), Error> {
        let Some(record) = self.layout.container_record(id)? else {
            return Err(Error::NoContainer(id.to_string()));
        };
        if record.name == *name {
            return Err(Error::Invalid(format!("container {} is called {name} already", id.short())));
        }
        let _turn = self.turn(id)?;
        if !self.layout.rename_container(id, name)? {
            return Err(Error::NoContainer(id.to_string()));
        }
        if let Err(error) = self.tell_monitors(id, name) {
            // One that was removed meanwhile has no launch, nor a place for one.
            let is_gone = self.layout.container_record(id)?.is_none();
            return Err(if is_gone { Error::NoContainer(id.to_string()) } else { error });
        }
        let old = format!("/{}", record.name);
        let renamed = ContainerRecord { name: name.clone(), ..record };
        self.record_end(of_container(Action::Rename, &renamed).with("oldName", old))
    }

    /// The events of later runs carry the new name.
    fn tell_monitors(&self, id: &ContainerId, name: &ContainerName) -> Result<(), Error> {
        let mut launch = self.launch(id)?;
        let attributes = launch.journal.iter_mut().flat_map(|known| &mut known.attributes);
        attributes.filter(|(key, _)| key == "name").for_each(|(_, value)| *value = name.to_string());
        let life = self.layout.life(id);
        let path = self.layout.records(id, life).join("launch.json");
        Ok(write_record(&path, &launch, life == Life::Lasting)?)
    }
}
