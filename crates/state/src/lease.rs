use std::collections::HashMap;
use std::io::ErrorKind as Io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use corral_spec::{ContainerId, ContainerName};

use crate::layout::{IDS, NAMES, RECORD};
use crate::{Error, Layout, Life};

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

    /// First and number of all host ids that are ever leased.
    pub const fn all() -> (u32, u32) {
        (FIRST_HOST_ID, SLOTS * ID_RANGE)
    }

    /// First host id of the range.
    pub const fn host(self) -> u32 {
        FIRST_HOST_ID + self.0 * ID_RANGE
    }
}

impl Layout {
    /// Leases a range of host ids to a container whose run directory exists. The first slot tried comes from
    /// the random id, so that a thousand containers do not line up behind each other.
    ///
    /// # Errors
    /// [`Error::NoIds`] when every slot is taken, [`Error::Io`] on a failing disk.
    pub fn lease_ids(&self, id: &ContainerId, life: Life) -> Result<IdSlot, Error> {
        let seed = u32::from_str_radix(&id.as_str()[..8], 16).unwrap_or(0);
        for step in 0..SLOTS {
            let slot = (seed % SLOTS + step) % SLOTS;
            if self.take(IDS, &slot.to_string(), id, life)? {
                return Ok(IdSlot(slot));
            }
        }
        Err(Error::NoIds(SLOTS))
    }

    /// Gives a range back, if it is that container's.
    ///
    /// # Errors
    /// [`Error::Io`]; a lease that is already gone is none.
    pub fn release_ids(&self, slot: IdSlot, id: &ContainerId) -> Result<(), Error> {
        self.release(IDS, &slot.0.to_string(), id)
    }

    /// Leases a name to a container whose run directory exists.
    ///
    /// # Errors
    /// [`Error::NameTaken`].
    pub fn lease_name(&self, name: &ContainerName, id: &ContainerId, life: Life) -> Result<(), Error> {
        for _ in 0..2 {
            if self.take(NAMES, name.as_str(), id, life)? {
                return Ok(());
            }
            for holder in self.holders(name) {
                if self.is_there(&holder) {
                    return Err(Error::NameTaken { name: name.to_string(), by: holder.to_string() });
                }
                self.release(NAMES, name.as_str(), &holder)?;
            }
        }
        Err(Error::NameTaken { name: name.to_string(), by: "another command".into() })
    }

    /// Gives a name back, if it is that container's.
    ///
    /// # Errors
    /// [`Error::Io`]; a lease that is already gone is none.
    pub fn release_name(&self, name: &ContainerName, id: &ContainerId) -> Result<(), Error> {
        self.release(NAMES, name.as_str(), id)
    }

    /// Which container has a name. Someone who is just trying to take it does not stand in its way.
    pub fn by_name(&self, name: &str) -> Option<ContainerId> {
        let name: ContainerName = name.parse().ok()?;
        self.holders(&name).into_iter().max_by_key(|id| self.is_whole(id))
    }

    /// Whom the two leases of a name name.
    fn holders(&self, name: &ContainerName) -> Vec<ContainerId> {
        self.leases(NAMES).iter().filter_map(|dir| holder(&dir.join(name.as_str()))).collect()
    }

    /// Removes every lease whose container is gone; returns how many there were.
    ///
    /// # Errors
    /// [`Error::Io`] when the directories cannot be read or written.
    pub fn collect_leases(&self) -> Result<usize, Error> {
        let mut collected = 0;
        let mut names: HashMap<ContainerId, Vec<PathBuf>> = HashMap::new();
        for (kind, dir) in [IDS, NAMES].iter().flat_map(|kind| self.leases(kind).map(|dir| (*kind, dir))) {
            for entry in std::fs::read_dir(&dir).map_err(Error::io("read directory", &dir))? {
                let path = entry.map_err(Error::io("read directory", &dir))?.path();
                match holder(&path) {
                    Some(id) if self.is_there(&id) && kind == NAMES => {
                        names.entry(id).or_default().push(path)
                    }
                    Some(id) if self.is_there(&id) => {}
                    _ => collected += usize::from(remove(&path)?),
                }
            }
        }
        // Two names are those of a rename that goes on, or of one that was killed.
        for (id, paths) in names.iter().filter(|(_, paths)| paths.len() > 1) {
            collected += self.collect_half_renamed(id, paths)?;
        }
        Ok(collected)
    }

    /// Takes a lease unless it is taken. Everyone takes it in memory first, which only one can, and then looks
    /// whether it is taken on disk; a lasting container moves its own there.
    fn take(&self, kind: &str, what: &str, id: &ContainerId, life: Life) -> Result<bool, Error> {
        let [passing, lasting] = self.leases(kind).map(|dir| dir.join(what));
        let lease = |path: &Path| match symlink(id.as_str(), path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == Io::AlreadyExists => Ok(false),
            Err(error) => Err(Error::io("take the lease", path)(error)),
        };
        if !lease(&passing)? {
            return Ok(false);
        }
        corral_fault::step!(LeaseClaimed);
        let taken = match life {
            Life::Passing if lasting.symlink_metadata().is_err() => return Ok(true),
            Life::Passing => false,
            Life::Lasting => lease(&lasting)?,
        };
        corral_fault::step!(LeaseTaken);
        remove(&passing)?;
        Ok(taken)
    }

    fn release(&self, kind: &str, what: &str, id: &ContainerId) -> Result<(), Error> {
        for path in self.leases(kind).map(|dir| dir.join(what)) {
            if holder(&path).as_ref() == Some(id) {
                remove(&path)?;
                corral_fault::step!(LeaseReleased);
            }
        }
        Ok(())
    }

    /// Whether a container has a record.
    fn is_whole(&self, id: &ContainerId) -> bool {
        [self.run(id), self.container(id)].iter().any(|dir| dir.join(RECORD).exists())
    }

    /// Whether a container has a directory, whole or half made.
    fn is_there(&self, id: &ContainerId) -> bool {
        self.run(id).exists() || self.container(id).exists()
    }
}

/// Whom a lease names.
fn holder(path: &Path) -> Option<ContainerId> {
    std::fs::read_link(path).ok()?.to_str()?.parse().ok()
}

/// Removes a lease; false if it was gone.
pub(crate) fn remove(path: &Path) -> Result<bool, Error> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == Io::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove the lease", path)(error)),
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
        let lives = [Life::Passing, Life::Lasting];
        for (one, other) in lives.iter().flat_map(|one| lives.map(|other| (*one, other))) {
            let (_dir, layout) = layout();
            let (a, b) = (container(&layout, 7), container(&layout, 7 ^ 0x80));
            let first = layout.lease_ids(&a, one).expect("lease");
            // The same seed on purpose: the second must step aside.
            let second = layout.lease_ids(&a, other).expect("lease");
            assert_ne!(first, second, "{one:?} {other:?}");
            assert_eq!(IdSlot::of_host(first.host()), Some(first));
            layout.release_ids(first, &b).expect("not the holder");
            assert_ne!(layout.lease_ids(&a, other).expect("lease"), first, "only the holder may release");
            layout.release_ids(first, &a).expect("release");
            assert_eq!(layout.lease_ids(&a, other).expect("lease"), first);
        }
    }

    #[test]
    fn who_tries_to_take_a_name_does_not_hide_its_container() {
        let (_dir, layout) = layout();
        let (web, other) = (container(&layout, 1), container(&layout, 2));
        let name: ContainerName = "web".parse().expect("name");
        layout.lease_name(&name, &web, Life::Lasting).expect("free");
        std::fs::write(layout.container(&web).join(RECORD), "").expect("record");
        // As a command that was killed between its two looks leaves it.
        symlink(other.as_str(), layout.run_root().join(NAMES).join("web")).expect("lease");
        assert_eq!(layout.by_name("web"), Some(web));
    }

    #[test]
    fn a_name_has_one_holder_until_its_container_is_gone() {
        for life in [Life::Passing, Life::Lasting] {
            let (_dir, layout) = layout();
            let (a, b) = (container(&layout, 1), container(&layout, 2));
            let name: ContainerName = "web".parse().expect("name");
            layout.lease_name(&name, &a, life).expect("free");
            assert_eq!(layout.by_name("web"), Some(a.clone()));
            for other in [Life::Passing, Life::Lasting] {
                assert!(matches!(layout.lease_name(&name, &b, other), Err(Error::NameTaken { .. })));
            }
            std::fs::remove_dir(layout.container(&a)).expect("remove");
            layout.lease_name(&name, &b, life).expect("the stale lease gives way");
            std::fs::remove_dir(layout.container(&b)).expect("remove");
            assert_eq!(layout.collect_leases().expect("collect"), 1);
            assert_eq!(layout.by_name("web"), None);
            assert_eq!(layout.by_name("../ids"), None);
        }
    }
}
