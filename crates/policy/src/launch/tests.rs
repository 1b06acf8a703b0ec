use std::path::PathBuf;

use corral_spec::record::{BpfInstruction, Cgroup, Confinement, GENERATION, IdMap, Log, Process, Root};
use corral_spec::{ContainerId, DeviceKind, DeviceNumber, HostDevice, Signal};

use super::*;

fn path(text: &str) -> AbsPath {
    AbsPath::new(text).expect("absolute")
}

/// What `engine::plan` makes of a profile's defaults.
fn launch(profile: ProfileName) -> Launch {
    let profile = confinement(profile);
    let agent = profile.name == ProfileName::Agent;
    Launch {
        generation: GENERATION,
        id: ContainerId::from_random([7; 32]),
        hostname: "box".into(),
        root: Root {
            lowers: vec![PathBuf::from("/layers/a")],
            writable: PathBuf::from("/w"),
            volatile: true,
            read_only: profile.read_only_root,
        },
        mounts: vec![Mount { target: path("/proc"), kind: MountKind::Proc, read_only: false, no_exec: true }],
        devices: profile.devices.iter().map(|device| path(device)).collect(),
        kernel: Default::default(),
        host_devices: Vec::new(),
        links: Vec::new(),
        masked_paths: profile.masked_paths.iter().map(|masked| path(masked)).collect(),
        readonly_paths: profile.readonly_paths.iter().map(|masked| path(masked)).collect(),
        ids: Some(IdMap { host: 1 << 20, count: 1 << 16 }),
        shared: None,
        network: profile.network,
        cgroup: Cgroup {
            memory: profile.limits.memory,
            cpu_millis: profile.limits.cpu_millis,
            pids: Some(profile.limits.pids),
            ..Cgroup::default()
        },
        process: Process {
            argv: vec!["true".into()],
            env: Vec::new(),
            workdir: path("/"),
            uid: if agent { 65532 } else { 0 },
            gid: 0,
            groups: Vec::new(),
            tty: false,
            stdin: false,
            init: false,
            ulimits: Vec::new(),
            oom_score_adj: None,
        },
        confinement: Confinement {
            capabilities: profile.capabilities.numbers(),
            no_new_privileges: true,
            seccomp: Some(vec![BpfInstruction(6, 0, 0, 0)]),
            own_seccomp: false,
            weaker: Vec::new(),
            userns: UserNamespace::Private,
        },
        log: Log { max_size: 0, max_files: 0, ..Log::default() },
        stop_signal: Signal::TERM,
        stop_timeout_ms: 10_000,
        remove: true,
        health: None,
        restart: corral_spec::RestartPolicy::No,
        journal: None,
        disk: Vec::new(),
        warm: None,
    }
}

fn bind(source: &str, target: &str, read_only: bool, ids: BindIds) -> Mount {
    let kind = MountKind::Bind { source: source.into(), ids, subpath: None };
    Mount { target: path(target), kind, read_only, no_exec: false }
}

const OWNER: BindIds = BindIds::Owner { uid: 1000, gid: 1000, to_uid: 65532, to_gid: 65532 };

/// Changes a good launch and expects the rule that then speaks, or "fine".
fn check(profile: ProfileName, expect: &str, change: impl Fn(&mut Launch)) {
    let mut launch = launch(profile);
    change(&mut launch);
    let said = judge_launch(profile, &launch).map_or_else(|denial| denial.rule, |()| "fine".into());
    assert_eq!(said, expect, "{profile:?}");
}

fn grant(launch: &mut Launch, target: &str) {
    launch.cgroup.more.devices_enforced = true;
    launch.host_devices.push(HostDevice {
        source: "/dev/kvm".into(),
        target: path(target),
        kind: DeviceKind::Char,
        number: DeviceNumber { major: 10, minor: 232 },
        mode: 0o666,
        uid: 0,
        gid: 0,
    });
}

fn host_ids(launch: &mut Launch) {
    launch.ids = None;
    launch.confinement.userns = UserNamespace::Host;
}

#[test]
fn a_wall_is_down_only_if_it_was_named() {
    use Weaker::{HostRoot, IpcHost, NewPrivileges, Privileged, SystemPaths, Unfiltered};
    let judged = |named: &[Weaker], change: &dyn Fn(&mut Launch)| {
        let mut launch = launch(ProfileName::Standard);
        launch.confinement.weaker = named.to_vec();
        change(&mut launch);
        judge_launch(ProfileName::Standard, &launch).err().map(|denial| denial.rule)
    };
    let unfiltered = |launch: &mut Launch| launch.confinement.seccomp = None;
    let setuid = |launch: &mut Launch| launch.confinement.no_new_privileges = false;
    let bare = |launch: &mut Launch| (launch.masked_paths, launch.readonly_paths) = Default::default();
    for (rule, named, change) in [
        ("launch.seccomp", Unfiltered, &unfiltered as &dyn Fn(&mut Launch)),
        ("launch.no-new-privileges", NewPrivileges, &setuid),
        ("launch.masked-paths", SystemPaths, &bare),
    ] {
        assert_eq!(judged(&[], change).as_deref(), Some(rule));
        assert_eq!(judged(&[HostRoot, IpcHost], change).as_deref(), Some(rule), "another name is none");
        assert_eq!(judged(&[named], change), None);
        assert_eq!(judged(&[Privileged], change), None);
    }
    let host_root = |launch: &mut Launch| {
        unfiltered(launch);
        host_ids(launch);
    };
    assert_eq!(judged(&[Unfiltered], &host_root).as_deref(), Some("launch.host-root"));
    assert_eq!(judged(&[Unfiltered, HostRoot], &host_root), None);
    let shm =
        |launch: &mut Launch| launch.mounts.push(bind("/dev/shm", "/dev/shm", false, BindIds::Unmapped));
    assert_eq!(judged(&[], &shm).as_deref(), Some("launch.unmapped-bind"));
    assert_eq!(judged(&[IpcHost], &shm), None);
}

#[test]
fn a_quota_binds_only_who_cannot_leave_it() {
    use corral_spec::record::DiskBound;
    let mut launch = launch(ProfileName::Standard);
    let bound = |keeper| DiskBound { what: "writable layer".into(), dirs: Vec::new(), bytes: 1, keeper };
    launch.disk = vec![bound(DiskKeeper::Project(7))];
    assert_eq!(judge_launch(ProfileName::Standard, &launch), Ok(()));
    (launch.ids, launch.confinement.userns) = (None, UserNamespace::Host);
    let denial = judge_launch(ProfileName::Standard, &launch).expect_err("it could leave");
    assert_eq!(denial.rule, "launch.disk");
    launch.disk = vec![bound(DiskKeeper::Monitor)];
    assert_eq!(judge_launch(ProfileName::Standard, &launch), Ok(()));
}

#[test]
fn defaults_pass_their_own_judge() {
    for profile in [ProfileName::Standard, ProfileName::Build, ProfileName::Agent] {
        check(profile, "fine", |_| {});
        check(profile, "fine", |launch| launch.mounts.push(bind("/home/me/w", "/workspace", false, OWNER)));
    }
}

/// The host's root is never mapped; an ordinary user is, in the namespace that only has their ids.
#[test]
fn an_ordinary_user_is_id_0_of_their_namespace() {
    use corral_spec::record::Own;
    for profile in [ProfileName::Standard, ProfileName::Build, ProfileName::Agent] {
        let user = |edit: fn(&mut Launch)| {
            move |launch: &mut Launch| {
                launch.ids = Some(IdMap { host: 0, count: 65_537 });
                launch.shared = Some(Own { uid: 0, gid: 0 });
                edit(launch);
            }
        };
        check(profile, "fine", user(|_| {}));
        let own = |l: &mut Launch| l.mounts.push(bind("/home/me/w", "/workspace", false, BindIds::Unmapped));
        check(profile, "fine", user(own));
        check(profile, "launch.userns", user(|l| l.ids = Some(IdMap { host: 0, count: 0 })));
        check(profile, "launch.userns", user(|l| l.ids = Some(IdMap { host: 100_000, count: 65_536 })));
        check(profile, "launch.userns", user(|l| l.ids = None));
        check(profile, "launch.userns", user(host_ids));
    }
}

#[test]
fn some_rules_hold_in_every_profile() {
    for profile in [ProfileName::Standard, ProfileName::Build, ProfileName::Agent] {
        let mount = |expect: &str, mount: Mount| check(profile, expect, |l| l.mounts.push(mount.clone()));
        check(profile, "launch.no-new-privileges", |l| l.confinement.no_new_privileges = false);
        check(profile, "launch.seccomp", |l| l.confinement.seccomp = None);
        check(profile, "launch.sysctl", |l| {
            l.network = NetworkMode::Host;
            l.kernel.sysctls = vec!["net.core.somaxconn=1".parse().expect("a sysctl")];
        });
        check(profile, "launch.seccomp", |l| l.confinement.seccomp = Some(Vec::new()));
        check(profile, "launch.capabilities", |l| l.confinement.capabilities.push(63));
        check(profile, "launch.userns", |l| l.ids = None);
        check(profile, "launch.userns", |l| l.confinement.userns = UserNamespace::Host);
        for map in [(0, 65536), (100_000, 0), (u32::MAX - 5, 65536)] {
            check(profile, "launch.host-root", |l| l.ids = Some(IdMap { host: map.0, count: map.1 }));
        }
        check(profile, "launch.masked-paths", |l| drop(l.masked_paths.pop()));
        check(profile, "launch.readonly-paths", |l| l.readonly_paths.clear());
        check(profile, "launch.devices", |l| l.devices.push(path("/dev/kvm")));
        check(profile, "launch.pids", |l| l.cgroup.pids = None);
        for target in ["/etc/x", "/dev", "/dev/null", "/dev/pts/0", "/dev/shm/x", "/dev/console"] {
            check(profile, "launch.devices", |l| grant(l, target));
        }
        check(profile, "launch.devices", |l| {
            grant(l, "/dev/kvm");
            l.cgroup.more.devices_enforced = false;
        });
        check(profile, "launch.mount-target", |l| {
            grant(l, "/dev/kvm");
            l.mounts.push(bind("/home/me", "/dev/kvm", true, OWNER));
        });
        for target in ["/", "/proc", "/proc/sys/kernel", "/sys/fs"] {
            mount("launch.mount-target", bind("/home/me", target, true, OWNER));
        }
        check(profile, "launch.mount-target", |l| {
            l.devices.push(path("/dev/null"));
            l.mounts.push(bind("/home/me", "/dev/null", true, OWNER));
        });
        check(profile, "launch.mount-target", |l| {
            l.mounts.extend([bind("/home/me", "/dev", true, OWNER), bind("/home/you", "/dev", true, OWNER)]);
        });
        let sysfs =
            |read_only| Mount { target: path("/sys"), kind: MountKind::Sysfs, read_only, no_exec: true };
        mount("launch.kernel-fs", sysfs(false));
        mount("fine", sysfs(true));
        let root = BindIds::Owner { uid: 0, gid: 0, to_uid: 0, to_gid: 0 };
        mount("launch.host-root", bind("/srv", "/srv", false, root));
        mount("launch.unmapped-bind", bind("/srv", "/srv", false, BindIds::Unmapped));
        mount("fine", bind("/srv", "/srv", true, BindIds::Unmapped));
    }
}

#[test]
fn an_agent_is_held_to_its_profile() {
    type Change = dyn Fn(&mut Launch);
    let agent = |expect: &str, change: &Change| check(ProfileName::Agent, expect, change);
    let standard = |change: &Change| check(ProfileName::Standard, "fine", change);
    let wide: [(&str, &Change); 15] = [
        ("agent.weaker", &|l| l.confinement.weaker = vec![Weaker::PidHost]),
        ("agent.seccomp", &|l| l.confinement.own_seccomp = true),
        ("agent.devices", &|l| grant(l, "/dev/kvm")),
        ("agent.devices", &|l| l.cgroup.more.devices_enforced = true),
        ("agent.limits", &|l| l.process.oom_score_adj = Some(-1)),
        ("agent.limits", &|l| l.cgroup.more.memory_swap = Some(Swap::Unlimited)),
        ("agent.limits", &|l| {
            l.cgroup.pids = None;
            l.cgroup.more.pids_unlimited = true;
        }),
        ("agent.userns", &host_ids),
        ("agent.user", &|l| l.process.uid = 0),
        ("agent.capabilities", &|l| l.confinement.capabilities = vec![21]),
        ("agent.network", &|l| l.network = NetworkMode::Host),
        ("agent.root", &|l| l.root.read_only = false),
        ("agent.limits", &|l| l.cgroup.memory = None),
        ("agent.limits", &|l| l.cgroup.cpu_millis = None),
        ("agent.mount", &|l| l.mounts.push(bind("/var/run/docker.sock", "/s", true, OWNER))),
    ];
    for (rule, change) in wide {
        agent(rule, change);
        standard(change);
    }
    agent("agent.mount", &|l| l.mounts.push(bind("/", "/host", true, BindIds::Unmapped)));
    agent("fine", &|l| {
        l.mounts.push(bind("/run/corral/containers/x/hosts", "/etc/hosts", true, BindIds::Container))
    });
    agent("fine", &|l| l.cgroup.memory = Some(64 << 30));
    agent("fine", &|l| {
        l.cgroup.cpu_millis = None;
        l.cgroup.more.cpu_quota = Some(50_000);
    });
    agent("agent.limits", &|l| {
        l.cgroup.cpu_millis = None;
        l.cgroup.more.cpu_quota = Some(-1);
    });
}

#[test]
fn a_denial_names_rule_cause_and_way_out() {
    let mut launch = launch(ProfileName::Agent);
    launch.confinement.capabilities = vec![13, 21];
    let denial = judge_launch(ProfileName::Agent, &launch).expect_err("denied");
    assert_eq!(
        denial.to_string(),
        "an agent has no capability, and would get NET_RAW,SYS_ADMIN (rule agent.capabilities); \
         to allow it: corral run --profile standard --cap-add NET_RAW,SYS_ADMIN"
    );
}
