//! The child's share of the mounts: what belongs to its namespaces, and the assembly.
//!
//! ```text
//! /  (copy of the host's tree, private)
//! └─ overlay root, attached on top of it
//!    ├─ mounts of the launch, in order      proc, sysfs, devpts, mqueue, cgroup2, tmpfs, binds
//!    ├─ devices, links, /dev/console
//!    ├─ read-only paths, then masks         a mask always lies on top
//!    └─ pivot_root(".", "."), old tree detached, root read-only if asked
//! ```
//!
//! Where something goes is looked up once, and used by descriptor. What belongs on top of something is attached
//! after everything is cut off from the host: a mount on top of a shared mount would appear there too.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use corral_spec::AbsPath;
use corral_spec::record::{IdMap, Launch, Mount, MountKind};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};
use rustix::process::{fchdir, pivot_root};

use crate::Error;
use crate::detached::{Detached, Share};
use crate::sys::{AttrChange, keep_open, mount_setattr};
use crate::tree::{LastParent, Point, Tree};

/// Makes nothing that happens in this namespace reach another one, and the reverse.
pub(crate) fn cut_propagation() -> Result<(), Error> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(|errno| Error::inside("make the mount namespace private", errno))
}

/// Attaches the root and every mount, device and link of the launch. Gives the /dev/null that covers files.
pub(crate) fn attach_all<'d>(share: Share<'_>, detached: &'d Detached) -> Result<Cover<'d>, Error> {
    let launch = share.launch;
    move_mount(&detached.root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(|errno| Error::inside("attach the root file system", errno))?;
    let tree = Tree(detached.root.as_fd());
    let mut made_by_parent = detached.mounts.iter();
    let mut dev = None;
    let mut files = None;
    let mut place = Place::default();
    let mut cover = detached.null.as_ref().map(|null| Cover { null: null.as_fd(), attached: false });
    for (index, mount) in launch.mounts.iter().enumerate() {
        if share.has(index, mount) {
            let source =
                made_by_parent.next().ok_or_else(|| Error::Launch("a mount is missing".to_owned()))?;
            attach_from_host(tree, mount, source.as_fd())?;
            if share.is_dev(index) {
                dev = Some(source.as_fd());
                // At once: the user may mount something on top of it.
                cover = cover.map_or_else(|| null_in(source.as_fd()).map(Some), |cover| Ok(Some(cover)))?;
            }
        } else if let MountKind::File { text } = &mount.kind {
            let made = files.map_or_else(|| make_files_dir(tree, dev), Ok)?;
            files = Some(made);
            attach_file(tree, made, mount, text)?;
        } else {
            mount_kernel_fs(tree, dev, (mount, launch.ids), &mut place)?;
        }
    }
    let mut parent = LastParent::at(dev.map(|dev| (Path::new("dev"), dev)));
    for (device, node) in share.bound_devices().zip(&detached.devices) {
        let target = parent.file(tree, device.target)?;
        attach(node.as_fd(), target)
            .map_err(|errno| fail_at("bind the device", device.target)(errno.into()))?;
    }
    launch.links.iter().try_for_each(|(path, target)| parent.link(tree, path, target))?;
    cut_off(launch, detached.root.as_fd())?;
    cover.ok_or_else(|| Error::Launch("nothing is there to cover files with".to_owned()))
}

/// The container's own files lie beside its devices, in memory whose size is bounded, and are bound from there,
/// because a file alone cannot be mounted. Only root inside sees the directory.
const FILES: &str = ".corral";

/// Makes one of them, in a directory for them that is attached somewhere.
pub(crate) fn attach_file(
    tree: Tree<'_>,
    files: BorrowedFd<'_>,
    mount: &Mount,
    text: &str,
) -> Result<(), Error> {
    let name = mount.target.relative().as_os_str().to_string_lossy().replace('/', "-");
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let make = || -> io::Result<BorrowedFd<'static>> {
        let file = openat(files, &name, flags, Mode::from_raw_mode(0o644))?;
        let file = keep_open(file);
        if !text.is_empty() {
            rustix::io::write(file, text.as_bytes())?;
        }
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let file = keep_open(open_tree(files, &name, clone)?);
        if mount.read_only {
            mount_setattr(file, AttrChange::flags(MountAttrFlags::MOUNT_ATTR_RDONLY))?;
        }
        Ok(file)
    };
    let file = make().map_err(fail_at("make", &mount.target))?;
    attach_at(tree, mount, file, || Ok(Point::File))
}

/// A place to make them where no /dev is: memory on top of the host's /sys, as this process alone sees it. On top of
/// the root itself, it would be what [`pivot`] unmounts, in place of the host's tree.
pub(crate) fn memory_for_files() -> Result<OwnedFd, Error> {
    let make = || {
        let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&fs)?;
        let memory = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NOSUID)?;
        move_mount(&memory, "", CWD, "/sys", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        Ok(memory)
    };
    make().map_err(|errno: Errno| Error::inside("make room for the container's own files", errno))
}

/// Where the files are made.
fn make_files_dir(tree: Tree<'_>, dev: Option<BorrowedFd<'_>>) -> Result<BorrowedFd<'static>, Error> {
    let make = || {
        let dev = dev.map_or_else(|| tree.find_unlinked(Path::new("dev")), Ok)?;
        mkdirat(dev, FILES, Mode::RWXU)?;
        openat(dev, FILES, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).map(keep_open)
    };
    make().map_err(|errno| Error::inside("make room for the container's own files", errno))
}

/// The node that was made in the container's /dev.
fn null_in(dev: BorrowedFd<'_>) -> Result<Cover<'static>, Error> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dev, "null", flags, Mode::empty())
        .map(|null| Cover { null: keep_open(null), attached: true })
        .map_err(|errno| Error::inside("find the container's /dev/null", errno))
}

/// What covers masked files: a /dev/null that is nobody's but ours.
#[derive(Clone, Copy)]
pub(crate) struct Cover<'fd> {
    null: BorrowedFd<'fd>,
    /// Whether it is attached somewhere: only then most kernels clone it.
    attached: bool,
}

/// A clone of a shared mount is shared: nothing may be mounted on top before this. And no mount of the tree
/// lets a setuid bit or a file capability count where the process could not use it anyway.
fn cut_off(launch: &Launch, root: BorrowedFd<'_>) -> Result<(), Error> {
    let mut flags = MountAttrFlags::empty();
    flags.set(MountAttrFlags::MOUNT_ATTR_NOSUID, launch.confinement.no_new_privileges);
    let change = AttrChange { private: true, recursive: true, ..AttrChange::flags(flags) };
    mount_setattr(root, change).map_err(|error| Error::inside("cut the mounts off from the host's", error))
}

/// The container's own devpts, if the launch mounts one.
pub(crate) fn devpts(launch: &Launch, root: BorrowedFd<'_>) -> Result<Option<BorrowedFd<'static>>, Error> {
    let Some(mount) = launch.mounts.iter().find(|mount| matches!(mount.kind, MountKind::Devpts)) else {
        return Ok(None);
    };
    let found = Tree(root).find_unlinked(mount.target.relative());
    found.map(Some).map_err(|errno| fail_at("find", &mount.target)(errno.into()))
}

/// Covers and write-protects what the launch says.
pub(crate) fn restrict(launch: &Launch, root: BorrowedFd<'_>, cover: Cover<'_>) -> Result<(), Error> {
    let tree = Tree(root);
    for path in &launch.readonly_paths {
        if let Some(target) = find_existing(tree, path)? {
            make_read_only(target).map_err(|error| fail_at("write-protect", path)(error))?;
        }
    }
    let mut masks = Masks { cover, empty: None };
    for path in &launch.masked_paths {
        if let Some(target) = find_existing(tree, path)? {
            masks.cover(tree, path, target).map_err(|error| fail_at("mask", path)(error))?;
        }
    }
    Ok(())
}

/// Makes the overlay the root of this process and drops the host's tree. The working directory is to be entered yet.
pub(crate) fn pivot(launch: &Launch, root: BorrowedFd<'_>) -> Result<(), Error> {
    if launch.root.read_only {
        mount_setattr(root, AttrChange::flags(MountAttrFlags::MOUNT_ATTR_RDONLY))
            .map_err(|error| Error::inside("make the root read-only", error))?;
    }
    fchdir(root)
        .and_then(|()| pivot_root(".", "."))
        .and_then(|()| unmount(".", UnmountFlags::DETACH))
        .map_err(|errno| Error::inside("pivot into the container's root", errno))
}

/// Attaches a device node that was made here (/dev/console).
pub(crate) fn bind_node(root: BorrowedFd<'_>, node: BorrowedFd<'_>, path: &AbsPath) -> Result<(), Error> {
    let target = Tree(root).find_or_make(path, Point::File)?.fd;
    clone(node)
        .and_then(|tree| attach(tree, target))
        .map_err(|errno| fail_at("bind the terminal to", path)(errno.into()))
}

fn fail_at(act: &'static str, path: &AbsPath) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::inside(format!("{act} {path} in the container"), error)
}

/// move_mount(2) from descriptor to descriptor.
fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", target, "", flags)
}

/// A detached copy of what is at the descriptor, with what is mounted below.
fn clone(fd: BorrowedFd<'_>) -> Result<BorrowedFd<'static>, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(fd, "", flags).map(keep_open)
}

pub(crate) fn attach_from_host(tree: Tree<'_>, mount: &Mount, source: BorrowedFd<'_>) -> Result<(), Error> {
    attach_at(tree, mount, source, || match FileType::from_raw_mode(fstat(source)?.st_mode) {
        FileType::Directory => Ok(Point::Directory),
        _ => Ok(Point::File),
    })
}

/// `point` says what the source is, where nothing is yet to attach it to.
fn attach_at(
    tree: Tree<'_>,
    mount: &Mount,
    source: BorrowedFd<'_>,
    point: impl FnOnce() -> Result<Point, Errno>,
) -> Result<(), Error> {
    if mount.target.as_path() == Path::new("/") {
        return Err(Error::Launch("a mount cannot replace the container's root".to_owned()));
    }
    let fail = |errno: Errno| fail_at("bind", &mount.target)(errno.into());
    let found = tree.find_or(&mount.target, || tree.make_missing(&mount.target, point()?)).map_err(fail)?;
    if !found.made && matches!(mount.kind, MountKind::Bind { .. } | MountKind::Layers { .. }) {
        not_the_kernels(&mount.target, found.fd)?;
    }
    attach(source, found.fd).map_err(fail)
}

/// A mount is judged by the path that was asked for. A link of the image leads it elsewhere, though not onto what the
/// kernel shows, where it would hide or stand in for that.
fn not_the_kernels(asked: &AbsPath, found: BorrowedFd<'_>) -> Result<(), Error> {
    /// linux/magic.h: proc, sysfs, devpts.
    const KERNELS: [i64; 3] = [0x9fa0, 0x6265_6572, 0x1cd1];
    if ["/proc", "/sys", "/dev"].iter().any(|own| asked.as_path().starts_with(own)) {
        return Ok(());
    }
    let kind = rustix::fs::fstatfs(found).map_err(|errno| fail_at("look at", asked)(errno.into()))?.f_type;
    if KERNELS.contains(&kind) {
        return Err(Error::Launch(format!(
            "{asked} leads onto a file system of the kernel, by a symbolic link of the image: nothing is mounted there"
        )));
    }
    Ok(())
}

/// Where proc, sysfs and the like go: a link in the image must not decide that (CVE-2019-19921).
fn kernel_mount_point(tree: Tree<'_>, target: &AbsPath) -> Result<BorrowedFd<'static>, Error> {
    let found = match tree.find_or_make_unlinked(target) {
        // More than the last component is missing.
        Err(Errno::NOENT) => {
            tree.find_or_make(target, Point::Directory)?;
            tree.find_unlinked(target.relative())
        }
        found => found,
    };
    found.map_err(|errno| match errno {
        Errno::LOOP => Error::Launch(format!(
            "the image has a symbolic link at or above {target}; it must be a directory"
        )),
        errno => fail_at("prepare", target)(errno.into()),
    })
}

/// A file system of this process's own namespaces. mount(2) with the working directory as its target takes
/// three calls where fsopen takes six to ten, and is as safe: the directory is entered by descriptor. `dev` is the
/// container's own /dev, where the image has nothing.
fn mount_kernel_fs(
    tree: Tree<'_>,
    dev: Option<BorrowedFd<'_>>,
    (mount, ids): (&Mount, Option<IdMap>),
    place: &mut Place,
) -> Result<(), Error> {
    let (fs, options) = match &mount.kind {
        MountKind::Proc => ("proc", String::new()),
        MountKind::Sysfs => ("sysfs", String::new()),
        MountKind::Mqueue => ("mqueue", String::new()),
        MountKind::Cgroup2 => ("cgroup2", String::new()),
        // The group tty has no id where only the user has one.
        MountKind::Devpts if ids.is_some_and(|ids| ids.count <= 5) => {
            ("devpts", "newinstance,ptmxmode=0666,mode=0620".to_owned())
        }
        MountKind::Devpts => ("devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5".to_owned()),
        MountKind::Tmpfs { size, mode, owner } => {
            let size = size.map_or_else(String::new, |bytes| format!(",size={bytes}"));
            let owner = owner.map_or_else(String::new, |(uid, gid)| format!(",uid={uid},gid={gid}"));
            ("tmpfs", format!("mode={mode:o}{size}{owner}"))
        }
        MountKind::Bind { .. } | MountKind::Layers { .. } | MountKind::File { .. } => {
            return Err(Error::Launch(format!("{} is not a file system", mount.target)));
        }
    };
    let mut flags = MountFlags::NOSUID;
    // Terminals are devices.
    flags.set(MountFlags::NODEV, !matches!(mount.kind, MountKind::Devpts));
    flags.set(MountFlags::RDONLY, mount.read_only);
    flags.set(MountFlags::NOEXEC, mount.no_exec);
    let (dir, name) = match dev.and_then(|dev| new_in(dev, &mount.target)) {
        Some(place) => place,
        None if matches!(mount.kind, MountKind::Tmpfs { .. }) => {
            let found = tree.find_or_make(&mount.target, Point::Directory)?;
            if !found.made {
                not_the_kernels(&mount.target, found.fd)?;
            }
            (found.fd, Path::new("."))
        }
        None => (kernel_mount_point(tree, &mount.target)?, Path::new(".")),
    };
    place
        .mount(dir, name, (fs, &options), flags)
        .map_err(|errno| fail_at("mount", &mount.target)(errno.into()))
}

/// A new directory right in /dev: made a moment ago by us, it is what its name says.
fn new_in<'f>(dev: BorrowedFd<'f>, target: &'f AbsPath) -> Option<(BorrowedFd<'f>, &'f Path)> {
    let name = target.as_path().strip_prefix("/dev").ok()?;
    let only = name.components().count() == 1;
    (only && mkdirat(dev, name, Mode::from_raw_mode(0o755)).is_ok()).then_some((dev, name))
}

/// The working directory, which several mounts in a row have in common.
#[derive(Default)]
struct Place(Option<RawFd>);

impl Place {
    fn mount(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &Path,
        (fs, options): (&str, &str),
        flags: MountFlags,
    ) -> Result<(), Errno> {
        let options = CString::new(options).map_err(|_| Errno::INVAL)?;
        // No descriptor that was ever a working directory here is closed before the program starts.
        if self.0 != Some(dir.as_raw_fd()) {
            fchdir(dir)?;
            self.0 = Some(dir.as_raw_fd());
        }
        rustix::mount::mount(fs, name, fs, flags, options.as_c_str())
    }
}

/// A path to restrict, none where there is nothing of that name.
fn find_existing(tree: Tree<'_>, path: &AbsPath) -> Result<Option<BorrowedFd<'static>>, Error> {
    match tree.find(path.relative()) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(fail_at("find", path)(errno.into())),
    }
}

fn make_read_only(target: BorrowedFd<'_>) -> io::Result<()> {
    let tree = clone(target)?;
    let change = AttrChange { recursive: true, ..AttrChange::flags(MountAttrFlags::MOUNT_ATTR_RDONLY) };
    mount_setattr(tree, change)?;
    Ok(attach(tree, target)?)
}

/// The two things that cover: /dev/null, and one empty directory.
struct Masks<'fd> {
    cover: Cover<'fd>,
    empty: Option<BorrowedFd<'static>>,
}

impl Masks<'_> {
    fn cover(&mut self, tree: Tree<'_>, path: &AbsPath, target: BorrowedFd<'static>) -> io::Result<()> {
        if FileType::from_raw_mode(fstat(target)?.st_mode) != FileType::Directory {
            let Cover { null, attached } = self.cover;
            self.cover.attached = true;
            return Ok(attach(if attached { clone(null)? } else { null }, target)?);
        }
        if let Some(empty) = self.empty {
            return Ok(attach(clone(empty)?, target)?);
        }
        let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        Place::default().mount(target, Path::new("."), ("tmpfs", "mode=0555"), flags)?;
        // The descriptor still means what is covered.
        self.empty = Some(tree.find(path.relative())?);
        Ok(())
    }
}
