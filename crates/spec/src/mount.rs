use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ByteSize;

/// An absolute, normalised path: no `.`, no `..`, no double slash, no NUL. Inside a container it names
/// a place below the container's root; it is never resolved on the host without openat2.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "PathBuf", into = "PathBuf")]
pub struct AbsPath(PathBuf);

/// A mount that the user asked for, before the profile and the host have had their say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRequest {
    /// What is mounted.
    pub source: MountSource,
    /// Where, inside the container.
    pub target: AbsPath,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// What a [`MountRequest`] mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or directory of the host.
    Bind(AbsPath),
    /// A named volume, created when it does not exist.
    Volume(String),
    /// Memory, at most so many bytes, with this mode.
    Tmpfs {
        /// Upper bound in bytes; none means the profile's default.
        size: Option<ByteSize>,
        /// Permission bits of the root directory; none means 1777.
        mode: Option<u32>,
    },
}

/// Why a text is not a mount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// The path is relative or has `..`.
    #[error("invalid path {0:?}: it must be absolute and without \"..\"")]
    Path(String),
    /// The text has the wrong shape.
    #[error("invalid mount {text:?}: {reason}")]
    Form {
        /// What was typed.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl AbsPath {
    /// Normalises `//` and `/./` away and refuses everything that is not absolute or climbs.
    ///
    /// # Errors
    /// [`MountError::Path`].
    pub fn new(path: impl AsRef<Path>) -> Result<Self, MountError> {
        let path = path.as_ref();
        let fail = || MountError::Path(path.to_string_lossy().chars().take(300).collect());
        if !path.is_absolute() || path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(fail());
        }
        let mut clean = PathBuf::from("/");
        for component in path.components() {
            match component {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => clean.push(name),
                Component::ParentDir | Component::Prefix(_) => return Err(fail()),
            }
        }
        Ok(Self(clean))
    }

    /// The path, always starting with `/`.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The path below the root: without the leading `/`, `.` for the root itself.
    pub fn relative(&self) -> &Path {
        match self.0.strip_prefix("/") {
            Ok(rest) if !rest.as_os_str().is_empty() => rest,
            _ => Path::new("."),
        }
    }
}

impl TryFrom<PathBuf> for AbsPath {
    type Error = MountError;

    fn try_from(path: PathBuf) -> Result<Self, MountError> {
        Self::new(path)
    }
}

impl From<AbsPath> for PathBuf {
    fn from(path: AbsPath) -> Self {
        path.0
    }
}

impl fmt::Display for AbsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl MountRequest {
    /// Parses `-v SOURCE:TARGET[:OPTIONS]`. A source that starts with `/`, `./`, `../` or is `.` is a
    /// host path, resolved against `cwd`; any other is a volume name. Options: `ro`, `rw`, `z`, `Z` (accepted:
    /// SELinux labels are not used), `nocopy` is refused.
    ///
    /// # Errors
    /// [`MountError`] naming the part that is wrong.
    pub fn parse_volume(text: &str, cwd: &Path) -> Result<Self, MountError> {
        let fail = |reason: &str| MountError::Form { text: text.to_owned(), reason: reason.to_owned() };
        let mut parts = text.split(':');
        let (Some(source), Some(target)) = (parts.next(), parts.next()) else {
            return Err(fail("expected SOURCE:TARGET[:OPTIONS]; anonymous volumes are not supported yet"));
        };
        let options = parts.next().unwrap_or("rw");
        if parts.next().is_some() {
            return Err(fail("more than two colons"));
        }
        let mut read_only = false;
        for option in options.split(',') {
            match option {
                "ro" => read_only = true,
                "rw" | "z" | "Z" => {}
                _ => return Err(fail("known options are ro, rw, z and Z")),
            }
        }
        Ok(Self {
            source: MountSource::host_or_volume(source, cwd)?,
            target: AbsPath::new(target)?,
            read_only,
        })
    }

    /// Parses `--mount type=bind|volume|tmpfs,source=…,target=…[,readonly][,tmpfs-size=…][,tmpfs-mode=…]`.
    ///
    /// # Errors
    /// [`MountError`] naming the part that is wrong; an unknown key is refused.
    pub fn parse_mount(text: &str, cwd: &Path) -> Result<Self, MountError> {
        let fail = |reason: String| MountError::Form { text: text.to_owned(), reason };
        let (mut kind, mut source, mut target, mut read_only, mut size, mut mode) =
            ("volume", None, None, false, None, None);
        for field in text.split(',') {
            let (key, value) = field.split_once('=').unwrap_or((field, "true"));
            match key {
                "type" => kind = value,
                "source" | "src" => source = Some(value),
                "target" | "dst" | "destination" => target = Some(value),
                "readonly" | "ro" => {
                    read_only = match value {
                        "true" | "1" => true,
                        "false" | "0" => false,
                        _ => return Err(fail(format!("{key} is true or false, not {value:?}"))),
                    }
                }
                "tmpfs-size" => {
                    size = Some(value.parse().map_err(|e: crate::QuantityError| fail(e.to_string()))?)
                }
                "tmpfs-mode" => {
                    mode = Some(
                        u32::from_str_radix(value, 8)
                            .ok()
                            .filter(|mode| *mode <= 0o7777)
                            .ok_or_else(|| fail(format!("mode {value:?} is not octal")))?,
                    )
                }
                _ => return Err(fail(format!("unknown or unsupported key {key:?}"))),
            }
        }
        let target = AbsPath::new(target.ok_or_else(|| fail("target is missing".into()))?)?;
        let source = match (kind, source) {
            ("tmpfs", None) => MountSource::Tmpfs { size, mode },
            ("tmpfs", Some(_)) => return Err(fail("a tmpfs has no source".into())),
            _ if size.is_some() || mode.is_some() => {
                return Err(fail("tmpfs-size and tmpfs-mode need type=tmpfs".into()));
            }
            ("bind", Some(source)) => MountSource::Bind(AbsPath::new(cwd.join(source))?),
            ("volume", Some(source)) => MountSource::volume(source)?,
            ("bind" | "volume", None) => return Err(fail("source is missing".into())),
            _ => return Err(fail(format!("unknown type {kind:?} (bind, volume, tmpfs)"))),
        };
        Ok(Self { source, target, read_only })
    }

    /// Parses `--tmpfs TARGET[:size=…,mode=…,ro]`.
    ///
    /// # Errors
    /// [`MountError`]; mount options without an effect here (`noexec`, `nosuid`, `nodev`, `exec`) are
    /// refused except `nosuid` and `nodev`, which always hold.
    pub fn parse_tmpfs(text: &str) -> Result<Self, MountError> {
        let fail = |reason: String| MountError::Form { text: text.to_owned(), reason };
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        let (mut size, mut mode, mut read_only) = (None, None, false);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("size", value)) => {
                    size = Some(value.parse().map_err(|e: crate::QuantityError| fail(e.to_string()))?)
                }
                Some(("mode", value)) => {
                    mode = Some(
                        u32::from_str_radix(value, 8)
                            .ok()
                            .filter(|mode| *mode <= 0o7777)
                            .ok_or_else(|| fail(format!("mode {value:?} is not octal")))?,
                    )
                }
                None if option == "ro" => read_only = true,
                None if matches!(option, "rw" | "nosuid" | "nodev") => {}
                _ => return Err(fail(format!("unknown or unsupported option {option:?}"))),
            }
        }
        Ok(Self { source: MountSource::Tmpfs { size, mode }, target: AbsPath::new(target)?, read_only })
    }
}

impl MountSource {
    fn host_or_volume(source: &str, cwd: &Path) -> Result<Self, MountError> {
        if source == "." || source.starts_with('/') || source.starts_with("./") || source.starts_with("../") {
            return Self::host(source, cwd);
        }
        Self::volume(source)
    }

    /// `..` at the front is taken off against the working directory, which the user owns; inside the
    /// path it is refused.
    fn host(source: &str, cwd: &Path) -> Result<Self, MountError> {
        let (mut base, mut rest) = (cwd, source);
        while let Some(shorter) = rest.strip_prefix("..").filter(|r| r.is_empty() || r.starts_with('/')) {
            base = base.parent().unwrap_or(base);
            rest = shorter.trim_start_matches('/');
        }
        AbsPath::new(base.join(rest)).map(Self::Bind)
    }

    fn volume(name: &str) -> Result<Self, MountError> {
        match name.parse::<crate::ContainerName>() {
            Ok(_) => Ok(Self::Volume(name.to_owned())),
            Err(_) => Err(MountError::Form {
                text: name.to_owned(),
                reason: "a volume name is [a-zA-Z0-9][a-zA-Z0-9_.-]+; a host path starts with / or ./".into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let cwd = Path::new("/home/me/project");
        let parsed = match MountRequest::parse_volume(text, cwd) {
            Ok(mount) => {
                let source = match mount.source {
                    MountSource::Bind(path) => path.to_string(),
                    MountSource::Volume(name) => format!("volume {name}"),
                    MountSource::Tmpfs { .. } => "tmpfs".into(),
                };
                format!("{source} -> {}{}", mount.target, if mount.read_only { " ro" } else { "" })
            }
            Err(_) => "error".into(),
        };
        assert_eq!(parsed, expect, "{text}");
    }

    #[test]
    fn volume_arguments() {
        check("/a:/b", "/a -> /b");
        check("/a//x/./y:/b:ro,z", "/a/x/y -> /b ro");
        check("./a:/b", "/home/me/project/a -> /b");
        check("../a:/b", "/home/me/a -> /b");
        check(".:/b:rw", "/home/me/project -> /b");
        check("data:/b", "volume data -> /b");
        check("a/b:/b", "error");
        check("/a:b", "error");
        check("/a:/b/../../etc", "error");
        check("/a/../b:/c", "error");
        check("/a:/b:nocopy", "error");
        check("/a", "error");
        check("/a:/b:ro:x", "error");
    }

    #[test]
    fn mount_arguments() {
        let cwd = Path::new("/w");
        let mount = MountRequest::parse_mount("type=bind,src=x,dst=/y,readonly", cwd).expect("valid");
        assert_eq!(mount.source, MountSource::Bind(AbsPath::new("/w/x").expect("absolute")));
        assert!(mount.read_only);
        for bad in [
            "",
            "type=bind,dst=/y",
            "type=npipe,src=a,dst=/b",
            "type=tmpfs,src=a,dst=/b",
            "type=bind,src=/a,dst=/b,evil=1",
        ] {
            assert!(MountRequest::parse_mount(bad, cwd).is_err(), "{bad}");
        }
        assert!(MountRequest::parse_tmpfs("/tmp:size=64m,mode=1777").is_ok());
        assert!(MountRequest::parse_tmpfs("/tmp:exec").is_err());
    }
}
