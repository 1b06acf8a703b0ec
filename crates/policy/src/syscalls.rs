//! Which system calls a profile allows.
//!
//! An allow list. What the kernel has and the list lacks fails with EPERM; what is newer than the list
//! fails with ENOSYS, as on an older kernel, so that libc falls back; entry through a 32-bit ABI kills.
//!
//! The denied that matter, and why: namespaces and mounts (`unshare` and `clone` with namespace flags,
//! `setns`, `mount`, `fsopen`, `open_tree`, `move_mount`, `pivot_root`, `umount2`, …) are where most kernel
//! privilege escalations start; `bpf`, `perf_event_open`, `io_uring_*`, `userfaultfd`, `keyctl`,
//! `add_key` and `request_key` are large, shared, and often broken; `kexec_*`, `*_module`, `reboot`,
//! `iopl`, `swapon`, `settimeofday`, `syslog`, `quotactl`, `open_by_handle_at` act on the host itself. A
//! capability reopens only what [`GATED`] lists for it.

use std::borrow::Cow;

use corral_spec::seccomp::{ArgTest, SyscallAction, SyscallCase, SyscallFilter, SyscallRule};

use crate::{Capability, CapabilitySet};

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;
const EPROTONOSUPPORT: u16 = 93;
const EAFNOSUPPORT: u16 = 97;

const DENY: SyscallAction = SyscallAction::Errno(EPERM);

/// Allowed in every profile, without conditions; sorted.
#[rustfmt::skip]
const ALLOWED: &[&str] = &[
    "accept", "accept4", "access", "alarm", "arch_prctl", "bind", "brk", "cachestat", "capget", "capset",
    "chdir", "chmod", "chown", "clock_getres", "clock_gettime", "clock_nanosleep", "close", "close_range",
    "connect", "copy_file_range", "creat", "dup", "dup2", "dup3", "epoll_create", "epoll_create1",
    "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2", "execve", "execveat",
    "exit", "exit_group", "faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod",
    "fchmodat", "fchmodat2", "fchown", "fchownat", "fcntl", "fdatasync", "fgetxattr", "file_getattr",
    "file_setattr", "flistxattr", "flock", "fork", "fremovexattr", "fsetxattr", "fstat", "fstatfs", "fsync",
    "ftruncate", "futex", "futex_requeue", "futex_wait", "futex_waitv", "futex_wake", "futimesat",
    "get_robust_list", "getcpu", "getcwd", "getdents", "getdents64", "getegid", "geteuid", "getgid",
    "getgroups", "getitimer", "getpeername", "getpgid", "getpgrp", "getpid", "getppid", "getpriority",
    "getrandom", "getresgid", "getresuid", "getrlimit", "getrusage", "getsid", "getsockname", "getsockopt",
    "gettid", "gettimeofday", "getuid", "getxattr", "getxattrat", "inotify_add_watch", "inotify_init",
    "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents",
    "io_setup", "io_submit", "ioprio_get", "ioprio_set", "kill", "landlock_add_rule",
    "landlock_create_ruleset", "landlock_restrict_self", "lchown", "lgetxattr", "link", "linkat", "listen",
    "listxattr", "listxattrat", "llistxattr", "lremovexattr", "lseek", "lsetxattr", "lstat", "madvise",
    "map_shadow_stack", "membarrier", "memfd_create", "mincore", "mkdir", "mkdirat", "mlock", "mlock2",
    "mlockall", "mmap", "mprotect", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive",
    "mq_timedsend", "mq_unlink", "mremap", "mseal", "msgctl", "msgget", "msgrcv", "msgsnd", "msync",
    "munlock", "munlockall", "munmap", "nanosleep", "newfstatat", "open", "openat", "openat2", "pause",
    "pidfd_open", "pidfd_send_signal", "pipe", "pipe2", "pkey_alloc", "pkey_free", "pkey_mprotect", "poll",
    "ppoll", "prctl", "pread64", "preadv", "preadv2", "prlimit64", "process_mrelease", "process_vm_readv",
    "process_vm_writev", "pselect6", "ptrace", "pwrite64", "pwritev", "pwritev2", "read", "readahead",
    "readlink", "readlinkat", "readv", "recvfrom", "recvmmsg", "recvmsg", "removexattr", "removexattrat",
    "rename", "renameat", "renameat2", "restart_syscall", "rmdir", "rseq", "rt_sigaction", "rt_sigpending",
    "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
    "rt_tgsigqueueinfo", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity",
    "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity",
    "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "select", "semctl",
    "semget", "semop", "semtimedop", "sendfile", "sendmmsg", "sendmsg", "sendto", "set_robust_list",
    "set_tid_address", "setfsgid", "setfsuid", "setgid", "setgroups", "setitimer", "setpgid", "setpriority",
    "setregid", "setresgid", "setresuid", "setreuid", "setrlimit", "setsid", "setsockopt", "setuid",
    "setxattr", "setxattrat", "shmat", "shmctl", "shmdt", "shmget", "shutdown", "sigaltstack", "signalfd",
    "signalfd4", "splice", "stat", "statfs", "statx", "symlink", "symlinkat", "sync", "sync_file_range",
    "syncfs", "sysinfo", "tee", "tgkill", "time", "timer_create", "timer_delete", "timer_getoverrun",
    "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime", "timerfd_settime", "times",
    "tkill", "truncate", "umask", "uname", "unlink", "unlinkat", "uretprobe", "utime", "utimensat",
    "utimes", "vfork", "wait4", "waitid", "write", "writev",
];

/// What `standard` and `build` allow beyond [`ALLOWED`] and an agent does without: clock reading by
/// `adjtimex`, segment tables (16-bit Wine), file handles, mount listings, pages hidden from the kernel,
/// page gifting into pipes, non-linear mappings.
const STANDARD: &[&str] = &[
    "adjtimex",
    "clock_adjtime",
    "listmount",
    "memfd_secret",
    "modify_ldt",
    "name_to_handle_at",
    "remap_file_pages",
    "statmount",
    "vmsplice",
];

/// What a capability reopens, for it is of no use without.
const GATED: &[(Capability, &[&str])] = &[
    (Capability::SYS_CHROOT, &["chroot"]),
    (Capability::SYS_PTRACE, &["kcmp", "pidfd_getfd", "process_madvise"]),
    (
        Capability::SYS_NICE,
        &[
            "get_mempolicy",
            "mbind",
            "migrate_pages",
            "move_pages",
            "set_mempolicy",
            "set_mempolicy_home_node",
        ],
    ),
    (
        Capability::SYS_ADMIN,
        &[
            "clone",
            "clone3",
            "fanotify_init",
            "fanotify_mark",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "open_tree_attr",
            "pivot_root",
            "setdomainname",
            "sethostname",
            "setns",
            "umount2",
            "unshare",
        ],
    ),
    (Capability::MKNOD, &["mknod", "mknodat"]),
];

/// The filter of a profile for a process with these capabilities in its bounding set.
pub(crate) fn filter(agent: bool, capabilities: CapabilitySet) -> SyscallFilter {
    let mut rules: Vec<SyscallRule> = Vec::with_capacity(ALLOWED.len() + 40);
    rules.extend(ALLOWED.iter().map(|name| allow(name)));
    if !agent {
        rules.extend(STANDARD.iter().map(|name| allow(name)));
    }
    let mut open: Vec<&str> = Vec::new();
    for (capability, names) in GATED {
        if capabilities.contains(*capability) {
            open.extend(*names);
        }
    }
    rules.extend(open.iter().map(|name| allow(name)));
    rules.extend(process_rules().into_iter().filter(|rule| !open.contains(&rule.name.as_ref())));
    rules.push(socket(agent, capabilities));
    rules.push(rule("socketpair", vec![case(&[family(AF_UNIX)])], SyscallAction::Errno(EAFNOSUPPORT)));
    SyscallFilter {
        rules,
        unlisted: DENY,
        unknown: SyscallAction::Errno(ENOSYS),
        foreign: SyscallAction::KillProcess,
    }
}

fn allow(name: &'static str) -> SyscallRule {
    rule(name, Vec::new(), SyscallAction::Allow)
}

fn rule(name: &'static str, cases: Vec<SyscallCase>, otherwise: SyscallAction) -> SyscallRule {
    SyscallRule { name: Cow::Borrowed(name), cases, otherwise }
}

fn case(tests: &[ArgTest]) -> SyscallCase {
    SyscallCase { tests: tests.to_vec(), action: SyscallAction::Allow }
}

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET (linux/sched.h).
const NAMESPACES: u32 = 0x7e02_0000;
/// CLONE_NEWTIME: only for unshare and clone3, in clone the low byte is the exit signal.
const NEWTIME: u32 = 0x80;

/// Rules with conditions that hold in every profile.
fn process_rules() -> Vec<SyscallRule> {
    // PER_LINUX with any of PER_LINUX32, UNAME26 and ADDR_NO_RANDOMIZE (gdb's first act on its child).
    const PERSONALITY: u32 = 0x0008 | 0x2_0000 | 0x4_0000;
    const QUERY: u32 = 0xffff_ffff;
    vec![
        rule("clone", vec![case(&[ArgTest::bits(0, NAMESPACES, 0)])], DENY),
        // Its flags are behind a pointer, out of a filter's sight: libc falls back to clone.
        rule("clone3", Vec::new(), SyscallAction::Errno(ENOSYS)),
        rule("unshare", vec![case(&[ArgTest::bits(0, NAMESPACES | NEWTIME, 0)])], DENY),
        rule(
            "personality",
            vec![case(&[ArgTest::bits(0, !PERSONALITY, 0)]), case(&[ArgTest::int(0, QUERY)])],
            DENY,
        ),
        // Typing into the caller's terminal (TIOCSTI, TIOCLINUX), loading a line discipline (TIOCSETD).
        rule(
            "ioctl",
            [0x5412, 0x541c, 0x5423]
                .map(|request| SyscallCase { tests: vec![ArgTest::int(1, request)], action: DENY })
                .to_vec(),
            SyscallAction::Allow,
        ),
        rule("mknod", plain_files(1), DENY),
        rule("mknodat", plain_files(2), DENY),
    ]
}

/// Fifos, sockets and regular files. Not the 0:0 character device, which needs no capability and is
/// how an overlay writes "deleted" into a shared directory.
fn plain_files(index: u8) -> Vec<SyscallCase> {
    const TYPE: u32 = 0o170_000;
    [0o010_000, 0o140_000, 0o100_000, 0]
        .into_iter()
        .map(|kind| case(&[ArgTest::bits(index, TYPE, kind)]))
        .collect()
}

const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_NETLINK: u32 = 16;
const AF_PACKET: u32 = 17;

const fn family(family: u32) -> ArgTest {
    ArgTest::int(0, family)
}

/// AF_INET (2) and AF_INET6 (10) differ in one bit.
const INET: ArgTest = ArgTest::bits(0, !8, AF_INET);

/// The low four bits of the type; the rest are SOCK_NONBLOCK and SOCK_CLOEXEC.
const fn of_type(kind: u32) -> ArgTest {
    ArgTest::bits(1, 0xf, kind)
}

const fn protocol(number: u32) -> ArgTest {
    ArgTest::int(2, number)
}

/// socket(2) by family, type and protocol, because one AF_INET opens SCTP, DCCP, L2TP and MPTCP too, and a
/// request for one loads its module. The errors are a kernel's that lacks them: libaudit (useradd, su) and
/// Go's MPTCP probe go on after EPROTONOSUPPORT and give up after EPERM.
fn socket(agent: bool, capabilities: CapabilitySet) -> SyscallRule {
    const STREAM: ArgTest = of_type(1);
    const DATAGRAM: ArgTest = of_type(2);
    const RAW: ArgTest = of_type(3);
    const NETLINK: ArgTest = family(AF_NETLINK);
    const TCP: ArgTest = protocol(6);
    const UDP: ArgTest = protocol(17);
    const DEFAULT: ArgTest = protocol(0);
    let answer =
        |tests: &[ArgTest], errno| SyscallCase { tests: tests.to_vec(), action: SyscallAction::Errno(errno) };
    let mut cases = vec![
        case(&[family(AF_UNIX)]),
        case(&[INET, STREAM, DEFAULT]),
        case(&[INET, STREAM, TCP]),
        case(&[INET, DATAGRAM, DEFAULT]),
        case(&[INET, DATAGRAM, UDP]),
        // NETLINK_ROUTE: getifaddrs and getaddrinfo.
        case(&[NETLINK, DEFAULT]),
    ];
    if !agent {
        // Ping sockets: ICMP and ICMPv6.
        cases.push(case(&[INET, DATAGRAM, protocol(1)]));
        cases.push(case(&[INET, DATAGRAM, protocol(58)]));
    }
    if capabilities.contains(Capability::NET_RAW) {
        cases.push(case(&[INET, RAW]));
        cases.push(case(&[family(AF_PACKET)]));
    }
    if capabilities.contains(Capability::NET_ADMIN) {
        // NETLINK_NETFILTER and NETLINK_GENERIC; NETLINK_XFRM stays closed.
        cases.push(case(&[NETLINK, protocol(12)]));
        cases.push(case(&[NETLINK, protocol(16)]));
    }
    cases.push(answer(&[INET, RAW], EPERM));
    cases.push(answer(&[INET], EPROTONOSUPPORT));
    cases.push(answer(&[NETLINK], EPROTONOSUPPORT));
    rule("socket", cases, SyscallAction::Errno(EAFNOSUPPORT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confinement;
    use corral_spec::ProfileName;

    /// What the filter says, by naive reading of the rules.
    fn answer(filter: &SyscallFilter, name: &str, args: &[u64]) -> SyscallAction {
        let Some(rule) = filter.rules.iter().find(|rule| rule.name == name) else { return filter.unlisted };
        let holds = |test: &ArgTest| args[usize::from(test.index)] & test.mask == test.value;
        rule.cases.iter().find(|case| case.tests.iter().all(holds)).map_or(rule.otherwise, |case| case.action)
    }

    fn check(profile: ProfileName, added: &[&str], call: (&str, &[u64]), expect: &str) {
        let profile = confinement(profile);
        let added: Vec<String> = added.iter().map(|name| (*name).to_owned()).collect();
        let capabilities = profile.capabilities.adjust(&added, &[]).expect("known");
        let said = match answer(&profile.syscalls(capabilities), call.0, call.1) {
            SyscallAction::Allow => "allow".to_owned(),
            SyscallAction::Errno(errno) => errno.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(said, expect, "{:?} +{added:?} {call:?}", profile.name);
    }

    #[test]
    fn every_name_has_one_rule() {
        for profile in [ProfileName::Standard, ProfileName::Build, ProfileName::Agent] {
            for capabilities in [confinement(profile).capabilities, CapabilitySet::ALL] {
                let rules = confinement(profile).syscalls(capabilities).rules;
                let mut names: Vec<_> = rules.iter().map(|rule| rule.name.clone()).collect();
                names.sort_unstable();
                let all = names.len();
                names.dedup();
                assert_eq!(names.len(), all);
            }
        }
        assert!(ALLOWED.is_sorted() && STANDARD.is_sorted());
    }

    #[test]
    fn kernel_attacks_are_denied_in_every_profile() {
        let zero = [0; 6];
        for profile in [ProfileName::Standard, ProfileName::Build, ProfileName::Agent] {
            for name in [
                "setns",
                "mount",
                "fsopen",
                "fsconfig",
                "fsmount",
                "fspick",
                "open_tree",
                "open_tree_attr",
                "move_mount",
                "mount_setattr",
                "pivot_root",
                "umount2",
                "bpf",
                "perf_event_open",
                "io_uring_setup",
                "io_uring_enter",
                "io_uring_register",
                "userfaultfd",
                "keyctl",
                "add_key",
                "request_key",
                "kexec_load",
                "kexec_file_load",
                "init_module",
                "finit_module",
                "delete_module",
                "reboot",
                "settimeofday",
                "clock_settime",
                "swapon",
                "swapoff",
                "iopl",
                "ioperm",
                "syslog",
                "quotactl",
                "quotactl_fd",
                "open_by_handle_at",
                "acct",
                "sethostname",
                "fanotify_init",
                "lookup_dcookie",
                "vhangup",
                "kcmp",
                "mbind",
            ] {
                check(profile, &[], (name, &zero), "1");
            }
            for flag in [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]
            {
                check(profile, &[], ("unshare", &[flag]), "1");
                check(profile, &[], ("clone", &[flag | 17]), "1");
                check(profile, &[], ("clone", &[flag | 0xdead_0000_0000_0000]), "1");
            }
            check(profile, &[], ("unshare", &[0x80]), "1");
            check(profile, &[], ("unshare", &[0x400]), "allow");
            check(profile, &[], ("clone", &[0x003d_0f00]), "allow");
            check(profile, &[], ("clone3", &zero), "38");
            for request in [0x5412, 0x541c, 0x5423, 0xffff_ffff_0000_5412] {
                check(profile, &[], ("ioctl", &[0, request]), "1");
            }
            check(profile, &[], ("ioctl", &[0, 0x5401]), "allow");
            check(profile, &[], ("personality", &[0x40_0000]), "1");
            check(profile, &[], ("personality", &[0x4_0000]), "allow");
            check(profile, &[], ("personality", &[0xffff_ffff]), "allow");
            check(profile, &[], ("mknodat", &[0, 0, 0o020_666]), "1");
            check(profile, &[], ("mknodat", &[0, 0, 0o010_600]), "allow");
            check(profile, &[], ("ptrace", &zero), "allow");
        }
    }

    #[test]
    fn sockets_by_family_type_and_protocol() {
        use ProfileName::{Agent, Standard};
        let cloexec = 0x8_0800;
        for profile in [Standard, Agent] {
            for allowed in [[1, 5, 0], [2, 1, 0], [2, 1 | cloexec, 6], [10, 2, 17], [10, 2, 0], [16, 3, 0]] {
                check(profile, &[], ("socket", &allowed), "allow");
            }
            // ALG, RXRPC, VSOCK, PACKET, KEY, BLUETOOTH, CAN, TIPC, XDP, SMC
            for family in [38, 33, 40, 17, 15, 31, 29, 30, 44, 43] {
                check(profile, &[], ("socket", &[family, 3, 0]), "97");
                check(profile, &[], ("socketpair", &[family, 1, 0]), "97");
            }
            // netlink XFRM, AUDIT, NETFILTER, UEVENT, GENERIC
            for protocol in [6, 9, 12, 15, 16] {
                check(profile, &[], ("socket", &[16, 3, protocol]), "93");
            }
            // raw; SCTP, MPTCP, UDPLITE; DCCP and SCTP by type alone
            check(profile, &[], ("socket", &[2, 3, 1]), "1");
            for other in [[2, 1, 132], [2, 1, 262], [10, 2, 136], [2, 6, 0], [2, 5, 0]] {
                check(profile, &[], ("socket", &other), "93");
            }
        }
        check(Standard, &[], ("socket", &[2, 2, 1]), "allow");
        check(Agent, &[], ("socket", &[2, 2, 1]), "93");
    }

    #[test]
    fn a_capability_reopens_only_its_own() {
        use ProfileName::{Agent, Standard};
        check(Standard, &[], ("chroot", &[]), "allow");
        check(Agent, &[], ("chroot", &[]), "1");
        check(Standard, &["SYS_ADMIN"], ("mount", &[]), "allow");
        check(Standard, &["SYS_ADMIN"], ("unshare", &[0x1000_0000]), "allow");
        check(Standard, &["SYS_ADMIN"], ("bpf", &[]), "1");
        check(Standard, &["SYS_ADMIN"], ("io_uring_setup", &[]), "1");
        check(Standard, &["ALL"], ("init_module", &[]), "1");
        check(Standard, &["NET_RAW"], ("socket", &[17, 3, 0]), "allow");
        check(Standard, &["NET_RAW"], ("socket", &[2, 3, 255]), "allow");
        check(Standard, &["NET_ADMIN"], ("socket", &[16, 3, 12]), "allow");
        check(Standard, &["NET_ADMIN"], ("socket", &[16, 3, 6]), "93");
        check(Standard, &["MKNOD"], ("mknod", &[0, 0o020_666]), "allow");
        check(Agent, &[], ("modify_ldt", &[]), "1");
        check(Standard, &[], ("modify_ldt", &[]), "allow");
    }
}
