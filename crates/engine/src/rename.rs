use corral_spec::{ContainerId, ContainerName};

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
        if self.layout.rename_container(id, name)? { Ok(()) } else { Err(Error::NoContainer(id.to_string())) }
    }
}
