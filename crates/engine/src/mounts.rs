use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use corral_image::{Image, ResolvedUser, TreeWriter, copy_union, union_paths};
use corral_policy::confinement;
use corral_spec::record::{BindIds, Own};
use corral_spec::{
    AbsPath, ContainerId, ContainerSpec, Digest, MountRequest, MountSource, ProfileName, SourceOptions,
    UserNamespace,
};
use corral_state::{ContainerRecord, read_record, remove_tree, write_record};

use crate::bind::Owners;
use crate::create::make_dir;
use crate::disk::within_quota;
use crate::plan::Bind;
use crate::volume::Backing;
use crate::{Engine, Error, bind, host};

/// The names of volumes that a container without a record is to take with it.
const NOTED: &str = "volumes.json";

/// What a new container's mounts need besides its own specification.
#[derive(Default)]
pub(crate) struct Settled {
    /// Volumes that were made for it and that nobody named.
    pub(crate) anonymous: Vec<String>,
    /// Images that it mounts.
    pub(crate) images: Vec<Digest>,
    /// Held until the container's record says which volumes it uses.
    _lock: Option<OwnedFd>,
}

impl Engine {
    /// Completes the list of mounts: those of other containers, the volumes that the image declares, and names for
    /// volumes without one. A volume stays while this is held.
    pub(crate) fn settle_mounts(
        &self,
        image: &Image,
        profile: ProfileName,
        spec: &mut ContainerSpec,
    ) -> Result<Settled, Error> {
        for from in spec.volumes_from.clone() {
            let view = self.look(&from.container)?;
            for mut mount in view.record.spec.mounts {
                let shared = matches!(mount.source, MountSource::Bind(_) | MountSource::Volume(_));
                if shared && !has_target(spec, &mount.target) {
                    mount.read_only |= from.read_only;
                    // It has been filled, or was not to be.
                    mount.options.no_copy |= matches!(mount.source, MountSource::Volume(_));
                    spec.mounts.push(mount);
                }
            }
        }
        // An image can narrow what its profile gives and never widen it: where the profile keeps the root read-only, it
        // gets no place to write by its own word.
        let declared: &[String] =
            if confinement(profile).read_only_root { &[] } else { &image.config.config.volumes };
        for text in declared {
            let fail = |error| Error::Invalid(format!("a volume that the image declares: {error}"));
            let target = AbsPath::new(text).map_err(fail)?;
            if !has_target(spec, &target) {
                let options = SourceOptions::default();
                spec.mounts.push(MountRequest {
                    source: MountSource::Anonymous,
                    target,
                    read_only: false,
                    options,
                });
            }
        }
        let mut settled = Settled::default();
        for mount in &mut spec.mounts {
            match &mount.source {
                MountSource::Anonymous => {
                    let name = host::new_id()?.to_string();
                    settled.anonymous.push(name.clone());
                    mount.source = MountSource::Volume(name);
                    mount.options.anonymous = true;
                }
                MountSource::Image(name) => settled.images.push(self.store().resolve(name)?.id),
                _ => {}
            }
        }
        if spec.mounts.iter().any(|mount| matches!(mount.source, MountSource::Volume(_))) {
            settled._lock = Some(self.layout.lock_volumes()?);
        }
        Ok(settled)
    }

    /// Writes down, before they are made, which volumes go with a container that does not come to be.
    pub(crate) fn note_volumes(&self, id: &ContainerId, names: &[String]) -> Result<(), Error> {
        if names.is_empty() {
            return Ok(());
        }
        let dir = self.layout.container(id);
        make_dir(&dir, 0o700)?;
        Ok(write_record(&dir.join(NOTED), &names, false)?)
    }

    /// They are in the container's record from now on.
    pub(crate) fn forget_noted_volumes(&self, id: &ContainerId, names: &[String]) -> Result<(), Error> {
        if names.is_empty() { Ok(()) } else { Ok(remove_tree(&self.layout.container(id).join(NOTED))?) }
    }

    /// The volumes that were made for a container and go with it; of one without a record those that were to be.
    pub(crate) fn volumes_to_go(
        &self,
        id: &ContainerId,
        record: Option<&ContainerRecord>,
    ) -> Result<Vec<String>, Error> {
        match record {
            Some(record) => Ok(anonymous_volumes(&record.spec)),
            None => Ok(read_record(&self.layout.container(id).join(NOTED))?.unwrap_or_default()),
        }
    }

    /// What the host gives for each mount of the spec, in its order; nothing is made.
    pub(crate) fn binds(
        &self,
        spec: &ContainerSpec,
        settled: &Settled,
        (user, own): (&ResolvedUser, Option<Own>),
    ) -> Result<Vec<Option<Bind>>, Error> {
        let owners = Owners { userns: spec.userns, user, own };
        let mut images = settled.images.iter();
        let own_ids = || match spec.userns {
            UserNamespace::Private | UserNamespace::KeepId => BindIds::Container,
            UserNamespace::Host => BindIds::Unmapped,
        };
        let mut one = |mount: &MountRequest| match &mount.source {
            MountSource::Tmpfs { .. } => Ok(None),
            MountSource::Bind(path) => bind::resolve(path, mount.read_only, &owners).map(Some),
            MountSource::Anonymous => Err(Error::Invalid(format!("volume {} has no name", mount.target))),
            MountSource::Image(name) => match images.next() {
                Some(id) => self.image_bind((name, id), mount, own_ids()).map(Some),
                None => Err(Error::Invalid(format!("image {name} was not looked up"))),
            },
            MountSource::Volume(name) => {
                let subpath = mount.options.subpath.as_ref().map(|path| path.relative().to_owned());
                Ok(Some(match self.backing(name)? {
                    Backing::Own { .. } => {
                        Bind::Path { source: self.place(name), ids: own_ids(), subpath, read_only: false }
                    }
                    Backing::Bind { path, read_only } => {
                        let read_only = read_only || mount.read_only;
                        match bind::resolve(&path, read_only, &owners)? {
                            Bind::Path { source, ids, .. } => Bind::Path { source, ids, subpath, read_only },
                            other => other,
                        }
                    }
                    Backing::Memory(_) if subpath.is_some() => {
                        return Err(Error::Invalid(format!("volume {name} is memory and has no subpath")));
                    }
                    Backing::Memory(memory) => Bind::Memory(memory),
                }))
            }
        };
        spec.mounts.iter().map(&mut one).collect()
    }

    /// Makes the volumes that are not there yet, and fills those that are empty with what the image has in their place.
    /// A volume outlives a container that came to nothing, so this comes after all that is refused.
    pub(crate) fn make_volumes(&self, spec: &ContainerSpec, lowers: &[PathBuf]) -> Result<(), Error> {
        for mount in &spec.mounts {
            let MountSource::Volume(name) = &mount.source else { continue };
            if !matches!(self.backing(name)?, Backing::Own { .. }) {
                continue;
            }
            self.make_volume(name, mount.options.anonymous)?;
            if !mount.options.no_copy && mount.options.subpath.is_none() {
                match self.volume_bound(name)? {
                    Some(_) => within_quota(|| self.fill(name, lowers, &mount.target))?,
                    None => self.fill(name, lowers, &mount.target)?,
                }
            }
        }
        Ok(())
    }

    /// Where a volume of ours is or will be, without links, which is how a start looks for it. It is the engine's own: no
    /// container writes above it.
    fn place(&self, name: &str) -> PathBuf {
        let path = self.layout.volume(name);
        let above = || self.layout.volumes().canonicalize().map(|volumes| volumes.join(name));
        // The first volume makes the directory of volumes, too.
        let root = || {
            Some(self.layout.root().canonicalize().ok()?.join(path.strip_prefix(self.layout.root()).ok()?))
        };
        path.canonicalize().or_else(|_| above()).ok().or_else(root).unwrap_or(path)
    }

    fn image_bind(
        &self,
        (name, id): (&str, &Digest),
        mount: &MountRequest,
        ids: BindIds,
    ) -> Result<Bind, Error> {
        let image = self.store().resolve(&id.to_string())?;
        let layers: Vec<PathBuf> =
            image.layers.iter().rev().map(|layer| self.store().layer_dir(layer)).collect();
        let root = AbsPath::new("/").map_err(|error| Error::Invalid(error.to_string()))?;
        let path = mount.options.subpath.as_ref().unwrap_or(&root);
        let found = union_paths(&layers, path.as_path()).filter(|found| !found.is_empty());
        match found.as_deref() {
            None => Err(Error::Invalid(format!("image {name} has no {path}"))),
            Some([only]) => Ok(Bind::Path { source: only.clone(), ids, subpath: None, read_only: true }),
            Some(several) => Ok(Bind::Layers(several.to_vec())),
        }
    }

    /// Copies what the image has at `target` into a volume that is empty. A copy that was killed half-way is begun
    /// again: nobody can have used the volume since.
    fn fill(&self, name: &str, lowers: &[PathBuf], target: &AbsPath) -> Result<(), Error> {
        let (path, mark) = (self.layout.volume(name), self.layout.filling(name));
        let fail = |act: &str| Error::io(format!("{act} volume {name}"));
        if mark.exists() {
            for entry in std::fs::read_dir(&path).map_err(fail("read"))? {
                remove_tree(&entry.map_err(fail("read"))?.path())?;
            }
        }
        if std::fs::read_dir(&path).map_err(fail("read"))?.next().is_some() {
            return Ok(());
        }
        let Some(dirs) = union_paths(lowers, target.as_path()) else { return Ok(()) };
        if dirs.first().is_none_or(|first| !first.is_dir()) {
            return Ok(());
        }
        std::fs::write(&mark, "").map_err(fail("mark"))?;
        corral_fault::step!(VolumeFilling);
        let dir = File::open(&path).map_err(fail("open"))?;
        let mut tree = TreeWriter::new(
            OwnedFd::from(dir.try_clone().map_err(fail("open"))?),
            corral_image::Owners::Keep,
        );
        let attributes = copy_union(&dirs, &mut tree)?;
        tree.finish()?;
        if let Some((uid, gid, mode)) = attributes {
            std::os::unix::fs::fchown(dir.as_fd(), Some(uid), Some(gid))
                .map_err(fail("give its owner to"))?;
            dir.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(fail("give its mode to"))?;
        }
        corral_fault::step!(VolumeFilled);
        std::fs::remove_file(&mark).map_err(fail("unmark"))
    }
}

fn has_target(spec: &ContainerSpec, target: &AbsPath) -> bool {
    spec.mounts.iter().any(|mount| mount.target == *target)
}

/// The volumes of a container that go with it: nobody named them.
fn anonymous_volumes(spec: &ContainerSpec) -> Vec<String> {
    let names: BTreeSet<String> = spec
        .mounts
        .iter()
        .filter(|mount| mount.options.anonymous)
        .filter_map(|mount| match &mount.source {
            MountSource::Volume(name) => Some(name.clone()),
            _ => None,
        })
        .collect();
    names.into_iter().collect()
}
