use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use corral_image::ResolvedUser;
use corral_spec::record::{BindIds, Own};
use corral_spec::{AbsPath, UserNamespace};

use crate::Error;
use crate::plan::Bind;

/// How the owners of a bound host path appear inside: its owner as the container's user, or as 0 if that
/// is how the container starts; host root never.
///
/// # Errors
/// A writable mount that root owns, and that nobody else may write, would look writable and be not: it is
/// refused with the ways out.
pub(crate) fn resolve(source: &AbsPath, read_only: bool, owners: &Owners<'_>) -> Result<Bind, Error> {
    // The path is the user's own words: links in it mean what they say. What comes after takes none.
    let source =
        std::fs::canonicalize(source.as_path()).map_err(|error| refuse(source.as_path(), missing(&error)))?;
    let ids = owners.of(&source, read_only)?;
    Ok(Bind::Path { source, ids, subpath: None, read_only })
}

/// Whom a container's files belong to.
pub(crate) struct Owners<'c> {
    pub(crate) userns: UserNamespace,
    /// Who the container starts as.
    pub(crate) user: &'c ResolvedUser,
    /// In an ordinary user's container, the ids that are that user.
    pub(crate) own: Option<Own>,
}

impl Owners<'_> {
    fn of(&self, path: &Path, read_only: bool) -> Result<BindIds, Error> {
        if self.userns == UserNamespace::Host {
            return Ok(BindIds::Unmapped);
        }
        let meta = std::fs::metadata(path).map_err(|error| refuse(path, missing(&error)))?;
        match self.own {
            Some(own) => self.unmapped((path, &meta), read_only, own),
            None => self.mapped((path, &meta), read_only),
        }
    }

    /// No owner can be translated: who could not write to what is theirs outside is told so. 0 is the user.
    fn unmapped(
        &self,
        (path, meta): (&Path, &Metadata),
        read_only: bool,
        own: Own,
    ) -> Result<BindIds, Error> {
        let mine = meta.uid() == 0 && self.user.uid != own.uid && self.user.uid != 0;
        if read_only || !mine || meta.mode() & 0o002 != 0 {
            return Ok(BindIds::Unmapped);
        }
        let uid = self.user.uid;
        Err(refuse(
            path,
            format!(
                "it is yours, the container runs as user {uid}, and an ordinary user's mounts translate no owner: run as \
                 yourself (--userns keep-id, without -u), as the container's root (-u 0), or mount it read-only (:ro)"
            ),
        ))
    }

    fn mapped(&self, (path, meta): (&Path, &Metadata), read_only: bool) -> Result<BindIds, Error> {
        let user = self.user;
        if meta.uid() != 0 {
            return Ok(BindIds::Owner {
                uid: meta.uid(),
                gid: meta.gid(),
                to_uid: user.uid,
                to_gid: user.gid,
            });
        }
        if read_only {
            return Ok(BindIds::Unmapped);
        }
        Err(refuse(
            path,
            "it belongs to root, and host root is never mapped into a container, so nothing inside could write to it: \
         give it to an ordinary user (chown), mount it read-only (:ro), or name the weaker mode --userns host"
                .into(),
        ))
    }
}

fn missing(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "bind source path does not exist: create it first".into(),
        _ => error.to_string(),
    }
}

pub(crate) fn refuse(path: &Path, reason: String) -> Error {
    Error::Mount { path: path.to_path_buf(), reason }
}
