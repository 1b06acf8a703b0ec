use std::os::unix::fs::MetadataExt;
use std::path::Path;

use corral_image::ResolvedUser;
use corral_spec::record::BindIds;
use corral_spec::{AbsPath, UserNamespace};

use crate::Error;
use crate::plan::Bind;

/// How the owners of a bound host path appear inside: its owner as the container's user, or as 0 if that
/// is how the container starts; host root never.
///
/// # Errors
/// A writable mount that root owns, and that nobody else may write, would look writable and be not: it is
/// refused with the ways out.
pub(crate) fn resolve(
    source: &AbsPath,
    read_only: bool,
    userns: UserNamespace,
    user: &ResolvedUser,
) -> Result<Bind, Error> {
    // The path is the user's own words: links in it mean what they say. What comes after takes none.
    let source =
        std::fs::canonicalize(source.as_path()).map_err(|error| refuse(source.as_path(), missing(&error)))?;
    let ids = owners(&source, read_only, userns, user)?;
    Ok(Bind::Path { source, ids, subpath: None, read_only })
}

fn owners(
    path: &Path,
    read_only: bool,
    userns: UserNamespace,
    user: &ResolvedUser,
) -> Result<BindIds, Error> {
    if userns == UserNamespace::Host {
        return Ok(BindIds::Unmapped);
    }
    let meta = std::fs::metadata(path).map_err(|error| refuse(path, missing(&error)))?;
    if meta.uid() != 0 {
        return Ok(BindIds::Owner { uid: meta.uid(), gid: meta.gid(), to_uid: user.uid, to_gid: user.gid });
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

fn missing(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "bind source path does not exist: create it first".into(),
        _ => error.to_string(),
    }
}

pub(crate) fn refuse(path: &Path, reason: String) -> Error {
    Error::Mount { path: path.to_path_buf(), reason }
}
