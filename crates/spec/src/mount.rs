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
    /// More about a volume or an image.
    #[serde(default, skip_serializing_if = "SourceOptions::is_default")]
    pub options: SourceOptions,
}

/// How a volume or an image is used in one mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceOptions {
    /// The volume was made for a container and nobody named it: it may go with that container.
    #[serde(default)]
    pub anonymous: bool,
    /// What the image has at the target is not copied into an empty volume.
    #[serde(default)]
    pub no_copy: bool,
    /// Only this directory or file of the source, which links in it cannot leave.
    #[serde(default)]
    pub subpath: Option<AbsPath>,
}

impl SourceOptions {
    /// Whether nothing was asked.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `--volumes-from CONTAINER[:ro|rw]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// Name or id.
    pub container: String,
    /// Whether writing is refused whatever that container may.
    pub read_only: bool,
}

impl std::str::FromStr for VolumesFrom {
    type Err = MountError;

    fn from_str(text: &str) -> Result<Self, MountError> {
        let fail = |reason: &str| MountError::Form { text: text.to_owned(), reason: reason.to_owned() };
        let (container, mode) = text.split_once(':').unwrap_or((text, "rw"));
        let mut read_only = false;
        for option in mode.split(',') {
            match option {
                "ro" => read_only = true,
                "rw" | "z" | "Z" => {}
                _ => return Err(fail("expected CONTAINER[:ro|rw]")),
            }
        }
        if container.is_empty() {
            return Err(fail("expected CONTAINER[:ro|rw]"));
        }
        Ok(Self { container: container.to_owned(), read_only })
    }
}

/// What a [`MountRequest`] mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or directory of the host.
    Bind(AbsPath),
    /// A named volume, created when it does not exist.
    Volume(String),
    /// A new volume, which the engine names.
    Anonymous,
    /// The files of an image, by its name; never writable.
    Image(String),
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
    /// Parses `-v [SOURCE:]TARGET[:OPTIONS]`. A source that starts with `/`, `./`, `../` or is `.` is a
    /// host path, resolved against `cwd`; any other is a volume name; without one it is a new volume. Options:
    /// `ro`, `rw`, `nocopy` (of a volume), `z`, `Z` (accepted: SELinux labels are not used).
    ///
    /// # Errors
    /// [`MountError`] naming the part that is wrong.
    pub fn parse_volume(text: &str, cwd: &Path) -> Result<Self, MountError> {
        let fail = |reason: &str| MountError::Form { text: text.to_owned(), reason: reason.to_owned() };
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, words) = match parts[..] {
            [target] => (None, target, "rw"),
            [source, target] => (Some(source), target, "rw"),
            [source, target, words] => (Some(source), target, words),
            _ => return Err(fail("more than two colons")),
        };
        let source = match source {
            Some(source) => MountSource::host_or_volume(source, cwd)?,
            None => MountSource::Anonymous,
        };
        let (mut read_only, mut options) = (false, SourceOptions::default());
        for word in words.split(',') {
            match word {
                "ro" => read_only = true,
                "nocopy" if matches!(source, MountSource::Volume(_)) => options.no_copy = true,
                "nocopy" => return Err(fail("nocopy is for volumes")),
                // The last three told Docker for the Mac how stale a copy may be.
                "rw" | "z" | "Z" | "private" | "rprivate" | "cached" | "delegated" | "consistent" => {}
                "shared" | "rshared" | "slave" | "rslave" => return Err(fail(PROPAGATION)),
                _ => return Err(fail("known options are ro, rw, nocopy, private, z and Z")),
            }
        }
        Ok(Self { source, target: AbsPath::new(target)?, read_only, options })
    }

    /// Parses `--mount type=bind|volume|tmpfs|image,source=…,target=…[,readonly]`, with `tmpfs-size` and
    /// `tmpfs-mode`, `volume-nocopy` and `volume-subpath`, `image-subpath`.
    ///
    /// # Errors
    /// [`MountError`] naming the part that is wrong; an unknown key is refused.
    pub fn parse_mount(text: &str, cwd: &Path) -> Result<Self, MountError> {
        let fail = |reason: String| MountError::Form { text: text.to_owned(), reason };
        let mut fields = Fields { kind: "volume", ..Fields::default() };
        for field in text.split(',') {
            let (key, value) = field.split_once('=').unwrap_or((field, "true"));
            fields.take(key, value).map_err(fail)?;
        }
        let target = AbsPath::new(fields.target.ok_or_else(|| fail("target is missing".into()))?)?;
        fields.judge().map_err(fail)?;
        let source = match (fields.kind, fields.source) {
            ("tmpfs", None) => MountSource::Tmpfs { size: fields.size, mode: fields.mode },
            ("tmpfs", Some(_)) => return Err(fail("a tmpfs has no source".into())),
            ("bind", Some(source)) => MountSource::Bind(AbsPath::new(cwd.join(source))?),
            ("volume", Some(source)) => MountSource::volume(source)?,
            ("volume", None) => MountSource::Anonymous,
            ("image", Some(source)) => MountSource::Image(source.to_owned()),
            ("bind" | "image", None) => return Err(fail("source is missing".into())),
            (kind, _) => return Err(fail(format!("unknown type {kind:?} (bind, volume, tmpfs, image)"))),
        };
        let options = SourceOptions { anonymous: false, no_copy: fields.no_copy, subpath: fields.subpath };
        let read_only = fields.read_only || fields.kind == "image";
        Ok(Self { source, target, read_only, options })
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
                Some(("mode", value)) => mode = Some(octal(value).map_err(fail)?),
                None if option == "ro" => read_only = true,
                None if matches!(option, "rw" | "nosuid" | "nodev") => {}
                _ => return Err(fail(format!("unknown or unsupported option {option:?}"))),
            }
        }
        Ok(Self {
            source: MountSource::Tmpfs { size, mode },
            target: AbsPath::new(target)?,
            read_only,
            options: SourceOptions::default(),
        })
    }
}

/// Why propagation is private.
const PROPAGATION: &str = "mounts do not pass between host and container: only private is there, and what is mounted later is not seen";

/// The words of one `--mount`.
#[derive(Default)]
struct Fields<'t> {
    kind: &'t str,
    source: Option<&'t str>,
    target: Option<&'t str>,
    read_only: bool,
    size: Option<ByteSize>,
    mode: Option<u32>,
    no_copy: bool,
    subpath: Option<AbsPath>,
    /// The type that a key was for.
    meant: Vec<(&'static str, String)>,
}

impl<'t> Fields<'t> {
    fn take(&mut self, key: &'t str, value: &'t str) -> Result<(), String> {
        let flag = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(format!("{key} is true or false, not {value:?}")),
        };
        if let Some((kind, _)) = key.split_once('-') {
            let known = ["bind", "tmpfs", "volume", "image"].into_iter().find(|known| *known == kind);
            self.meant.extend(known.map(|known| (known, key.to_owned())));
        }
        match key {
            "type" => self.kind = value,
            "source" | "src" => self.source = Some(value),
            "target" | "dst" | "destination" => self.target = Some(value),
            "readonly" | "ro" => self.read_only = flag()?,
            "tmpfs-size" => {
                self.size = Some(value.parse().map_err(|error: crate::QuantityError| error.to_string())?);
            }
            "tmpfs-mode" => self.mode = Some(octal(value)?),
            "volume-nocopy" => self.no_copy = flag()?,
            "bind-propagation" if matches!(value, "private" | "rprivate") => {}
            "bind-propagation" => return Err(PROPAGATION.into()),
            "bind-recursive" if matches!(value, "enabled" | "readonly") => {}
            "bind-nonrecursive" if !flag()? => {}
            "bind-recursive" | "bind-nonrecursive" => {
                return Err("what is mounted below comes along, as read-only as the rest".into());
            }
            "consistency" => {}
            "volume-driver" if value == "local" => {}
            "volume-driver" => return Err(format!("there is no volume driver {value:?}, only local")),
            "volume-subpath" | "image-subpath" => {
                let path = AbsPath::new(Path::new("/").join(value));
                self.subpath =
                    Some(path.map_err(|_| format!("{key} is a path below the source without .."))?);
            }
            _ => return Err(format!("unknown or unsupported key {key:?}")),
        }
        Ok(())
    }

    /// Keys of one type do not go with another.
    fn judge(&self) -> Result<(), String> {
        match self.meant.iter().find(|(kind, _)| *kind != self.kind) {
            Some((kind, key)) => Err(format!("{key} needs type={kind}")),
            None => Ok(()),
        }
    }
}

fn octal(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| format!("mode {text:?} is not octal"))
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
                    MountSource::Anonymous => "new".into(),
                    MountSource::Tmpfs { .. } | MountSource::Image(_) => "no volume".into(),
                };
                let no_copy = if mount.options.no_copy { " nocopy" } else { "" };
                format!("{source} -> {}{}{no_copy}", mount.target, if mount.read_only { " ro" } else { "" })
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
        check("data:/b:nocopy,ro", "volume data -> /b ro nocopy");
        check("/a:/b:rprivate,ro", "/a -> /b ro");
        check("/a:/b:rshared", "error");
        check("/a", "new -> /a");
        check("a", "error");
        check("/a:/b:ro:x", "error");
    }

    #[test]
    fn volumes_of_another_container() {
        let check = |text: &str, expect: Option<(&str, bool)>| {
            let parsed = text.parse::<VolumesFrom>().ok();
            let got = parsed.as_ref().map(|from| (from.container.as_str(), from.read_only));
            assert_eq!(got, expect, "{text}");
        };
        check("db", Some(("db", false)));
        check("db:ro", Some(("db", true)));
        check("db:rw,z", Some(("db", false)));
        check(":ro", None);
        check("db:x", None);
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
            "type=bind,src=/a,dst=/b,volume-nocopy",
            "type=bind,src=/a,dst=/b,bind-propagation=rslave",
            "type=bind,src=/a,dst=/b,bind-nonrecursive",
            "type=bind,src=/a,dst=/b,bind-recursive=writable",
            "type=tmpfs,dst=/b,bind-propagation=private",
            "type=volume,src=a,dst=/b,image-subpath=x",
            "type=volume,src=a,dst=/b,volume-subpath=../x",
            "type=volume,src=aa,dst=/b,volume-driver=nfs",
            "type=image,dst=/b",
        ] {
            assert!(MountRequest::parse_mount(bad, cwd).is_err(), "{bad}");
        }
        let same =
            "type=bind,src=/a,dst=/b,bind-propagation=rprivate,bind-recursive=readonly,consistency=cached";
        assert!(MountRequest::parse_mount(same, cwd).is_ok());
        let mount = MountRequest::parse_mount("type=image,source=a/b:c,target=/y,image-subpath=usr/lib", cwd);
        let mount = mount.expect("valid");
        assert_eq!((mount.source, mount.read_only), (MountSource::Image("a/b:c".into()), true));
        assert_eq!(mount.options.subpath.map(|path| path.to_string()).as_deref(), Some("/usr/lib"));
        let mount = MountRequest::parse_mount("target=/y", cwd).expect("valid");
        assert_eq!(mount.source, MountSource::Anonymous);
        assert!(MountRequest::parse_tmpfs("/tmp:size=64m,mode=1777").is_ok());
        assert!(MountRequest::parse_tmpfs("/tmp:exec").is_err());
    }
}
