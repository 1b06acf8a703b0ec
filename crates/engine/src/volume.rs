//! Volumes: data that outlives containers.
//!
//! A row in the database says that a volume exists. Its data is in a directory of ours, named as it, unless its
//! options say that it is a directory of the host's (`type=none,o=bind,device=…`) or memory (`type=tmpfs`). The
//! driver is always `local`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use corral_image::{ArchiveReader, ArchiveWriter, Owners, TreeWriter, Walk};
use corral_journal::{Action, Event};
use corral_spec::{AbsPath, ByteSize, ContainerName, ContainerSpec, MountRequest, MountSource};
use corral_state::{Database, Volume, remove_tree};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};

use crate::{Engine, Error, View, disk, host};

/// What `volume create` was told.
#[derive(Clone, Debug, Default)]
pub struct VolumeRequest {
    /// Its name; the engine makes one up otherwise.
    pub name: Option<String>,
    /// Key to value.
    pub labels: BTreeMap<String, String>,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}

/// Where a volume's data is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// A directory of ours, of at most so many bytes.
    Own { size: Option<u64> },
    /// A directory of the host's, and whether writing is refused.
    Bind { path: AbsPath, read_only: bool },
    /// Memory of each container that uses it.
    Memory(Memory),
}

/// What a volume of memory is asked to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Bytes.
    pub(crate) size: Option<u64>,
    /// Permission bits of its root.
    pub(crate) mode: Option<u32>,
    /// User and group of its root.
    pub(crate) owner: Option<(u32, u32)>,
    /// Whether writing is refused.
    pub(crate) read_only: bool,
}

impl Memory {
    /// One word of `o`.
    fn take(&mut self, word: &str) -> Result<(), String> {
        // The kernel's "no id" is none.
        let id =
            |text: &str| text.parse().ok().filter(|id| *id != u32::MAX).ok_or(format!("{word:?} is no id"));
        match word.split_once('=') {
            Some(("size", value)) => {
                self.size = Some(value.parse::<ByteSize>().map_err(|error| error.to_string())?.0);
            }
            Some(("mode", value)) => {
                let mode = u32::from_str_radix(value, 8).ok().filter(|bits| *bits <= 0o7777);
                self.mode = Some(mode.ok_or(format!("mode {value:?} is not octal"))?);
            }
            Some(("uid", value)) => self.owner = Some((id(value)?, self.owner.unwrap_or_default().1)),
            Some(("gid", value)) => self.owner = Some((self.owner.unwrap_or_default().0, id(value)?)),
            None if word == "ro" => self.read_only = true,
            // What always holds.
            None if matches!(word, "rw" | "nosuid" | "nodev") => {}
            _ => {
                return Err(format!(
                    "{word:?} of o is not supported with tmpfs (size=, mode=, uid=, gid=, ro)"
                ));
            }
        }
        Ok(())
    }
}

impl Backing {
    /// What the options mean; those that mean nothing here are refused.
    fn of(options: &BTreeMap<String, String>) -> Result<Self, Error> {
        let fail = |reason: String| Err(Error::Invalid(format!("volume options: {reason}")));
        let text = |key: &str| options.get(key).map_or("", String::as_str);
        if let Some(size) = options.get("size") {
            if options.len() > 1 {
                return fail(
                    "size bounds a directory of corral's own: it goes without type, o and device".into(),
                );
            }
            let size = size.parse::<ByteSize>().map_err(|error| Error::Invalid(format!("size: {error}")))?;
            return Ok(Self::Own { size: Some(disk::check(size)?) });
        }
        if let Some(key) = options.keys().find(|key| !matches!(key.as_str(), "type" | "o" | "device")) {
            return fail(format!("unknown option {key:?} (type, o, device, size)"));
        }
        let words = text("o").split(',').filter(|word| !word.is_empty());
        match text("type") {
            "" if options.is_empty() => Ok(Self::Own { size: None }),
            "none" | "bind" | "" => {
                let (mut bind, mut read_only) = (false, false);
                for word in words {
                    match word {
                        "bind" => bind = true,
                        "ro" => read_only = true,
                        "rw" => read_only = false,
                        _ => {
                            return fail(format!(
                                "{word:?} of o is not supported with a directory (bind, ro)"
                            ));
                        }
                    }
                }
                if !bind {
                    return fail("a directory of the host needs type=none, o=bind and device=PATH".into());
                }
                match AbsPath::new(text("device")) {
                    Ok(path) => Ok(Self::Bind { path, read_only }),
                    Err(error) => fail(format!("device: {error}")),
                }
            }
            "tmpfs" => {
                let mut memory = Memory::default();
                for word in words {
                    if let Err(reason) = memory.take(word) {
                        return fail(reason);
                    }
                }
                Ok(Self::Memory(memory))
            }
            other => fail(format!("type {other:?} is not supported (none with o=bind, tmpfs)")),
        }
    }
}

impl Engine {
    /// Makes a volume; one that is there already, and is the same, is no error.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name or options that make no sense, or what the disk gives.
    pub fn create_volume(&self, request: VolumeRequest) -> Result<Volume, Error> {
        let VolumeRequest { name, mut labels, options } = request;
        let name = match name {
            Some(name) => name,
            None => {
                labels.insert(Volume::ANONYMOUS.into(), String::new());
                host::new_id()?.to_string()
            }
        };
        name.parse::<ContainerName>().map_err(|_| {
            Error::Invalid(format!("invalid volume name {name:?}: expected [a-zA-Z0-9][a-zA-Z0-9_.-]+"))
        })?;
        Backing::of(&options)?;
        let _lock = self.layout.lock_volumes()?;
        let db = Database::open(&self.layout)?;
        self.add_volume(&db, Volume { name, created_ns: host::now_ns() as i64, labels, options })
    }

    /// Under the lock.
    fn add_volume(&self, db: &Database, volume: Volume) -> Result<Volume, Error> {
        if let Some(known) = db.volume(&volume.name)? {
            if known.options != volume.options {
                return Err(Error::Invalid(format!(
                    "volume {} exists with other options: remove it first, or choose another name",
                    volume.name
                )));
            }
            return Ok(known);
        }
        self.record_work(&[Event::new(Action::VolumeCreate, &*volume.name).with("driver", "local")])?;
        db.add_volume(&volume)?;
        if let Backing::Own { size } = Backing::of(&volume.options)? {
            self.make_volume_dir(&volume.name, size)?;
        }
        Ok(volume)
    }

    /// A bounded one has its name only when the bound holds, so that a killed command leaves none without.
    fn make_volume_dir(&self, name: &str, size: Option<u64>) -> Result<(), Error> {
        let make = |mode, path: &Path| {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(mode)
                .create(path)
                .map_err(Error::io(format!("make volume {name}")))
        };
        make(0o700, &self.layout.volumes())?;
        match size {
            None => make(0o755, &self.layout.volume(name))?,
            Some(_) if self.layout.volume(name).is_dir() => {}
            Some(bytes) => {
                let making = self.layout.making(name);
                remove_tree(&making)?;
                make(0o755, &making)?;
                disk::bind(std::slice::from_ref(&making), bytes)?;
                let made = std::fs::write(self.layout.volume_size(name), bytes.to_string());
                made.and_then(|()| std::fs::rename(&making, self.layout.volume(name)))
                    .map_err(Error::io(format!("make volume {name}")))?;
            }
        }
        corral_fault::step!(VolumeDirMade);
        Ok(())
    }

    /// Under the lock: where a volume's data is, or will be. The database is not opened for a directory of ours that
    /// is there.
    pub(crate) fn backing(&self, name: &str) -> Result<Backing, Error> {
        if self.layout.volume(name).is_dir() {
            return Ok(Backing::Own { size: None });
        }
        match Database::open(&self.layout)?.volume(name)? {
            Some(known) => Backing::of(&known.options),
            None => Ok(Backing::Own { size: None }),
        }
    }

    /// Under the lock: makes a volume with a directory of ours, where it is not there yet.
    pub(crate) fn make_volume(&self, name: &str, anonymous: bool) -> Result<(), Error> {
        if self.layout.volume(name).is_dir() {
            return Ok(());
        }
        let db = Database::open(&self.layout)?;
        let volume = match db.volume(name)? {
            Some(known) => known,
            None => {
                let mut labels = BTreeMap::new();
                if anonymous {
                    labels.insert(Volume::ANONYMOUS.to_owned(), String::new());
                }
                let created_ns = host::now_ns() as i64;
                let volume = Volume { name: name.to_owned(), created_ns, labels, options: BTreeMap::new() };
                self.add_volume(&db, volume)?
            }
        };
        match Backing::of(&volume.options)? {
            Backing::Own { size } => self.make_volume_dir(name, size),
            Backing::Bind { .. } | Backing::Memory(_) => Ok(()),
        }
    }

    /// All volumes, by name.
    ///
    /// # Errors
    /// When the database fails.
    pub fn volumes(&self) -> Result<Vec<Volume>, Error> {
        Ok(Database::open(&self.layout)?.volumes()?)
    }

    /// One volume.
    ///
    /// # Errors
    /// [`Error::NoVolume`].
    pub fn find_volume(&self, name: &str) -> Result<Volume, Error> {
        Database::open(&self.layout)?.volume(name)?.ok_or_else(|| Error::NoVolume(name.to_owned()))
    }

    /// Where a volume's data is on the host; for memory, where it would be.
    ///
    /// # Errors
    /// [`Error::Invalid`] for options that are not known any more.
    pub fn mountpoint(&self, volume: &Volume) -> Result<PathBuf, Error> {
        Ok(match Backing::of(&volume.options)? {
            Backing::Bind { path, .. } => path.as_path().to_owned(),
            Backing::Own { .. } | Backing::Memory(_) => self.layout.volume(&volume.name),
        })
    }

    /// How many containers use each volume that one uses.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn volume_users(&self) -> Result<BTreeMap<String, usize>, Error> {
        let mut users = BTreeMap::new();
        for view in self.list()? {
            for name in volumes_of(&view.record.spec) {
                *users.entry(name.to_owned()).or_insert(0) += 1;
            }
        }
        Ok(users)
    }

    /// Removes a volume and its data; a directory of the host's stays.
    ///
    /// # Errors
    /// [`Error::VolumeInUse`], [`Error::NoVolume`].
    pub fn remove_volume(&self, name: &str) -> Result<(), Error> {
        let _lock = self.layout.lock_volumes()?;
        if let Some(by) = self.users_of(name)?.into_iter().next() {
            return Err(Error::VolumeInUse { name: name.to_owned(), by });
        }
        let db = Database::open(&self.layout)?;
        if db.volume(name)?.is_none() {
            return Err(Error::NoVolume(name.to_owned()));
        }
        self.erase_volume(&db, name)
    }

    /// Data first: a row without data is found and made good by whoever uses or removes it next. The event before the
    /// row goes: a kill in between has it twice, and never not.
    pub(crate) fn erase_volume(&self, db: &Database, name: &str) -> Result<(), Error> {
        if self.volume_bound(name)?.is_some() {
            disk::release(&self.layout.volume(name));
        }
        // The bound's file last: as long as there is data, there is a bound.
        let [data, filling, making] =
            [self.layout.volume(name), self.layout.filling(name), self.layout.making(name)];
        for path in [data, filling, making, self.layout.volume_size(name)] {
            remove_tree(&path)?;
        }
        corral_fault::step!(VolumeEmptied);
        if db.volume(name)?.is_none() {
            return Ok(());
        }
        let recorded = self.record_end(Event::new(Action::VolumeDestroy, name).with("driver", "local"));
        db.remove_volume(name)?;
        recorded
    }

    /// The containers that use a volume.
    fn users_of(&self, name: &str) -> Result<Vec<String>, Error> {
        let uses = |view: &View| volumes_of(&view.record.spec).contains(name);
        Ok(self.list()?.iter().filter(|view| uses(view)).map(|view| view.record.id.to_string()).collect())
    }

    /// Removes those of these volumes that nobody uses but the container `but`; a volume that is gone is no error.
    pub(crate) fn remove_unused_volumes(&self, names: &[String], but: &str) -> Result<(), Error> {
        if names.is_empty() {
            return Ok(());
        }
        let _lock = self.layout.lock_volumes()?;
        let db = Database::open(&self.layout)?;
        for name in names {
            if self.users_of(name)?.iter().all(|user| user == but) {
                self.erase_volume(&db, name)?;
            }
        }
        Ok(())
    }

    /// Writes a volume's files as a tar, with the ids that containers see. It is read as it is at this moment.
    ///
    /// # Errors
    /// [`Error::NoVolume`], [`Error::Invalid`] for memory, or what reading or writing gives.
    pub fn export_volume(&self, name: &str, out: &mut dyn Write) -> Result<(), Error> {
        let dir = self.volume_dir(name)?;
        let mut archive = ArchiveWriter::new(out);
        Walk::new(&mut archive).inside(dir.as_fd())?;
        Ok(archive.finish()?)
    }

    /// Unpacks a tar into a volume, over what is there; a volume that does not exist is made.
    ///
    /// A directory of ours keeps the archive's owners and set-id bits, which are stored as containers see them: root's
    /// are the host's root's on the disk, below a directory that lets nobody else through. A directory of the host's has
    /// users who are not root: there, the files belong to its owner, and none of them is a set-id program.
    ///
    /// # Errors
    /// When the archive is unsafe, or what reading or writing gives.
    pub fn import_volume(&self, name: &str, archive: &mut dyn Read) -> Result<(), Error> {
        self.create_volume_if_missing(name)?;
        let dir = self.volume_dir(name)?;
        let owners = self.owners_in(name, &dir)?;
        let pour = || {
            let mut tree = TreeWriter::new(dir, owners);
            ArchiveReader::new(archive)?.pour(&mut tree, &Path::to_path_buf)?;
            Ok(tree.finish()?)
        };
        let Some(bytes) = self.volume_bound(name)? else { return pour() };
        match disk::within_quota(pour) {
            Err(Error::Image(corral_image::Error::Full { .. } | corral_image::Error::NoSpace { .. })) => {
                return Err(Error::Invalid(format!(
                    "volume {name} is full at its bound of {bytes} bytes, and holds a part of the archive"
                )));
            }
            poured => poured?,
        }
        match self.volume_size(name)? {
            used if used > bytes => Err(Error::Invalid(format!(
                "volume {name} holds {used} bytes now, more than its bound of {bytes}: a container that uses it will be \
                 ended; remove the volume, and make it larger"
            ))),
            _ => Ok(()),
        }
    }

    /// Whose the files of an archive become in a volume, which is open.
    fn owners_in(&self, name: &str, dir: &OwnedFd) -> Result<Owners, Error> {
        match Backing::of(&self.find_volume(name)?.options)? {
            Backing::Own { .. } => Ok(Owners::Keep),
            Backing::Bind { .. } | Backing::Memory { .. } => {
                let stat =
                    fstat(dir).map_err(|errno| Error::io(format!("look at volume {name}"))(errno.into()))?;
                Ok(Owners::Plain(stat.st_uid, stat.st_gid))
            }
        }
    }

    fn create_volume_if_missing(&self, name: &str) -> Result<(), Error> {
        match self.find_volume(name) {
            Err(Error::NoVolume(_)) => {
                let request = VolumeRequest { name: Some(name.to_owned()), ..VolumeRequest::default() };
                self.create_volume(request).map(drop)
            }
            found => found.map(drop),
        }
    }

    fn volume_dir(&self, name: &str) -> Result<OwnedFd, Error> {
        let volume = self.find_volume(name)?;
        if let Backing::Memory(_) = Backing::of(&volume.options)? {
            return Err(Error::Invalid(format!("volume {name} is memory of each container that uses it")));
        }
        let path = self.mountpoint(&volume)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, &path, flags, Mode::empty())
            .map_err(|errno| Error::io(format!("open volume {name}"))(errno.into()))
    }
}

/// The volumes that a container uses, each once.
fn volumes_of(spec: &ContainerSpec) -> BTreeSet<&str> {
    fn name(mount: &MountRequest) -> Option<&str> {
        match &mount.source {
            MountSource::Volume(name) => Some(name),
            _ => None,
        }
    }
    spec.mounts.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_known_or_refused() {
        let check = |words: &[(&str, &str)], expect: Option<Backing>| {
            let options = words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            assert_eq!(Backing::of(&options).ok(), expect, "{words:?}");
        };
        let path = |text: &str| AbsPath::new(text).expect("absolute");
        check(&[], Some(Backing::Own { size: None }));
        check(&[("size", "10m")], Some(Backing::Own { size: Some(10 << 20) }));
        check(&[("size", "10")], None);
        check(&[("size", "10m"), ("type", "tmpfs")], None);
        let bind = |text, read_only| Some(Backing::Bind { path: path(text), read_only });
        check(&[("type", "none"), ("o", "bind"), ("device", "/srv//d")], bind("/srv/d", false));
        check(&[("o", "bind,rw"), ("device", "/srv")], bind("/srv", false));
        check(&[("type", "none"), ("o", "bind,ro"), ("device", "/srv")], bind("/srv", true));
        check(&[("type", "tmpfs")], Some(Backing::Memory(Memory::default())));
        check(
            &[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,mode=0700")],
            Some(Backing::Memory(Memory { size: Some(1 << 20), mode: Some(0o700), ..Memory::default() })),
        );
        check(&[("type", "none"), ("device", "/srv")], None);
        check(&[("type", "none"), ("o", "bind"), ("device", "srv")], None);
        let owned = |owner, read_only| {
            Some(Backing::Memory(Memory { size: Some(1 << 20), owner, read_only, ..Memory::default() }))
        };
        check(&[("type", "tmpfs"), ("o", "size=1m,uid=1000")], owned(Some((1000, 0)), false));
        check(&[("type", "tmpfs"), ("o", "gid=7,size=1m,uid=1000,ro")], owned(Some((1000, 7)), true));
        check(&[("type", "none"), ("o", "bind,noexec"), ("device", "/srv")], None);
        for bad in ["uid=root", "uid=4294967295", "gid=-1", "noexec", "nr_inodes=7", "mode=8"] {
            check(&[("type", "tmpfs"), ("o", bad)], None);
        }
        check(&[("type", "nfs"), ("o", "addr=1.2.3.4"), ("device", ":/x")], None);
    }
}
