//! mounts of config.json: options as mount(8) spells them.

use std::path::Path;

use corral_runtime::bundle::{Mount, MountIds, Source};

use crate::Error;
use crate::config;
use crate::plan::{MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE, lines, path};

const MS_RDONLY: u64 = 1;
const ATTR_NOATIME: u64 = 0x10;
const ATTR_STRICTATIME: u64 = 0x20;
/// MOUNT_ATTR__ATIME: the field that noatime and strictatime are values of.
const ATTR_ATIME: u64 = 0x70;

/// Name, whether it sets or clears, MS_*, MOUNT_ATTR_*.
const FLAGS: [(&str, bool, u64, u64); 21] = [
    ("ro", true, MS_RDONLY, 1),
    ("rw", false, MS_RDONLY, 1),
    ("nosuid", true, 2, 2),
    ("suid", false, 2, 2),
    ("nodev", true, 4, 4),
    ("dev", false, 4, 4),
    ("noexec", true, 8, 8),
    ("exec", false, 8, 8),
    ("nodiratime", true, 1 << 11, 0x80),
    ("diratime", false, 1 << 11, 0x80),
    ("nosymfollow", true, 1 << 8, 0x20_0000),
    ("symfollow", false, 1 << 8, 0x20_0000),
    ("sync", true, 16, 0),
    ("async", false, 16, 0),
    ("dirsync", true, 128, 0),
    ("mand", true, 64, 0),
    ("nomand", false, 64, 0),
    ("silent", true, 1 << 15, 0),
    ("loud", false, 1 << 15, 0),
    ("iversion", true, 1 << 23, 0),
    ("noiversion", false, 1 << 23, 0),
];

/// Name, MS_*, MOUNT_ATTR_*: values of one field.
const ATIMES: [(&str, u64, u64); 6] = [
    ("noatime", 1 << 10, ATTR_NOATIME),
    ("relatime", 1 << 21, 0),
    ("strictatime", 1 << 24, ATTR_STRICTATIME),
    ("atime", 0, 0),
    ("norelatime", 0, ATTR_STRICTATIME),
    ("nostrictatime", 0, 0),
];

const PROPAGATIONS: [(&str, u64); 4] =
    [("private", MS_PRIVATE), ("shared", MS_SHARED), ("slave", MS_SLAVE), ("unbindable", MS_UNBINDABLE)];

/// What the options of one mount come to.
#[derive(Default)]
struct Options {
    flags: u64,
    attr: (u64, u64),
    recursive_attr: (u64, u64),
    propagation: Vec<(u64, bool)>,
    bind: Option<bool>,
    idmap: Option<bool>,
    data: Vec<String>,
}

/// All mounts, in order; the source of a bind mount is absolute or relative to the bundle.
pub(crate) fn of(mounts: &[config::Mount], bundle: &Path) -> Result<Vec<Mount>, Error> {
    mounts.iter().map(|mount| one(mount, bundle)).collect()
}

fn one(mount: &config::Mount, bundle: &Path) -> Result<Mount, Error> {
    let fail = |reason: String| Error::Invalid(format!("mount at {}: {reason}", mount.destination));
    let mut options = Options::default();
    for option in &mount.options {
        options.take(option).map_err(&fail)?;
    }
    // Early writers of configurations had relative ones.
    let target = path(&format!("/{}", mount.destination.trim_start_matches('/')))?;
    if target.as_path() == Path::new("/") {
        return Err(fail("it would hide the root".to_owned()));
    }
    let own_ids = !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty();
    if own_ids && (mount.uid_mappings.is_empty() || mount.gid_mappings.is_empty()) {
        return Err(fail("uidMappings and gidMappings come together".to_owned()));
    }
    let source = match (options.bind, mount.kind.as_str()) {
        (Some(recursive), _) => {
            // Options that only a file system knows are no error: mount(2) ignores them for a bind mount.
            if mount.source.is_empty() {
                return Err(fail("a bind mount needs a source".to_owned()));
            }
            let recursive_ids = options.idmap.unwrap_or(false);
            let ids = if own_ids {
                let (uids, gids) = (lines(&mount.uid_mappings), lines(&mount.gid_mappings));
                MountIds::Own { recursive: recursive_ids, uids, gids }
            } else if options.idmap.is_some() {
                MountIds::Container { recursive: recursive_ids }
            } else {
                MountIds::Plain
            };
            Source::Bind { path: bundle.join(&mount.source), recursive, attr: options.attr, ids }
        }
        (None, _) if own_ids || options.idmap.is_some() => {
            return Err(fail("only bind mounts can be id-mapped".to_owned()));
        }
        (None, "bind") => return Err(fail("type bind needs the option bind or rbind".to_owned())),
        (None, "") => return Err(fail("it has neither a type nor the option bind".to_owned())),
        (None, "cgroup") => Source::Cgroup { flags: options.flags },
        (None, fstype) => Source::Fs {
            fstype: fstype.to_owned(),
            source: if mount.source.is_empty() { fstype.to_owned() } else { mount.source.clone() },
            flags: options.flags,
            data: options.data.join(","),
        },
    };
    Ok(Mount { target, source, propagation: options.propagation, recursive: options.recursive_attr })
}

impl Options {
    fn take(&mut self, option: &str) -> Result<(), String> {
        let (plain, recursive) = match option.strip_prefix('r') {
            Some(rest) if !matches!(option, "ro" | "rw" | "relatime") => (rest, true),
            _ => (option, false),
        };
        match option {
            "defaults" => return Ok(()),
            "bind" => self.bind = self.bind.or(Some(false)),
            "rbind" => self.bind = Some(true),
            "idmap" => self.idmap = Some(false),
            "ridmap" => self.idmap = Some(true),
            "remount" | "tmpcopyup" | "copy-symlink" | "src-nofollow" | "dest-nofollow" => {
                return Err(format!("the option {option:?} is not supported"));
            }
            _ => {
                if let Some(&(_, kind)) = PROPAGATIONS.iter().find(|(name, _)| *name == plain) {
                    self.propagation.push((kind, recursive));
                } else if !self.flag(plain, recursive)? {
                    self.data.push(option.to_owned());
                }
            }
        }
        Ok(())
    }

    /// Whether it is one of the flags that every mount has.
    fn flag(&mut self, name: &str, recursive: bool) -> Result<bool, String> {
        let change = |(set, clear): &mut (u64, u64), on: bool, bit: u64| {
            *set &= !bit;
            *clear &= !bit;
            *(if on { set } else { clear }) |= bit;
        };
        if let Some(&(_, on, ms, attr)) = FLAGS.iter().find(|(known, ..)| *known == name) {
            match (recursive, attr) {
                (true, 0) => return Err(format!("the option \"r{name}\" does not exist")),
                (true, attr) => change(&mut self.recursive_attr, on, attr),
                (false, attr) => {
                    change(&mut self.attr, on, attr);
                    self.flags = if on { self.flags | ms } else { self.flags & !ms };
                }
            }
            return Ok(true);
        }
        let Some(&(_, ms, attr)) = ATIMES.iter().find(|(known, ..)| *known == name) else { return Ok(false) };
        let field = if recursive { &mut self.recursive_attr } else { &mut self.attr };
        field.0 = field.0 & !ATTR_ATIME | attr;
        field.1 |= ATTR_ATIME;
        if !recursive {
            self.flags |= ms;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &str) -> Options {
        let mut options = Options::default();
        for word in words.split(',') {
            options.take(word).unwrap();
        }
        options
    }

    #[test]
    fn options_as_mount_spells_them() {
        let found = options("rbind,ro,nosuid,rprivate,noatime");
        assert_eq!((found.bind, found.attr.0), (Some(true), 1 | 2 | ATTR_NOATIME));
        assert_eq!(found.attr.1, ATTR_ATIME);
        assert_eq!(found.propagation, [(MS_PRIVATE, true)]);
        assert_eq!(options("ro,rw").flags, 0);
        assert_eq!(options("ro,rw").attr, (0, 1));
        assert_eq!(options("rro").recursive_attr, (1, 0));
        assert_eq!(options("rnoexec,ridmap").recursive_attr, (8, 0));
        assert_eq!(options("relatime,mode=755,size=64k").data, ["mode=755", "size=64k"]);
        assert_eq!(options("slave").propagation, [(MS_SLAVE, false)]);
        for bad in ["remount", "tmpcopyup", "rsync"] {
            assert!(Options::default().take(bad).is_err(), "{bad}");
        }
    }
}
