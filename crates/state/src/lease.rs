use std::io::ErrorKind as Io;
use std::os::unix::fs::symlink;

use corral_spec::{ContainerId, ContainerName};

use crate::{Error, Layout};

/// How many host ids a container gets.
pub const ID_RANGE: u32 = 65_536;
/// First leased host id: above the ranges that distributions hand out in /etc/subuid (100,000 to about
/// 600,100,000 for ten thousand users) are none that everyone leaves alone; this window ends below 2^31, because
/// some programs keep ids in a signed number, and is documented so that an administrator can keep it free.
const FIRST_HOST_ID: u32 = 0x4000_0000;
const SLOTS: u32 = (0x7fff_0000 - FIRST_HOST_ID) / ID_RANGE;

/// A leased range of host ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdSlot(u32);

impl IdSlot {
    /// The slot whose range starts at this host id.
    pub fn of_host(host: u32) -> Option<Self> {
        let offset = host.checked_sub(FIRST_HOST_ID)?;
        (offset % ID_RANGE == 0 && offset / ID_RANGE < SLOTS).then_some(Self(offset / ID_RANGE))
    }

    /// First host id of the range.
    pub const fn host(self) -> u32 {
        FIRST_HOST_ID + self.0 * ID_RANGE
    }
}

impl Layout {
    /// Leases a range of host ids to a container whose directory exists. The first slot tried comes from
    /// the random id, so that a thousand containers do not line up behind each other.
    ///
    /// # Errors
    /// [`Error::NoIds`] when every slot is taken, [`Error::Io`] on a failing disk.
    pub fn lease_ids(&self, id: &ContainerId) -> Result<IdSlot, Error> {
        let seed = u32::from_str_radix(&id.as_str()[..8], 16).unwrap_or(0);
        for step in 0..SLOTS {
            let slot = (seed % SLOTS + step) % SLOTS;
            let path = self.slot(slot);
            match symlink(id.as_str(), &path) {
                Ok(()) => return Ok(IdSlot(slot)),
                Err(error) if error.kind() == Io::AlreadyExists => {}
                Err(error) => return Err(Error::io("lease user ids in", &path)(error)),
            }
        }
        Err(Error::NoIds(SLOTS))
    }

    /// Gives a range back, if it is that container's.
    ///
    /// # Errors
    /// [`Error::Io`]; a lease that is already gone is none.
    pub fn release_ids(&self, slot: IdSlot, id: &ContainerId) -> Result<(), Error> {
        self.release(self.slot(slot.0), id)
    }

    /// Leases a name to a container whose directory exists.
    ///
    /// # Errors
    /// [`Error::NameTaken`].
    pub fn lease_name(&self, name: &ContainerName, id: &ContainerId) -> Result<(), Error> {
        let path = self.name(name.as_str());
        for _ in 0..2 {
            match symlink(id.as_str(), &path) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == Io::AlreadyExists => {}
                Err(error) => return Err(Error::io("lease name", &path)(error)),
            }
            match self.by_name(name.as_str()) {
                Some(holder) if self.container(&holder).exists() => {
                    return Err(Error::NameTaken { name: name.to_string(), by: holder.to_string() });
                }
                Some(holder) => self.release(path.clone(), &holder)?,
                None => {}
            }
        }
        Err(Error::NameTaken { name: name.to_string(), by: "another command".into() })
    }

    /// Gives a name back, if it is that container's.
    ///
    /// # Errors
    /// [`Error::Io`]; a lease that is already gone is none.
    pub fn release_name(&self, name: &ContainerName, id: &ContainerId) -> Result<(), Error> {
        self.release(self.name(name.as_str()), id)
    }

    /// Who holds a name.
    pub fn by_name(&self, name: &str) -> Option<ContainerId> {
        let name: ContainerName = name.parse().ok()?;
        std::fs::read_link(self.name(name.as_str())).ok()?.to_str()?.parse().ok()
    }

    /// Removes every lease whose container directory is gone; returns how many there were.
    ///
    /// # Errors
    /// [`Error::Io`] when the directories cannot be read or written.
    pub fn collect_leases(&self) -> Result<usize, Error> {
        let mut collected = 0;
        for dir in [self.root().join("ids"), self.root().join("names")] {
            for entry in std::fs::read_dir(&dir).map_err(Error::io("read directory", &dir))? {
                let path = entry.map_err(Error::io("read directory", &dir))?.path();
                let holder = std::fs::read_link(&path).ok();
                let holder: Option<ContainerId> =
                    holder.and_then(|target| target.to_str().and_then(|text| text.parse().ok()));
                if holder.is_some_and(|id| self.container(&id).exists()) {
                    continue;
                }
                match std::fs::remove_file(&path) {
                    Ok(()) => collected += 1,
                    Err(error) if error.kind() == Io::NotFound => {}
                    Err(error) => return Err(Error::io("remove stale lease", &path)(error)),
                }
            }
        }
        Ok(collected)
    }

    fn release(&self, path: std::path::PathBuf, id: &ContainerId) -> Result<(), Error> {
        match std::fs::read_link(&path) {
            Ok(target) if target.as_os_str() == id.as_str() => {}
            _ => return Ok(()),
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != Io::NotFound => Err(Error::io("release", &path)(error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
        layout.prepare().expect("prepare");
        (dir, layout)
    }

    fn container(layout: &Layout, byte: u8) -> ContainerId {
        let id = ContainerId::from_random([byte; 32]);
        std::fs::create_dir(layout.container(&id)).expect("container directory");
        id
    }

    #[test]
    fn two_containers_never_share_ids() {
        let (_dir, layout) = layout();
        let (a, b) = (container(&layout, 7), container(&layout, 7 ^ 0x80));
        let first = layout.lease_ids(&a).expect("lease");
        // The same seed on purpose: the second must step aside.
        let second = layout.lease_ids(&a).expect("lease");
        assert_ne!(first, second);
        assert_eq!(IdSlot::of_host(first.host()), Some(first));
        layout.release_ids(first, &b).expect("not the holder");
        assert_ne!(layout.lease_ids(&a).expect("lease"), first, "only the holder may release");
        layout.release_ids(first, &a).expect("release");
        assert_eq!(layout.lease_ids(&a).expect("lease"), first);
    }

    #[test]
    fn a_name_has_one_holder_until_its_container_is_gone() {
        let (_dir, layout) = layout();
        let (a, b) = (container(&layout, 1), container(&layout, 2));
        let name: ContainerName = "web".parse().expect("name");
        layout.lease_name(&name, &a).expect("free");
        assert_eq!(layout.by_name("web"), Some(a.clone()));
        assert!(matches!(layout.lease_name(&name, &b), Err(Error::NameTaken { .. })));
        std::fs::remove_dir(layout.container(&a)).expect("remove");
        layout.lease_name(&name, &b).expect("the stale lease gives way");
        std::fs::remove_dir(layout.container(&b)).expect("remove");
        assert_eq!(layout.collect_leases().expect("collect"), 1);
        assert_eq!(layout.by_name("web"), None);
        assert_eq!(layout.by_name("../ids"), None);
    }
}
