use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use corral_image::{Group, Image, ResolvedUser, read_file};
use corral_runtime::rootless::Shared;
use corral_spec::record::{GENERATION, Launch, Mount, MountKind, Own};
use corral_spec::{
    ContainerId, ContainerName, ContainerSpec, ProfileName, UserNamespace, UserPart, UserSpec,
};
use corral_state::{ContainerLock, ContainerRecord, IdSlot, Life, Typed, write_record};

use crate::plan::{self, Facts, HostFacts};
use crate::warm::Warmth;
use crate::{Engine, Error, PROFILE_LABEL, device, host, journal, name};

/// A container that exists and is still locked by us: it can be started, or left.
#[derive(Debug)]
pub struct Prepared {
    /// What it is.
    pub record: ContainerRecord,
    /// What will run.
    pub launch: Launch,
    pub(crate) lock: ContainerLock,
    pub(crate) life: Life,
}

/// What a container is made from.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The image.
    pub image: &'a Image,
    /// Its name, as the user said it.
    pub image_name: &'a str,
    /// What was asked.
    pub spec: ContainerSpec,
    /// Passing only if it is started at once and removed at its end.
    pub life: Life,
    /// Who watches its streams from its start, which is recorded.
    pub watch: Watch,
    /// How it was asked for, to be shown.
    pub typed: Option<Typed>,
    /// Whether it is forked from a template, or one.
    pub warmth: Warmth<'a>,
}

/// Who watches a new container's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Nobody from its start.
    Nobody,
    /// The caller, by its monitor.
    Caller,
    /// The caller, who is its monitor, and records its making with its start.
    Monitor,
}

/// A passwd or group file larger than this many bytes is taken as an attack.
const USER_FILE_LIMIT: u64 = 4 << 20;

/// What a half-made container holds; given back if it is not finished.
struct Half<'a> {
    engine: &'a Engine,
    id: ContainerId,
    lock: Option<ContainerLock>,
    name: Option<ContainerName>,
    slot: Option<IdSlot>,
    /// Volumes made for it.
    anonymous: Vec<String>,
}

impl Engine {
    /// Makes a container from an image: everything is decided, judged by the profile and written down; nothing
    /// runs yet.
    ///
    /// # Errors
    /// When the request contradicts the image, the profile or the host; nothing is left behind then.
    pub fn create(&self, wanted: Wanted<'_>) -> Result<Prepared, Error> {
        let image = wanted.image_name.to_owned();
        let made = self.create_with(wanted, Vec::new());
        if let Err(Error::Denied(denial)) = &made {
            self.record_denial("container create", &image, denial)?;
        }
        made
    }

    /// As [`Engine::create`], with mounts of the engine's own after those that the user asked for.
    pub(crate) fn create_with(&self, wanted: Wanted<'_>, extra: Vec<Mount>) -> Result<Prepared, Error> {
        let Wanted { image, image_name, mut spec, life, watch, typed, warmth } = wanted;
        spec.limits.more.no_groups |= self.ground.no_groups;
        device::number_block_devices(&mut spec)?;
        self.glance()?;
        // Nothing of the image may be collected between our look at it and our record of using it.
        let _lease = self.store().lease()?;
        check_architecture(image, image_name)?;
        let profile = self.profile(image, spec.profile)?;
        let mut half = self.begin()?;
        let id = half.id.clone();
        let own = own_ids(spec.userns, self.ground.shared)?;
        half.lease_slot(&spec, own.is_some(), life)?;
        let name = half.lease_name(spec.name.clone(), life)?;
        let lowers = self.lowers(image);
        let user = self.user(&spec, image, (&lowers, own))?;
        // Its volumes stay until the record below says that they are used.
        let settled = self.settle_mounts(image, profile, &mut spec)?;
        half.note_volumes(&settled.anonymous)?;
        let facts = Facts {
            id: &id,
            name: name.as_str(),
            image,
            image_name,
            profile,
            binds: self.binds(&spec, &settled, (&user, own))?,
            host_devices: device::resolve(&spec.limits)?,
            user,
            slot: half.slot,
            shared: self.ground.shared.zip(own),
            lowers,
            data_dir: self.layout().container(&id),
            run_dir: self.layout().run(&id),
            host: HostFacts::of(&spec)?,
            extra,
        };
        let mut launch = plan::launch(&facts, &spec)?;
        self.make_volumes(&spec, &facts.lowers)?;
        self.warm_up(&mut launch, image, warmth, profile)?;
        corral_fault::step!(MountsSettled);
        make_dir(&facts.data_dir, 0o700)?;
        make_layer(&launch)?;
        self.bound_disk(&mut launch, &spec, profile)?;
        let record = ContainerRecord {
            generation: GENERATION,
            id: id.clone(),
            name: name.clone(),
            image: image.id,
            image_name: image_name.to_owned(),
            profile,
            host_ids: half.slot.map(IdSlot::host),
            created_ns: host::now_ns(),
            spec,
            mount_images: settled.images.clone(),
            typed,
            warm: launch.warm.clone(),
        };
        launch.journal = Some(journal::for_monitor(self, &record, image));
        self.write_down(&record, &launch, (life, watch))?;
        self.forget_noted_volumes(&id, &settled.anonymous)?;
        Ok(Prepared { lock: half.finish()?, record, launch, life })
    }

    /// The container exists when its record does.
    fn write_down(
        &self,
        record: &ContainerRecord,
        launch: &Launch,
        (life, watch): (Life, Watch),
    ) -> Result<(), Error> {
        let records_dir = self.layout().records(&record.id, life);
        write_record(&records_dir.join("launch.json"), launch, false)?;
        // What cannot be recorded does not come to be.
        self.record_created(launch, watch)?;
        Ok(write_record(&records_dir.join("container.json"), record, life == Life::Lasting)?)
    }

    /// Leaves a container that was made and shall not start now.
    ///
    /// # Errors
    /// When its run directory cannot be removed.
    pub fn leave(&self, prepared: Prepared) -> Result<ContainerId, Error> {
        self.layout().unlock(prepared.lock, &prepared.record.id)?;
        Ok(prepared.record.id)
    }

    fn begin(&self) -> Result<Half<'_>, Error> {
        let id = host::new_id()?;
        let lock = self.layout().lock(&id)?;
        Ok(Half { engine: self, id, lock: Some(lock), name: None, slot: None, anonymous: Vec::new() })
    }

    fn lowers(&self, image: &Image) -> Vec<PathBuf> {
        image.layers.iter().rev().map(|layer| self.store().layer_dir(layer)).collect()
    }

    /// Who the first process is: whom the user names, else with `keep-id` the user, else whom the image names.
    fn user(
        &self,
        spec: &ContainerSpec,
        image: &Image,
        (lowers, own): (&[PathBuf], Option<Own>),
    ) -> Result<ResolvedUser, Error> {
        let wanted = match (&spec.user, image.config.config.user.as_str()) {
            (Some(user), _) => Some(user.clone()),
            (None, "") => None,
            (None, text) => Some(text.parse().map_err(|error: corral_spec::UserError| {
                Error::Invalid(format!("the image's user: {error}; choose another with -u"))
            })?),
        };
        let mut user = resolve_user(wanted.as_ref(), lowers)?;
        if let Some(own) = own.filter(|_| spec.userns == UserNamespace::KeepId && spec.user.is_none()) {
            (user.uid, user.gid) = (own.uid, own.gid);
        }
        user.groups.extend(group_ids(&spec.settings.groups, lowers)?);
        user.groups.sort_unstable();
        user.groups.dedup();
        Ok(user)
    }

    /// The profile that an image and a flag lead to, for listings and questions before a start.
    ///
    /// # Errors
    /// [`Error::Denied`] for a label that names no profile.
    pub fn profile(&self, image: &Image, flag: Option<ProfileName>) -> Result<ProfileName, Error> {
        Ok(corral_policy::effective_profile(flag, label(image), false)?)
    }
}

impl Half<'_> {
    /// The volumes that nobody named go with the container, and are noted before they are made.
    fn note_volumes(&mut self, anonymous: &[String]) -> Result<(), Error> {
        anonymous.clone_into(&mut self.anonymous);
        self.engine.note_volumes(&self.id, anonymous)
    }

    /// A range of host ids, unless the container shares one.
    fn lease_slot(&mut self, spec: &ContainerSpec, shares: bool, life: Life) -> Result<(), Error> {
        if spec.userns == UserNamespace::Private && !shares {
            self.slot = Some(self.engine.layout().lease_ids(&self.id, life)?);
        }
        Ok(())
    }

    fn lease_name(&mut self, wanted: Option<ContainerName>, life: Life) -> Result<ContainerName, Error> {
        let layout = self.engine.layout();
        let name = match wanted {
            Some(name) => {
                layout.lease_name(&name, &self.id, life)?;
                name
            }
            None => loop {
                let name = name::invent()?;
                match layout.lease_name(&name, &self.id, life) {
                    Ok(()) => break name,
                    Err(corral_state::Error::NameTaken { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            },
        };
        self.name = Some(name.clone());
        Ok(name)
    }

    fn finish(mut self) -> Result<ContainerLock, Error> {
        self.lock.take().ok_or_else(|| Error::Invalid("the container was finished twice".into()))
    }
}

impl Drop for Half<'_> {
    /// Gives everything back. A failure here is left to the next collection, which finds the same.
    fn drop(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        let layout = self.engine.layout();
        if let Some(name) = &self.name {
            drop(layout.release_name(name, &self.id));
        }
        if let Some(slot) = self.slot {
            drop(layout.release_ids(slot, &self.id));
        }
        drop(self.engine.remove_unused_volumes(&self.anonymous, self.id.as_str()));
        let life = layout.life(&self.id);
        drop(layout.unmake_container(&self.id, life, None));
        drop(layout.remove_container(lock, &self.id));
    }
}

/// Which of the container's ids is an ordinary user; none for a container of the host's root.
fn own_ids(userns: UserNamespace, shared: Option<Shared>) -> Result<Option<Own>, Error> {
    let refuse = |reason: &str| Err(Error::Invalid(reason.to_owned()));
    match (userns, shared) {
        (UserNamespace::KeepId, None) => {
            refuse("--userns keep-id is for ordinary users: as root, bind mounts keep their owner without it")
        }
        (_, None) => Ok(None),
        (UserNamespace::Host, Some(_)) => refuse(
            "--userns host: an ordinary user's namespace is that of all their containers, and its root would have power \
             over them; leave it out, or name --userns keep-id to have your own id inside",
        ),
        (UserNamespace::KeepId, Some(Shared { count: 1, .. })) => {
            refuse("--userns keep-id needs more than your own id: see /etc/subuid (corral doctor says how)")
        }
        (UserNamespace::Private, Some(_)) => Ok(Some(Own { uid: 0, gid: 0 })),
        (UserNamespace::KeepId, Some(Shared { uid, gid, .. })) => Ok(Some(Own { uid, gid })),
    }
}

/// Nothing of another processor's could be executed.
fn check_architecture(image: &Image, name: &str) -> Result<(), Error> {
    let (found, host) = (&image.config.architecture, host::architecture());
    if found == host {
        return Ok(());
    }
    Err(Error::Architecture { image: name.to_owned(), found: found.clone(), host })
}

/// A directory of ours; one that is there stays as it is.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    match std::fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::io(format!("make {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

/// The writable layer, where it is missing: that of a read-only root is in memory and ends with each run, and so
/// does what overlayfs wants for an image that is mounted.
pub(crate) fn make_layer(launch: &Launch) -> Result<(), Error> {
    let exact = launch.shared.is_some();
    let scratch = launch.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Layers { scratch, .. } => Some(scratch),
        _ => None,
    });
    for dir in scratch {
        make_dir(dir, 0o700)?;
        make_upper(dir, exact)?;
    }
    make_upper(&launch.root.writable, exact)?;
    corral_fault::step!(WritableMade);
    Ok(())
}

fn make_upper(writable: &Path, exact: bool) -> Result<(), Error> {
    // The container's root directory; the one above it lets nobody else through.
    let upper = writable.join("upper");
    let is_new = exact && !upper.exists();
    make_dir(&upper, 0o755)?;
    if is_new {
        // The user's mask is not the container's. The runtime sees to it where the owner changes too.
        std::fs::set_permissions(&upper, std::fs::Permissions::from_mode(0o755))
            .map_err(Error::io("give the writable layer its mode"))?;
    }
    make_dir(&writable.join("work"), 0o700)
}

fn label(image: &Image) -> Option<&str> {
    image.config.config.labels.get(PROFILE_LABEL).map(String::as_str)
}

/// The numbers of groups, by the group file of a stack of layers.
fn group_ids(groups: &[UserPart], layers: &[PathBuf]) -> Result<Vec<u32>, Error> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let text = read_file(layers, Path::new("/etc/group"), USER_FILE_LIMIT).unwrap_or_default();
    let known = Group::parse(&text);
    let id = |group: &UserPart| match group {
        UserPart::Id(gid) => Ok(*gid),
        UserPart::Name(name) => {
            known.iter().find(|group| group.name == *name).map(|group| group.gid).ok_or_else(|| {
                Error::Invalid(format!("Unable to find group {name} in the image's /etc/group"))
            })
        }
    };
    groups.iter().map(id).collect()
}

/// Looks a user up in the passwd and group of a stack of layers, topmost first; without a name it is root.
pub(crate) fn resolve_user(user: Option<&UserSpec>, layers: &[PathBuf]) -> Result<ResolvedUser, Error> {
    const ROOT: UserSpec = UserSpec { user: corral_spec::UserPart::Id(0), group: None };
    let lookup = |path: &str| read_file(layers, Path::new(path), USER_FILE_LIMIT);
    Ok(corral_image::resolve_user(user.unwrap_or(&ROOT), &lookup)?)
}
