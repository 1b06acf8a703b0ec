use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use corral_spec::record::Root;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2, statat};
use rustix::io::Errno;
use rustix::mount::{
    MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount_change,
    move_mount, open_tree, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};

use super::Ground;
use super::child::{IDS, as_root_inside, mapped_namespace};
use super::failure::{Failure, at};
use crate::overlay::Overlay;
use crate::sys::{AttrChange, mount_setattr, open_tree_attr};

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::new(format!("write {}", path.display()), error))
}

fn make(path: PathBuf) -> Result<PathBuf, Failure> {
    fs::create_dir(&path).map_err(|error| Failure::new(format!("make {}", path.display()), error))?;
    Ok(path)
}

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE
    .union(OpenTreeFlags::OPEN_TREE_CLOEXEC)
    .union(OpenTreeFlags::AT_EMPTY_PATH);

fn clone_tree(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(CWD, path, flags, Mode::empty()).map_err(at("open the scratch directory"))?;
    open_tree(&fd, "", CLONE).map_err(at("clone a mount (open_tree)"))
}

fn idmapped(path: &Path, namespace: BorrowedFd<'_>) -> Result<OwnedFd, Failure> {
    let tree = clone_tree(path)?;
    let change = AttrChange { idmap: Some(namespace), ..AttrChange::flags(MountAttrFlags::empty()) };
    mount_setattr(tree.as_fd(), change).map_err(at("map the ids of a mount (MOUNT_ATTR_IDMAP)"))?;
    Ok(tree)
}

/// A clone that refuses writing, while the original takes it.
pub(super) fn detached(ground: &Ground) -> Result<String, Failure> {
    let tree = clone_tree(&ground.scratch)?;
    mount_setattr(tree.as_fd(), AttrChange::flags(MountAttrFlags::MOUNT_ATTR_RDONLY))
        .map_err(at("make a mount read-only (mount_setattr)"))?;
    let create = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    match openat(&tree, "file", create, Mode::RWXU) {
        Err(Errno::ROFS) => {}
        _ => return Err(Failure::no_effect("make a mount read-only (mount_setattr)")),
    }
    write(&ground.scratch.join("file"), "")?;
    Ok("clone and read-only".to_owned())
}

/// A file of ours that appears as the namespace's.
pub(super) fn idmap(ground: &Ground) -> Result<String, Failure> {
    let namespace = mapped_namespace()?;
    write(&ground.scratch.join("file"), "")?;
    let owner = fs::metadata(&ground.scratch).map_err(at("look at the scratch directory"))?.uid();
    let tree = idmapped(&ground.scratch, namespace.as_fd())?;
    let seen =
        statat(&tree, "file", rustix::fs::AtFlags::empty()).map_err(at("look through the mapped mount"))?;
    if seen.st_uid != IDS.host + owner {
        return Err(Failure::no_effect("map the ids of a mount (MOUNT_ATTR_IDMAP)"));
    }
    Ok(format!("uid {owner} appears as {}", seen.st_uid))
}

/// Two lower directories with one file each, and a writable one.
struct Layers {
    user_marks: bool,
    lowers: [PathBuf; 2],
    root: Root,
}

impl Layers {
    fn make(ground: &Ground) -> Result<Self, Failure> {
        let lowers = [make(ground.scratch.join("a"))?, make(ground.scratch.join("b"))?];
        write(&lowers[0].join("top"), "")?;
        write(&lowers[1].join("bottom"), "")?;
        make(lowers[0].join("dir"))?;
        let writable = make(ground.scratch.join("writable"))?;
        make(writable.join("upper"))?;
        make(writable.join("work"))?;
        let root = Root { lowers: lowers.to_vec(), writable, volatile: true, read_only: false };
        Ok(Self { user_marks: ground.shared.is_some(), lowers, root })
    }

    fn upper(&self) -> PathBuf {
        self.root.writable.join("upper")
    }

    /// The overlay as containers get it, in whichever way this kernel has.
    fn mount(&self, namespace: Option<BorrowedFd<'_>>) -> Result<OwnedFd, Failure> {
        let lowers = self.lowers.each_ref().map(|lower| match namespace {
            Some(namespace) => idmapped(lower, namespace),
            None => clone_tree(lower),
        });
        let lowers = lowers.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(Overlay::of(&self.root, lowers, MountAttrFlags::empty(), self.user_marks)?.join()?)
    }
}

fn look(overlay: &OwnedFd, name: &'static str) -> Result<u32, Failure> {
    let stat = statat(overlay, name, rustix::fs::AtFlags::empty());
    stat.map(|stat| stat.st_uid).map_err(at("see a layer's file in the overlay"))
}

/// Reads both layers and writes into the upper one.
pub(super) fn overlay(ground: &Ground) -> Result<String, Failure> {
    let layers = Layers::make(ground)?;
    let overlay = layers.mount(None)?;
    look(&overlay, "top")?;
    look(&overlay, "bottom")?;
    let create = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    openat(&overlay, "dir/new", create, Mode::RWXU).map_err(at("write into the overlay"))?;
    match layers.upper().join("dir/new").exists() {
        true => Ok("two layers and a volatile one above".to_owned()),
        false => Err(Failure::no_effect("write into the overlay")),
    }
}

/// The same over layers whose owners are shifted.
pub(super) fn overlay_over_idmap(ground: &Ground) -> Result<String, Failure> {
    let namespace = mapped_namespace()?;
    let overlay = Layers::make(ground)?.mount(Some(namespace.as_fd()))?;
    match look(&overlay, "bottom")? {
        uid if uid >= IDS.host => Ok("one store for every user namespace".to_owned()),
        _ => Err(Failure::no_effect("shift the owners of a layer")),
    }
}

/// A detached overlay becomes the root of a process in namespaces of its own.
pub(super) fn root_switch(ground: &Ground) -> Result<String, Failure> {
    let layers = Layers::make(ground)?;
    let overlay = if ground.shared.is_some() {
        layers.mount(None)?
    } else {
        rustix::fs::chown(layers.upper(), Some(rustix::fs::Uid::from_raw(IDS.host)), None)
            .map_err(at("give the writable layer its owner"))?;
        layers.mount(Some(mapped_namespace()?.as_fd()))?
    };
    as_root_inside(libc::CLONE_NEWNS, || {
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
            .map_err(at("make the mount namespace private"))?;
        move_mount(&overlay, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(at("attach a detached mount (move_mount)"))?;
        fchdir(&overlay).map_err(at("enter the new root"))?;
        pivot_root(".", ".").map_err(at("switch the root (pivot_root)"))?;
        unmount(".", UnmountFlags::DETACH).map_err(at("drop the old root"))?;
        chdir("/").map_err(at("enter the new root"))?;
        match Path::new("/bottom").exists() && !Path::new("/proc").exists() {
            true => Ok(()),
            false => Err(Failure::no_effect("switch the root (pivot_root)")),
        }
    })?;
    Ok("nothing of the host is left".to_owned())
}

/// A clone that is born with its id map.
pub(super) fn born_mapped(ground: &Ground) -> Result<String, Failure> {
    let namespace = mapped_namespace()?;
    write(&ground.scratch.join("file"), "")?;
    let fd = openat(CWD, &ground.scratch, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(at("open the scratch directory"))?;
    let change = AttrChange { idmap: Some(namespace.as_fd()), ..AttrChange::flags(MountAttrFlags::empty()) };
    let tree =
        open_tree_attr(fd.as_fd(), change).map_err(at("clone and map in one step (open_tree_attr)"))?;
    let seen =
        statat(&tree, "file", rustix::fs::AtFlags::empty()).map_err(at("look through the mapped mount"))?;
    match seen.st_uid >= IDS.host {
        true => Ok("clone and map in one step".to_owned()),
        false => Err(Failure::no_effect("clone and map in one step (open_tree_attr)")),
    }
}

/// A path that climbs and an absolute link, both held below a directory.
pub(super) fn confined_lookup(ground: &Ground) -> Result<String, Failure> {
    write(&ground.scratch.join("file"), "")?;
    std::os::unix::fs::symlink("/file", ground.scratch.join("link")).map_err(at("make a link"))?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let dir = openat(CWD, &ground.scratch, flags, Mode::empty()).map_err(at("open the scratch directory"))?;
    let find = |path: &str, resolve| openat2(&dir, path, flags, Mode::empty(), resolve);
    find("../../link", ResolveFlags::IN_ROOT).map_err(at("look up below a directory (openat2)"))?;
    match (find("../..", ResolveFlags::BENEATH), find("link", ResolveFlags::NO_SYMLINKS)) {
        (Err(Errno::XDEV), Err(Errno::LOOP)) => Ok("paths stay below a root".to_owned()),
        _ => Err(Failure::no_effect("refuse a path that climbs (openat2)")),
    }
}
