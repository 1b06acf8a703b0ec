use std::os::fd::OwnedFd;
use std::path::PathBuf;

use corral_spec::{ContainerId, ContainerName};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags, RenameFlags, flock, fsync, openat, renameat_with};
use rustix::io::Errno;

use crate::layout::{NAMES, RECORD};
use crate::{ContainerRecord, Error, Layout, Life};

impl Layout {
    /// Gives a container another name; false if it is gone. It may run: its monitor does not know its name.
    ///
    /// The new name is leased first and the old one given back last, so that a kill in between leaves a lease too
    /// many, which a collection tells by the record. The record changes places with the old one, which only works
    /// while there is an old one: a container that is being removed, its record first, does not come back.
    ///
    /// # Errors
    /// [`Error::NameTaken`]; [`Error::Io`] and what reading the record gives.
    pub fn rename_container(&self, id: &ContainerId, name: &ContainerName) -> Result<bool, Error> {
        let _turn = self.naming()?;
        let Some(old) = self.container_record(id)? else { return Ok(false) };
        let life = self.life(id);
        // A rename that was killed may have leased it already.
        if old.name == *name || self.by_name(name.as_str()).as_ref() != Some(id) {
            self.lease_name(name, id, life)?;
        }
        corral_fault::step!(RenameLeased);
        let new = ContainerRecord { name: name.clone(), ..old.clone() };
        match self.exchange_record(id, life, &new) {
            Ok(true) => self.release_name(&old.name, id).map(|()| true),
            Ok(false) => self.release_name(name, id).map(|()| false),
            Err(error) => {
                // The name is worth less than the first error.
                drop(self.release_name(name, id));
                Err(error)
            }
        }
    }

    /// Puts a record in the place of the one that is there; false if there is none.
    fn exchange_record(&self, id: &ContainerId, life: Life, record: &ContainerRecord) -> Result<bool, Error> {
        let dir = self.records(id, life);
        let (there, staged) = (dir.join(RECORD), dir.join("renamed.json"));
        match crate::write_record(&staged, record, life == Life::Lasting) {
            Err(_) if !dir.exists() => return Ok(false),
            written => written?,
        }
        let exchanged = match renameat_with(CWD, &staged, CWD, &there, RenameFlags::EXCHANGE) {
            Ok(()) => true,
            Err(Errno::NOENT) => false,
            Err(errno) => return Err(Error::io("put in place", &there)(errno.into())),
        };
        corral_fault::step!(RenameExchanged);
        match std::fs::remove_file(&staged) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &staged)(error));
            }
            _ => {}
        }
        corral_fault::step!(RenameCleaned);
        if exchanged && life == Life::Lasting {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let synced = openat(CWD, &dir, flags, Mode::empty()).and_then(|fd| fsync(&fd));
            // A removal may have been faster.
            if let Err(errno) = synced
                && errno != Errno::NOENT
            {
                return Err(Error::io("sync", &dir)(errno.into()));
            }
        }
        Ok(exchanged)
    }

    /// Waits for the right to rename, which one command has at a time.
    fn naming(&self) -> Result<OwnedFd, Error> {
        self.lock_names(FlockOperation::LockExclusive)
            .map_err(|errno| Error::io("lock", &self.root().join(NAMES))(errno.into()))
    }

    /// Removes the leases of names that a killed rename left: those that the container does not go by. None while
    /// somebody renames.
    pub(crate) fn collect_half_renamed(&self, id: &ContainerId, leases: &[PathBuf]) -> Result<usize, Error> {
        let Ok(_turn) = self.lock_names(FlockOperation::NonBlockingLockExclusive) else { return Ok(0) };
        // A container that is being made has no record yet, and keeps its name.
        let Some(record) = self.container_record(id)? else { return Ok(0) };
        let mut collected = 0;
        for path in leases.iter().filter(|path| path.file_name() != Some(record.name.as_str().as_ref())) {
            collected += usize::from(crate::lease::remove(path)?);
        }
        Ok(collected)
    }

    fn lock_names(&self, how: FlockOperation) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, self.root().join(NAMES), flags, Mode::empty())?;
        flock(&dir, how)?;
        Ok(dir)
    }
}

#[cfg(test)]
mod tests {
    use corral_spec::{ContainerSpec, Digest, ProfileName};

    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().expect("temporary directory");
        let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
        layout.prepare().expect("prepare");
        (dir, layout)
    }

    fn name(text: &str) -> ContainerName {
        text.parse().expect("name")
    }

    fn container(layout: &Layout, byte: u8, called: &str, life: Life) -> ContainerId {
        let id = ContainerId::from_random([byte; 32]);
        std::fs::create_dir(layout.container(&id)).expect("directory");
        std::fs::create_dir(layout.run(&id)).expect("directory");
        layout.lease_name(&name(called), &id, life).expect("free");
        let record = ContainerRecord {
            generation: corral_spec::record::GENERATION,
            id: id.clone(),
            name: name(called),
            image: Digest::from_bytes([0; 32]),
            image_name: "busybox".into(),
            spec: ContainerSpec::default(),
            mount_images: Vec::new(),
            profile: ProfileName::Standard,
            host_ids: None,
            created_ns: 1,
            typed: None,
            warm: None,
        };
        crate::write_record(&layout.records(&id, life).join(RECORD), &record, false).expect("record");
        id
    }

    #[test]
    fn the_name_moves_and_the_old_one_is_free() {
        for life in [Life::Passing, Life::Lasting] {
            let (_dir, layout) = layout();
            let (web, db) = (container(&layout, 1, "web", life), container(&layout, 2, "db", life));
            assert!(layout.rename_container(&web, &name("www")).expect("renamed"));
            assert_eq!(layout.by_name("www"), Some(web.clone()));
            assert_eq!(layout.by_name("web"), None);
            assert_eq!(layout.container_record(&web).expect("record").expect("there").name, name("www"));
            assert!(matches!(layout.rename_container(&web, &name("db")), Err(Error::NameTaken { .. })));
            assert_eq!(layout.by_name("www"), Some(web.clone()), "a failed rename changes nothing");
            assert_eq!(layout.by_name("db"), Some(db));
            let left = std::fs::read_dir(layout.records(&web, life)).expect("directory").count();
            assert_eq!(left, 1, "the record alone");
        }
    }

    #[test]
    fn a_killed_rename_leaves_a_lease_that_is_collected() {
        let (_dir, layout) = layout();
        let web = container(&layout, 1, "web", Life::Lasting);
        // Killed before the record changed: the new name is too many.
        layout.lease_name(&name("www"), &web, Life::Lasting).expect("free");
        assert_eq!(layout.collect_leases().expect("collected"), 1);
        assert_eq!((layout.by_name("web"), layout.by_name("www")), (Some(web.clone()), None));
        // Or the same is asked for again.
        layout.lease_name(&name("www"), &web, Life::Lasting).expect("free");
        layout.rename_container(&web, &name("www")).expect("renamed");
        // Killed after it: the old name is.
        layout.lease_name(&name("web"), &web, Life::Lasting).expect("free");
        assert_eq!(layout.collect_leases().expect("collected"), 1);
        assert_eq!((layout.by_name("web"), layout.by_name("www")), (None, Some(web)));
    }

    #[test]
    fn who_is_being_removed_does_not_come_back() {
        let (_dir, layout) = layout();
        let web = container(&layout, 1, "web", Life::Lasting);
        let record = layout.container_record(&web).expect("record").expect("there");
        std::fs::remove_file(layout.container(&web).join(RECORD)).expect("removed");
        assert!(!layout.exchange_record(&web, Life::Lasting, &record).expect("no error"));
        assert!(layout.container_record(&web).expect("no error").is_none());
        assert!(!layout.rename_container(&web, &name("www")).expect("no error"));
        assert_eq!(layout.by_name("www"), None);
    }

    #[test]
    fn many_rename_one_container_and_one_name_is_left() {
        let (_dir, layout) = layout();
        let web = container(&layout, 1, "web", Life::Lasting);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (layout, web) = (&layout, &web);
                scope.spawn(move || {
                    for round in 0..25 {
                        layout.rename_container(web, &name(&format!("n{thread}-{round}"))).expect("renamed");
                        layout.collect_leases().expect("collected");
                    }
                });
            }
        });
        let names = std::fs::read_dir(layout.root().join(NAMES)).expect("names").count();
        assert_eq!(names, 1);
        let record = layout.container_record(&web).expect("record").expect("there");
        assert_eq!(layout.by_name(record.name.as_str()), Some(web));
    }
}
