use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsmount, fsopen,
};
use rustix::net::{AddressFamily, SocketAddrV4, SocketFlags, SocketType, bind, socket_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, getpid, getuid, pidfd_send_signal, waitid};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;

use corral_spec::record::IdMap;

use super::Ground;
use super::child::{as_root_inside, ids, in_child};
use super::failure::{Failure, at};
use crate::sys::{Forked, exit, fork, loopback_up};

/// A user namespace in which 65,536 ids are mapped, the host's root not among them.
pub(super) fn user_namespace(_: &Ground) -> Result<String, Failure> {
    as_root_inside(0, || match getuid().as_raw() {
        0 => Ok(()),
        _ => Err(Failure::no_effect("be user 0 of the new namespace")),
    })?;
    let IdMap { host, count } = ids();
    Ok(if count == 1 { "one more inside it".to_owned() } else { format!("{count} ids mapped at {host}") })
}

const NAMESPACES: [(&str, libc::c_int); 6] = [
    ("mount", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("network", libc::CLONE_NEWNET),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("cgroup", libc::CLONE_NEWCGROUP),
];

/// All others at once; if that is refused, which one it is.
pub(super) fn other_namespaces(_: &Ground) -> Result<String, Failure> {
    let all = NAMESPACES.iter().fold(0, |flags, (_, flag)| flags | flag);
    let first = || match getpid().as_raw_nonzero().get() {
        1 => Ok(()),
        _ => Err(Failure::no_effect("be process 1 of the new pid namespace")),
    };
    let Err(together) = as_root_inside(all, first) else {
        return Ok("mount, pid, network, ipc, uts, cgroup".to_owned());
    };
    for (name, flag) in NAMESPACES {
        if let Err(alone) = as_root_inside(flag, || Ok(())) {
            return Err(alone.of(format!("{name} namespace")));
        }
    }
    Err(together)
}

/// A process by descriptor: signalled and waited for without its number.
pub(super) fn pidfd(_: &Ground) -> Result<String, Failure> {
    match fork(0, None).map_err(at("create a process with a descriptor (CLONE_PIDFD)"))? {
        Forked::Child => {
            // Ends by the signal; by itself if it never comes.
            std::thread::sleep(std::time::Duration::from_secs(5));
            exit(0)
        }
        Forked::Parent { pidfd, .. } => {
            let signalled = pidfd_send_signal(&pidfd, Signal::KILL);
            let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
                .map_err(at("wait by descriptor"))?;
            signalled.map_err(at("signal by descriptor"))?;
            match status.and_then(|status| status.terminating_signal()) {
                Some(9) => Ok("signal and wait by descriptor".to_owned()),
                _ => Err(Failure::no_effect("kill by descriptor")),
            }
        }
    }
}

fn mount_detached(fs: &str, option: Option<&str>) -> Result<(), Failure> {
    let fail = |errno: rustix::io::Errno| Failure::new(format!("mount {fs} in a user namespace"), errno);
    let context = fsopen(fs, FsOpenFlags::FSOPEN_CLOEXEC).map_err(fail)?;
    if let Some(option) = option {
        fsconfig_set_flag(&context, option).map_err(fail)?;
    }
    fsconfig_create(&context).map_err(fail)?;
    let attr = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attr).map(drop).map_err(fail)
}

/// procfs: refused where a part of the caller's own /proc is masked, as in most containers.
pub(super) fn procfs(_: &Ground) -> Result<String, Failure> {
    as_root_inside(libc::CLONE_NEWNS | libc::CLONE_NEWPID, || mount_detached("proc", None))?;
    Ok("a procfs of its own".to_owned())
}

/// sysfs: likewise.
pub(super) fn sysfs(_: &Ground) -> Result<String, Failure> {
    as_root_inside(libc::CLONE_NEWNS | libc::CLONE_NEWNET, || mount_detached("sysfs", None))?;
    Ok("a sysfs of its own".to_owned())
}

/// The file systems of /dev and /dev/shm.
pub(super) fn private_filesystems(_: &Ground) -> Result<String, Failure> {
    as_root_inside(libc::CLONE_NEWNS | libc::CLONE_NEWIPC, || {
        mount_detached("tmpfs", None)?;
        mount_detached("devpts", Some("newinstance"))?;
        mount_detached("mqueue", None)
    })?;
    Ok("tmpfs, devpts, mqueue".to_owned())
}

/// 127.0.0.1 of a fresh network namespace, by listening on it.
pub(super) fn loopback(_: &Ground) -> Result<String, Failure> {
    as_root_inside(libc::CLONE_NEWNET, || {
        let stream = || socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let server = stream().map_err(at("make a socket"))?;
        loopback_up(server.as_fd()).map_err(at("bring the loopback up"))?;
        bind(&server, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).map_err(at("bind 127.0.0.1"))?;
        rustix::net::listen(&server, 1).map_err(at("listen on 127.0.0.1"))?;
        let address = rustix::net::getsockname(&server).map_err(at("ask for the port"))?;
        rustix::net::connect(&stream().map_err(at("make a socket"))?, &address)
            .map_err(at("connect to 127.0.0.1"))
    })?;
    Ok("127.0.0.1 is up".to_owned())
}

/// Without privilege gained over exec.
pub(super) fn no_new_privileges(_: &Ground) -> Result<String, Failure> {
    in_child(
        0,
        |_| Ok(()),
        || {
            rustix::thread::set_no_new_privs(true).map_err(at("set no_new_privs"))?;
            match rustix::thread::no_new_privs().map_err(at("read no_new_privs"))? {
                true => Ok(()),
                false => Err(Failure::no_effect("set no_new_privs")),
            }
        },
    )?;
    Ok("setuid programs gain nothing".to_owned())
}
