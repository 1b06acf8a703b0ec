//! The table of what is tried, and what it means when it fails.

use super::failure::Failure;
use super::{Ground, cgroups, confine, disk, mounts, namespaces, user};

/// One question about the host.
pub(super) struct Trial {
    /// What is tried.
    pub(super) name: &'static str,
    /// Whether no container starts without it.
    pub(super) needed: bool,
    /// Whose containers it concerns.
    pub(super) whose: Whose,
    /// Does it, and says what was seen.
    pub(super) run: fn(&Ground) -> Result<String, Failure>,
    /// What does not work without it.
    pub(super) cost: &'static str,
    /// The first Linux that has it.
    since: &'static str,
    /// How to get it where the kernel has it and refuses.
    refused: &'static str,
}

/// Whose containers a trial concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    All,
    Root,
    /// Of ordinary users, in the namespace that they share.
    User,
    /// All, and ordinary users can do without, by `--cgroups disabled`.
    Groups,
}

use Whose::{All, Groups, Root, User};

impl Trial {
    /// Whether it is tried at all.
    pub(super) fn concerns(&self, is_user: bool) -> bool {
        match self.whose {
            All | Groups => true,
            Root => !is_user,
            User => is_user,
        }
    }

    /// Whether no container starts without it, and what does not work.
    pub(super) fn weight(&self, is_user: bool) -> (bool, &'static str) {
        match (self.whose, is_user) {
            (Groups, true) => (false, WITHOUT_GROUPS),
            _ => (self.needed, self.cost),
        }
    }
}

const OWN_GROUP: &str = "start corral in a group that is yours: systemd-run --user --scope -p Delegate=yes corral …; without systemd, \
     as docs/rootless.md says";
const WITHOUT_GROUPS: &str = "what it bounds is refused: containers start with --cgroups disabled, a weaker mode, or CORRAL_CGROUPS=disabled";
const NO_CONTAINER: &str = "no container can be started";
const OUTER: &str =
    "run corral as root, outside of any container, or allow it in the outer container's seccomp profile";
const USERNS: &str = "run corral as root; check sysctl user.max_user_namespaces (not 0), kernel.unprivileged_userns_clone \
     (1 where it exists), kernel.apparmor_restrict_unprivileged_userns (0), and an outer container's seccomp profile";
const STORE: &str =
    "keep the store on ext4, xfs, btrfs, or from Linux 6.3 on tmpfs (--root DIR), and run corral as root";
const SWITCH: &str = "run corral as root, outside of any container; a host that runs from its initial RAM disk must go on to \
     a root of its own (switch_root)";
const GROUPS: &str = "mount cgroup2 at /sys/fs/cgroup (or the v1 controller), run corral as root, and give it a group of \
     its own: systemd-run --scope -p Delegate=yes corral …";
const VISIBLE: &str = "run corral outside of any container, or unmask /proc and /sys of the outer one \
     (docker: --security-opt systempaths=unconfined; podman: --security-opt unmask=ALL)";

#[rustfmt::skip]
pub(super) const TRIALS: &[Trial] = &[
    Trial { name: "user namespace", needed: true, whose: All, run: namespaces::user_namespace, since: "3.8",
        cost: "no container can be started but by --userns host, a weaker mode", refused: USERNS },
    Trial { name: "other namespaces", needed: true, whose: All, run: namespaces::other_namespaces, since: "5.3",
        cost: NO_CONTAINER, refused: USERNS },
    Trial { name: "process descriptors", needed: true, whose: All, run: namespaces::pidfd, since: "5.4",
        cost: NO_CONTAINER, refused: OUTER },
    Trial { name: "loopback", needed: true, whose: All, run: namespaces::loopback, since: "3.8",
        cost: "servers in a container without network do not find 127.0.0.1", refused: USERNS },
    Trial { name: "procfs inside", needed: true, whose: All, run: namespaces::procfs, since: "3.8",
        cost: NO_CONTAINER, refused: VISIBLE },
    Trial { name: "sysfs inside", needed: true, whose: All, run: namespaces::sysfs, since: "3.8",
        cost: NO_CONTAINER, refused: VISIBLE },
    Trial { name: "tmpfs, devpts, mqueue inside", needed: true, whose: All, run: namespaces::private_filesystems, since: "4.7",
        cost: "no terminal, no /dev/shm, no message queues: no container can be started", refused: USERNS },
    Trial { name: "detached mounts", needed: true, whose: All, run: mounts::detached, since: "5.12",
        cost: NO_CONTAINER, refused: OUTER },
    Trial { name: "overlay of layers", needed: true, whose: All, run: mounts::overlay, since: "5.10",
        cost: NO_CONTAINER, refused: STORE },
    Trial { name: "id-mapped mounts", needed: true, whose: Root, run: mounts::idmap, since: "5.12",
        cost: "no container can be started but by --userns host, a weaker mode", refused: STORE },
    Trial { name: "overlay over id-mapped layers", needed: true, whose: Root, run: mounts::overlay_over_idmap, since: "5.19",
        cost: "no container can be started but by --userns host, a weaker mode", refused: STORE },
    Trial { name: "root switch", needed: true, whose: All, run: mounts::root_switch, since: "5.2",
        cost: NO_CONTAINER, refused: SWITCH },
    Trial { name: "confined look-up (openat2)", needed: true, whose: All, run: mounts::confined_lookup, since: "5.6",
        cost: NO_CONTAINER, refused: OUTER },
    Trial { name: "control groups", needed: true, whose: Groups, run: cgroups::hierarchy, since: "4.5",
        cost: NO_CONTAINER, refused: GROUPS },
    Trial { name: "memory limit", needed: true, whose: Groups, run: cgroups::memory, since: "4.5",
        cost: "agents, and -m, are refused", refused: GROUPS },
    Trial { name: "cpu limit", needed: true, whose: Groups, run: cgroups::cpu, since: "4.15",
        cost: "agents, and --cpus, are refused", refused: GROUPS },
    Trial { name: "pids limit", needed: true, whose: Groups, run: cgroups::pids, since: "4.5",
        cost: NO_CONTAINER, refused: GROUPS },
    Trial { name: "birth in a control group", needed: false, whose: Groups, run: cgroups::placement, since: "5.7",
        cost: "containers are stopped process by process (only cgroup v1 is there)", refused: GROUPS },
    Trial { name: "freezer", needed: false, whose: Groups, run: cgroups::freeze, since: "5.2",
        cost: "a container is paused by the v1 freezer, if there is one", refused: GROUPS },
    Trial { name: "no_new_privs", needed: true, whose: All, run: namespaces::no_new_privileges, since: "3.5",
        cost: NO_CONTAINER, refused: OUTER },
    Trial { name: "seccomp filter", needed: true, whose: All, run: confine::seccomp, since: "4.14",
        cost: NO_CONTAINER, refused: "a kernel with CONFIG_SECCOMP_FILTER; an outer sandbox may forbid nested filters" },
    Trial { name: "Landlock scopes", needed: false, whose: All, run: confine::landlock, since: "6.12",
        cost: "nothing yet: it is to keep containers with --network host from the host's abstract sockets",
        refused: "a kernel with CONFIG_SECURITY_LANDLOCK, and landlock in the lsm= boot parameter" },
    Trial { name: "project quotas", needed: false, whose: Root, run: disk::project_quota, since: "5.14",
        cost: "bounds on disk are watched by the container's monitor, and a writer is ended a moment late",
        refused: "keep the store on ext4 made with -O quota,project, or on XFS, mounted with prjquota (--root DIR)" },
    Trial { name: "open_tree_attr", needed: false, whose: Root, run: mounts::born_mapped, since: "6.15",
        cost: "nothing yet: it is to map a directory that is id-mapped already, in nested containers", refused: OUTER },
    Trial { name: "sealed memory files", needed: false, whose: All, run: confine::memfd, since: "3.17",
        cost: "nothing yet", refused: OUTER },
    Trial { name: "marks of deletion", needed: true, whose: User, run: user::marks, since: "5.11",
        cost: NO_CONTAINER, refused: USERNS },
    Trial { name: "subordinate ids", needed: false, whose: User, run: user::subordinate_ids, since: "3.8",
        cost: "containers have one user id only, and images with files of others are refused",
        refused: "what is said above" },
    Trial { name: "user-mode network (pasta)", needed: false, whose: User, run: user::pasta, since: "3.8",
        cost: "nothing yet: containers have no network or the host's",
        refused: "the package passt (Debian: sudo apt-get install passt)" },
    Trial { name: "separation by uid", needed: false, whose: User, run: user::separation, since: "3.8",
        cost: "rootless containers are not separated from each other by uid, only by their namespaces: what breaks out of \
               one has your files and those of your other containers",
        refused: "run corral as root: there each container has ids of its own" },
];

impl Trial {
    /// How to get what failed.
    pub(super) fn remedy(&self, failure: &Failure, is_user: bool) -> String {
        match failure.errno() {
            _ if is_user && self.whose == Groups => OWN_GROUP.to_owned(),
            Some(libc::ENOSYS | libc::EINVAL | libc::ENODEV) if is_older(&release(), self.since) => {
                format!("Linux {} or newer (this is {})", self.since, release())
            }
            Some(libc::ENODEV) => {
                format!("a kernel built with it, or its module loaded (this is {})", release())
            }
            Some(libc::ENOSPC) if self.refused == USERNS => {
                "sysctl -w user.max_user_namespaces=15000; and look for more than 32 nested user namespaces"
                    .to_owned()
            }
            Some(libc::ENOSPC | libc::EDQUOT) => "make room on the store's file system".to_owned(),
            Some(libc::EROFS) => {
                "the store is on a read-only file system: choose another with --root DIR".to_owned()
            }
            Some(libc::EPERM | libc::EACCES) if !rustix::process::geteuid().is_root() => {
                "run corral as root".to_owned()
            }
            _ => self.refused.to_owned(),
        }
    }
}

fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Whether a release such as `6.1.0-25-amd64` comes before `major.minor`. Only for advice: what works is
/// found by trying.
fn is_older(release: &str, since: &str) -> bool {
    let number = |text: &str| {
        let mut parts =
            text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    };
    number(release) < number(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_by_number() {
        for (release, since, older) in [
            ("6.1.0-25-amd64", "6.13", true),
            ("6.13.0", "6.13", false),
            ("6.18.44-fc", "6.9", false),
            ("5.15.167.4-microsoft-standard-WSL2", "5.19", true),
            ("4.18", "5.2", true),
        ] {
            assert_eq!(is_older(release, since), older, "{release} {since}");
        }
    }
}
