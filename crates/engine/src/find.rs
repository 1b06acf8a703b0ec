use corral_spec::ContainerId;

use crate::{Engine, Error, View};

impl Engine {
    /// Finds a container by name (`web`, and `/web` as `inspect` writes it), id, or unique beginning of the id, in this
    /// order, as Docker does.
    ///
    /// # Errors
    /// [`Error::NoContainer`], [`Error::Ambiguous`].
    pub fn find(&self, text: &str) -> Result<ContainerId, Error> {
        if let Ok(id) = text.parse::<ContainerId>()
            && self.layout.container_record(&id)?.is_some()
        {
            return Ok(id);
        }
        let name = text.strip_prefix('/').unwrap_or(text);
        // A rename that was killed leaves a lease of a name that is not the container's.
        if let Some(id) = self.layout.by_name(name)
            && self.layout.container_record(&id)?.is_some_and(|record| record.name.as_str() == name)
        {
            return Ok(id);
        }
        if text.is_empty() || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(Error::NoContainer(text.to_owned()));
        }
        let mut found = None;
        for id in self.layout.container_ids()? {
            if id.as_str().starts_with(text) && self.layout.container_record(&id)?.is_some() {
                if found.is_some() {
                    return Err(Error::Ambiguous(text.to_owned()));
                }
                found = Some(id);
            }
        }
        found.ok_or_else(|| Error::NoContainer(text.to_owned()))
    }

    /// Finds a container and looks at it.
    ///
    /// # Errors
    /// As [`Engine::find`].
    pub fn look(&self, text: &str) -> Result<View, Error> {
        let id = self.find(text)?;
        self.view(&id)?.ok_or_else(|| Error::NoContainer(text.to_owned()))
    }
}
