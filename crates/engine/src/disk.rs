//! Bounds on disk: who enforces them, and how they come to hold.
//!
//! ```text
//! --storage-opt size=     the container's `upper` and `work`   ── a project, if the file system keeps limits of projects
//! volume create -o size=  the volume's directory               ── else the monitor of each container that may write there
//! ```
//!
//! A process with the host's user ids could take its files out of a project: its container is always watched.

use std::path::{Path, PathBuf};

use corral_runtime::quota;
use corral_spec::record::{DiskBound, DiskKeeper, Launch};
use corral_spec::{ByteSize, ContainerSpec, MountSource, ProfileName};
use corral_state::ContainerRecord;
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::{Engine, Error, host};

/// Less does not hold what the engine itself puts there.
const LEAST: u64 = 1 << 20;

/// A bound as a user may ask for it.
pub(crate) fn check(size: ByteSize) -> Result<u64, Error> {
    match size.0 {
        LEAST.. => Ok(size.0),
        bytes => Err(Error::Invalid(format!("a size of {bytes} bytes on disk: the least is 1m"))),
    }
}

impl Engine {
    /// Adds the bounds that a new container is under; its directories are there, and empty. The result is judged again.
    pub(crate) fn bound_disk(
        &self,
        launch: &mut Launch,
        spec: &ContainerSpec,
        profile: ProfileName,
    ) -> Result<(), Error> {
        // Nothing is ever written to the layer of a read-only root.
        if let Some(size) = spec.limits.disk.filter(|_| !launch.root.read_only) {
            let bytes = check(size)?;
            let dirs = ["upper", "work"].map(|name| launch.root.writable.join(name)).to_vec();
            let keeper = match launch.ids {
                Some(_) => bind(&dirs, bytes)?,
                None => DiskKeeper::Monitor,
            };
            launch.disk.push(DiskBound { what: "writable layer".into(), dirs, bytes, keeper });
        }
        for mount in spec.mounts.iter().filter(|mount| !mount.read_only) {
            let MountSource::Volume(name) = &mount.source else { continue };
            let what = format!("volume {name}");
            let Some(bytes) = self.volume_bound(name)? else { continue };
            if launch.disk.iter().any(|bound| bound.what == what) {
                continue;
            }
            let dir = self.layout().volume(name);
            let keeper = match launch.ids.map(|_| quota::project_of(&dir)).transpose()?.flatten() {
                Some(project) => DiskKeeper::Project(project),
                None => DiskKeeper::Monitor,
            };
            launch.disk.push(DiskBound { what, dirs: vec![dir], bytes, keeper });
        }
        if !launch.disk.is_empty() {
            corral_policy::judge_launch(profile, launch)?;
        }
        Ok(())
    }

    /// The bound of a volume that has one. A file beside it says so: the database is not opened on the way of `run`.
    pub(crate) fn volume_bound(&self, name: &str) -> Result<Option<u64>, Error> {
        let path = self.layout().volume_size(name);
        match std::fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse() {
                Ok(bytes) => Ok(Some(bytes)),
                Err(_) => Err(Error::Invalid(format!("{} holds no number of bytes", path.display()))),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("read {}", path.display()))(error)),
        }
    }

    /// The bound of a volume and who enforces it, for listings.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn bound_of_volume(&self, name: &str) -> Result<Option<(u64, DiskKeeper)>, Error> {
        let Some(bytes) = self.volume_bound(name)? else { return Ok(None) };
        let project = quota::project_of(&self.layout().volume(name)).unwrap_or(None);
        Ok(Some((bytes, project.map_or(DiskKeeper::Monitor, DiskKeeper::Project))))
    }

    /// Takes the limits off what is removed next.
    pub(crate) fn release_disk(&self, record: &ContainerRecord) {
        if record.spec.limits.disk.is_some() {
            release(&self.layout().container(&record.id).join("upper"));
        }
    }
}

/// Has the file system enforce a bound, if it can.
pub(crate) fn bind(dirs: &[PathBuf], bytes: u64) -> Result<DiskKeeper, Error> {
    let dirs: Vec<&Path> = dirs.iter().map(PathBuf::as_path).collect();
    let mut seed = u32::from_ne_bytes(host::random()?);
    // Only the first has to be hard to meet; one that is taken is followed by others.
    let next = || {
        seed = seed.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
        seed
    };
    Ok(quota::bind(&dirs, bytes, next)?.map_or(DiskKeeper::Monitor, DiskKeeper::Project))
}

/// Whether what a launch relies on still holds: the file system may have been mounted without quotas since.
pub(crate) fn check_keepers(launch: &Launch) -> Result<(), Error> {
    for bound in &launch.disk {
        let DiskKeeper::Project(project) = bound.keeper else { continue };
        for dir in &bound.dirs {
            if quota::project_of(dir)? != Some(project) {
                return Err(Error::Invalid(format!(
                    "{}: the file system does not enforce the bound on the {} any more; mount it with prjquota, or \
                     make the container anew",
                    dir.display(),
                    bound.what
                )));
            }
        }
    }
    Ok(())
}

/// A limit that stays behind binds nobody: a project is chosen only if nothing is in it, and is given a limit then.
pub(crate) fn release(dir: &Path) {
    if let Ok(Some(project)) = quota::project_of(dir) {
        let _ = quota::release(dir, project);
    }
}

/// Does something under the limits that hold for everybody else: root may pass them (CAP_SYS_RESOURCE).
pub(crate) fn within_quota<T>(act: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let fail = |errno: rustix::io::Errno| Error::io("lay down CAP_SYS_RESOURCE")(errno.into());
    let before = capabilities(None).map_err(fail)?;
    let mut lower = before;
    lower.effective.remove(CapabilitySet::SYS_RESOURCE);
    set_capabilities(None, lower).map_err(fail)?;
    let done = act();
    set_capabilities(None, before).map_err(fail)?;
    done
}
