use std::io::Write;
use std::os::fd::AsFd;

use corral_image::{ArchiveWriter, Changes, Walk, changes};
use corral_journal::Action;
use corral_runtime::Scope;
use corral_spec::ContainerId;
use rustix::fs::{Mode, OFlags, openat};

use crate::copy::pump;
use crate::journal::of_container;
use crate::{Engine, Error};

impl Engine {
    /// Writes a container's root file system as one tar, with the ids that its files have inside. Volumes and
    /// bound paths are not in it: what the root has below them is.
    ///
    /// # Errors
    /// What reading or writing gives.
    pub fn export(&self, id: &ContainerId, out: &mut dyn Write) -> Result<(), Error> {
        let view = self.view(id)?.ok_or_else(|| Error::NoContainer(id.to_string()))?;
        self.record_work(&[of_container(Action::Export, &view.record)])?;
        let mut guest = self.guest(id, Scope::RootOnly, |root, stream| {
            let dir = openat(&root, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| errno.to_string())?;
            let mut archive = ArchiveWriter::new(stream);
            Walk::new(&mut archive).inside(dir.as_fd()).map_err(|error| error.to_string())?;
            archive.finish().map_err(|error| error.to_string())
        })?;
        let written = pump(guest.stream(), out);
        guest.leave(written)
    }

    /// What a container changed against its image, sorted by path.
    ///
    /// # Errors
    /// What reading gives.
    pub fn diff(&self, id: &ContainerId) -> Result<Changes, Error> {
        let launch = self.launch(id)?;
        let (upper, reading) = self.writable_layer(&launch);
        Ok(changes(&upper, &reading)?)
    }
}
