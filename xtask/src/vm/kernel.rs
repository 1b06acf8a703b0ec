//! A distribution's kernel, through the host's own apt, and which of its modules the machine loads.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{cargo, setup};

/// Debian's package that depends on the newest kernel of its release.
const PACKAGE: &str = "linux-image-amd64";

/// What the machine needs and the kernel keeps in modules. crc32c is not among ext4's dependencies: the crypto
/// layer asks for it by a name that only modprobe(8) resolves; nor is the format of its quotas.
const MODULES: &[&str] = &["virtio_pci", "virtio_blk", "crc32c_generic", "quota_v2", "ext4", "overlay"];

/// An unpacked kernel.
pub struct Kernel {
    /// Its package.
    pub name: String,
    /// What QEMU boots.
    pub image: PathBuf,
    /// Modules in the order in which they load.
    pub modules: Vec<PathBuf>,
}

/// Downloads and unpacks it below `dir`, unless it is there.
pub fn fetch(dir: &Path) -> Result<Kernel> {
    let name = newest()?;
    let unpacked = dir.join(&name);
    if !unpacked.exists() {
        let part = dir.join("kernel.part");
        remove(&part)?;
        fs::create_dir(&part).with_context(|| format!("cannot create {}", part.display()))?;
        // As root apt would download as a user who may not write here.
        let mut download = Command::new("apt-get");
        download.args(["-o", "APT::Sandbox::User=root", "download", &name]).stdout(Stdio::null());
        cargo::run(download.current_dir(&part))?;
        let archive = only_file(&part, |name| name.ends_with(".deb"))?;
        cargo::run(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&part))?;
        fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
        fs::rename(&part, &unpacked).with_context(|| format!("cannot name {}", unpacked.display()))?;
    }
    let image = only_file(&unpacked.join("boot"), |name| name.starts_with("vmlinuz-"))?;
    let modules = load_order(&unpacked.join("lib/modules"))?;
    Ok(Kernel { name, image, modules })
}

/// The package of the newest kernel that apt knows.
fn newest() -> Result<String> {
    if !setup::runs("apt-cache", "--version") {
        bail!("the machine boots Debian's kernel ({PACKAGE}), and there is no apt here to get it");
    }
    let ask = || -> Result<Option<String>> {
        let said = Command::new("apt-cache").args(["depends", PACKAGE]).stderr(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        Ok(said.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).map(str::to_owned))
    };
    if let Some(name) = ask()? {
        return Ok(name);
    }
    if setup::is_root() {
        cargo::run(Command::new("apt-get").arg("update").stdout(Stdio::null()))?;
    }
    ask()?.with_context(|| format!("apt does not know Debian's {PACKAGE}; if this is Debian: apt-get update"))
}

/// [`MODULES`] and what they depend on, dependencies first.
fn load_order(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = BTreeMap::new();
    list(dir, &mut files)?;
    let mut order = Vec::new();
    for name in MODULES {
        add(name, &files, &mut order)?;
    }
    Ok(order)
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, order: &mut Vec<PathBuf>) -> Result<()> {
    let file =
        files.get(&name.replace('-', "_")).with_context(|| format!("the kernel has no module {name}"))?;
    if order.contains(file) {
        return Ok(());
    }
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    for dependency in dependencies(&bytes) {
        add(&dependency, files, order)?;
    }
    order.push(file.clone());
    Ok(())
}

/// What a module says of itself: `depends=a,b` between NULs, in its section `.modinfo`.
fn dependencies(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|window| window == key) else { return Vec::new() };
    let names: Vec<u8> = module[at + key.len()..].iter().copied().take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&names).split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Every module below, by the name that the kernel gives it.
fn list(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            list(&path, files)?;
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ko")) {
            files.insert(name.replace('-', "_"), path.clone());
        }
    }
    Ok(())
}

/// The one file of a directory whose name `fits`.
fn only_file(dir: &Path, fits: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut found = entries.flatten().filter(|entry| fits(&entry.file_name().to_string_lossy()));
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry.path()),
        _ => bail!("{} does not hold one kernel; remove it and try again", dir.display()),
    }
}

/// Removes a tree that may be there.
pub fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_depends_on() {
        let check = |bytes: &[u8], expect: &[&str]| assert_eq!(dependencies(bytes), expect);
        check(
            b"\x7fELF..license=GPL\0depends=jbd2,mbcache,crc16\0retpoline=Y\0",
            &["jbd2", "mbcache", "crc16"],
        );
        check(b"license=GPL\0depends=\0", &[]);
        check(b"softdepends=no\0", &[]);
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let dir = std::env::temp_dir().join(format!("xtask-modules-{}", std::process::id()));
        fs::create_dir_all(dir.join("kernel/fs")).expect("directory");
        for (name, depends) in [
            ("virtio_pci", "virtio_ring,virtio"),
            ("virtio_blk", "virtio,virtio_ring"),
            ("virtio", "virtio-ring"),
            ("virtio-ring", ""),
            ("crc32c_generic", ""),
            ("quota_v2", ""),
            ("ext4", ""),
            ("overlay", ""),
        ] {
            fs::write(dir.join(format!("kernel/fs/{name}.ko")), format!("\0depends={depends}\0"))
                .expect("module");
        }
        let order = load_order(&dir);
        fs::remove_dir_all(&dir).expect("remove");
        let names: Vec<_> = order
            .expect("order")
            .iter()
            .map(|path| path.file_stem().expect("name").to_string_lossy().into_owned())
            .collect();
        assert_eq!(
            names,
            [
                "virtio-ring",
                "virtio",
                "virtio_pci",
                "virtio_blk",
                "crc32c_generic",
                "quota_v2",
                "ext4",
                "overlay"
            ]
        );
    }
}
