use std::path::Path;

use corral_spec::record::Warm;
use corral_spec::{ContainerId, ContainerName, ContainerSpec, Digest, ProfileName};
use serde::{Deserialize, Serialize};

use crate::layout::RECORD;
use crate::{ContainerLock, Error, Layout, Life};

/// Where the record of a container is while that is removed.
const GOING: &str = "removed.json";

/// What a container is: written at its creation, last of all its files, so that a container exists exactly when its
/// record does. Only a rename changes it, in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// [`corral_spec::record::GENERATION`] of the writer.
    pub generation: u32,
    /// Identity.
    pub id: ContainerId,
    /// Name, leased in `names/`.
    pub name: ContainerName,
    /// The image's config digest.
    pub image: Digest,
    /// The image as the user named it.
    pub image_name: String,
    /// What the user asked for; anonymous volumes have their names, and those of other containers are listed.
    pub spec: ContainerSpec,
    /// Images that are mounted somewhere.
    #[serde(default)]
    pub mount_images: Vec<Digest>,
    /// The profile in force.
    pub profile: ProfileName,
    /// First host id of the leased range; none with the host's user namespace.
    pub host_ids: Option<u32>,
    /// Nanoseconds since the epoch.
    pub created_ns: u64,
    /// How it was asked for; older versions did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typed: Option<Typed>,
    /// Its part in warm starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<Warm>,
}

/// How a container was asked for, as far as it has no effect on the container: for who inspects it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typed {
    /// Whether its maker attached to standard input, output and error.
    pub attached: [bool; 3],
    /// `--cidfile`, empty without.
    pub cidfile: String,
    /// How many of the first mounts came by `-v`, how many after these by `--mount`, and then by `--tmpfs`.
    pub mounts: [usize; 3],
}

impl Layout {
    /// The record of a container, none if it does not exist (or is only half made).
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::Generation`], [`Error::Io`].
    pub fn container_record(&self, id: &ContainerId) -> Result<Option<ContainerRecord>, Error> {
        match crate::read_record(&self.run(id).join(RECORD))? {
            Some(record) => Ok(Some(record)),
            None => crate::read_record(&self.container(id).join(RECORD)),
        }
    }

    /// The record of a container that is being removed, or was when somebody was killed.
    ///
    /// # Errors
    /// As [`Layout::container_record`].
    pub fn going_record(&self, id: &ContainerId) -> Result<Option<ContainerRecord>, Error> {
        crate::read_record(&self.container(id).join(GOING))
    }

    /// Takes a container's record from it, so that a kill in the middle of its removal leaves garbage and not half a
    /// container, and gives its leases back. What lasts keeps the record under another name: whoever finishes the removal
    /// of a dead process has to record whose it was.
    ///
    /// # Errors
    /// [`Error::Io`] of the first step that failed; calling again goes on from there.
    pub fn unmake_container(
        &self,
        id: &ContainerId,
        life: Life,
        record: Option<&ContainerRecord>,
    ) -> Result<(), Error> {
        let path = self.records(id, life).join(RECORD);
        let taken = match life {
            Life::Passing => std::fs::remove_file(&path),
            Life::Lasting => std::fs::rename(&path, self.container(id).join(GOING)),
        };
        match taken {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &path)(error));
            }
            _ => {}
        }
        corral_fault::step!(ContainerUnrecorded);
        if let Some(record) = record {
            self.release_name(&record.name, id)?;
            if let Some(slot) = record.host_ids.and_then(crate::IdSlot::of_host) {
                self.release_ids(slot, id)?;
            }
        }
        corral_fault::step!(ContainerUnleased);
        Ok(())
    }

    /// Removes what a container without a record had: its data, its run directory.
    ///
    /// # Errors
    /// As [`Layout::unmake_container`].
    pub fn remove_container(&self, lock: ContainerLock, id: &ContainerId) -> Result<(), Error> {
        let dir = self.container(id);
        if !is_removed_untouched(&dir) {
            crate::remove_tree(&dir)?;
        }
        corral_fault::step!(ContainerErased);
        self.unlock(lock, id)
    }
}

/// Takes the directory of a container that wrote nothing off the disk by the names that an overlay makes there,
/// without reading directories. False if anything else is left, or a name is missing: then [`crate::remove_tree`]
/// goes on.
fn is_removed_untouched(dir: &Path) -> bool {
    const VOLATILE: &str = "work/work/incompat/volatile";
    // What is not there is no obstacle, and what is in the way is met by the last step.
    let _ = std::fs::remove_file(dir.join(VOLATILE).join("dirty"));
    for name in [VOLATILE, "work/work/incompat", "work/work", "work", "upper"] {
        let _ = std::fs::remove_dir(dir.join(name));
    }
    std::fs::remove_dir(dir).is_ok()
}
