//! What was asked and what the image, the profile and the host say, made into a [`Launch`] that leaves
//! nothing undecided. Pure: the facts are gathered before (`create.rs`), the result is applied after.

use std::path::PathBuf;

use corral_image::{Image, ResolvedUser};
use corral_policy::{CapabilitySet, Profile, confinement, judge_launch};
use corral_runtime::rootless::Shared;
use corral_runtime::seccomp;
use corral_spec::record::{
    BindIds, Confinement, GENERATION, IdMap, Kernel, Launch, Mount, MountKind, Own, Process, Root,
};
use corral_spec::{
    AbsPath, ContainerId, ContainerSpec, Entrypoint, HostDevice, MountRequest, MountSource, NetworkMode,
    ProfileName, Signal, Ulimit, Weaker,
};
use corral_state::{ID_RANGE, IdSlot};

use crate::exec::set;
use crate::health::health;
use crate::log::{self, Whose};
use crate::volume::Memory;
use crate::{Error, etc, limits, own_seccomp};

/// What the plan needs to know of the world.
pub(crate) struct Facts<'a> {
    pub(crate) id: &'a ContainerId,
    pub(crate) name: &'a str,
    pub(crate) image: &'a Image,
    pub(crate) image_name: &'a str,
    pub(crate) profile: ProfileName,
    /// Who the first process runs as.
    pub(crate) user: ResolvedUser,
    /// Leased host ids; none with the host's user namespace.
    pub(crate) slot: Option<IdSlot>,
    /// The ordinary user's namespace, and which of the container's ids is the user.
    pub(crate) shared: Option<(Shared, Own)>,
    /// Unpacked layers, topmost first.
    pub(crate) lowers: Vec<PathBuf>,
    /// One entry a mount of the spec, none for a tmpfs.
    pub(crate) binds: Vec<Option<Bind>>,
    /// The devices that were asked for, in the order of the spec.
    pub(crate) host_devices: Vec<HostDevice>,
    /// Where the container's writable layer and log are.
    pub(crate) data_dir: PathBuf,
    /// The container's run directory.
    pub(crate) run_dir: PathBuf,
    /// What the host is.
    pub(crate) host: HostFacts,
    /// Mounts of the engine's own, behind all others.
    pub(crate) extra: Vec<Mount>,
}

/// What a plan takes from the host; what it does not need is left out.
#[derive(Default)]
pub(crate) struct HostFacts {
    /// The kernel's release, where a seccomp profile of the user's asks for it.
    pub(crate) kernel: String,
    /// The caller's hard limit of open files.
    pub(crate) max_files: u64,
    /// What the caller may do, where the container has the host's user namespace.
    pub(crate) own_capabilities: Option<CapabilitySet>,
    /// The host's name, where it is shared.
    pub(crate) host_name: Option<String>,
    /// The host's resolv.conf.
    pub(crate) resolv_conf: Option<String>,
}

/// What the host gives for a mount of the spec.
pub(crate) enum Bind {
    /// A host path, how its owners appear inside, which part of it is seen, and whether it never can be written.
    Path { source: PathBuf, ids: BindIds, subpath: Option<PathBuf>, read_only: bool },
    /// Directories of image layers, topmost first.
    Layers(Vec<PathBuf>),
    /// A volume that is memory.
    Memory(Memory),
}

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const STOP_TIMEOUT_MS: u64 = 10_000;
/// Open files: programs that size tables by the soft limit stay small, servers may raise it (systemd's
/// reasoning for its own default), as far as the caller's own hard limit.
const SOFT_FILES: u64 = 65_536;
const HARD_FILES: u64 = 1_048_576;
/// /dev holds links, nodes, and the container's own files of /etc.
const DEV_BYTES: u64 = 256 << 10;

/// Decides everything, and has the profile judge the result.
pub(crate) fn launch(facts: &Facts<'_>, spec: &ContainerSpec) -> Result<Launch, Error> {
    let profile = confinement(facts.profile);
    let read_only = spec.read_only || profile.read_only_root;
    let network = spec.network.unwrap_or(profile.network);
    let weaker = &spec.settings.weaker;
    let capabilities = capabilities(facts, &profile, spec)?;
    let hostname = match &facts.host.host_name {
        Some(name) => name.clone(),
        None => spec.hostname.clone().unwrap_or_else(|| facts.id.short().to_owned()),
    };
    check_user(facts, spec)?;
    let process = process(facts, spec, &hostname)?;
    let bare_paths = Weaker::SystemPaths.is_in(weaker);
    let Facts { id, name, image, image_name, .. } = facts;
    let whose = Whose { id, name, image, image_name };
    let mut launch = Launch {
        generation: GENERATION,
        id: facts.id.clone(),
        root: Root {
            lowers: facts.lowers.clone(),
            // Only mount points are ever made in the layer of a read-only root: it needs no disk.
            writable: if read_only { &facts.run_dir } else { &facts.data_dir }.clone(),
            volatile: spec.remove,
            read_only,
        },
        mounts: mounts(facts, spec, (&profile, network, read_only), &hostname)?,
        devices: paths(profile.devices)?,
        host_devices: facts.host_devices.clone(),
        links: links()?,
        masked_paths: if bare_paths { Vec::new() } else { paths(profile.masked_paths)? },
        readonly_paths: if bare_paths { Vec::new() } else { paths(profile.readonly_paths)? },
        ids: ids(facts),
        shared: facts.shared.map(|(_, own)| own),
        network,
        cgroup: limits::cgroup(spec, &profile, &facts.host_devices)?,
        kernel: Kernel { domain: spec.settings.domain.clone(), sysctls: spec.settings.sysctls.clone() },
        hostname,
        confinement: Confinement {
            capabilities: capabilities.numbers(),
            no_new_privileges: profile.no_new_privileges && !Weaker::NewPrivileges.is_in(weaker),
            seccomp: filter(facts, spec, &profile, capabilities)?,
            own_seccomp: spec.settings.seccomp.is_some(),
            weaker: weaker.clone(),
            userns: spec.userns,
        },
        log: log::plan(&whose, spec, &process)?,
        process,
        stop_signal: stop_signal(facts, spec)?,
        stop_timeout_ms: spec.stop_timeout.map_or(STOP_TIMEOUT_MS, |timeout| timeout.as_millis() as u64),
        remove: spec.remove,
        health: health(&facts.image.config.config, &spec.health)?,
        restart: spec.restart,
        journal: None,
        disk: Vec::new(),
        warm: None,
    };
    launch.mounts.extend_from_slice(&facts.extra);
    judge_launch(facts.profile, &launch)?;
    Ok(launch)
}

/// All of them with `--privileged`, but for those that are dropped. With the host's user namespace ALL is what the host
/// gives to the caller.
fn capabilities(facts: &Facts<'_>, profile: &Profile, spec: &ContainerSpec) -> Result<CapabilitySet, Error> {
    let mut add = spec.cap_add.clone();
    add.extend(Weaker::Privileged.is_in(&spec.settings.weaker).then(|| "ALL".to_owned()));
    let all = add.iter().any(|name| name.eq_ignore_ascii_case("all"));
    let adjusted = profile
        .capabilities
        .adjust(&add, &spec.cap_drop)
        .map_err(|error| Error::Invalid(error.to_string()))?;
    Ok(match facts.host.own_capabilities.filter(|_| all) {
        Some(own) => adjusted.without(CapabilitySet::ALL.without(own)),
        None => adjusted,
    })
}

fn ids(facts: &Facts<'_>) -> Option<IdMap> {
    let shared = facts.shared.map(|(shared, _)| IdMap { host: 0, count: shared.count });
    shared.or(facts.slot.map(|slot| IdMap { host: slot.host(), count: ID_RANGE }))
}

/// An ordinary user has as many ids as an administrator gave them.
fn check_user(facts: &Facts<'_>, spec: &ContainerSpec) -> Result<(), Error> {
    let Some((Shared { count, .. }, own)) = facts.shared else { return Ok(()) };
    let missing = |id: u32, own: u32| id != own && id >= count;
    let user = &facts.user;
    let lacks = missing(user.uid, own.uid) || missing(user.gid, own.gid);
    let asked = user.groups.iter().any(|group| missing(*group, own.gid)) && !spec.settings.groups.is_empty();
    if !lacks && !asked {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "the container would run as {}:{}, and your user namespace has the ids 0 to {} only: get more by /etc/subuid and \
         /etc/subgid (corral doctor says how), or run as its root (-u 0)",
        user.uid,
        user.gid,
        count - 1
    )))
}

fn filter(
    facts: &Facts<'_>,
    spec: &ContainerSpec,
    profile: &Profile,
    capabilities: CapabilitySet,
) -> Result<Option<Vec<corral_spec::record::BpfInstruction>>, Error> {
    if spec.settings.seccomp.is_none() && Weaker::Unfiltered.is_in(&spec.settings.weaker) {
        return Ok(None);
    }
    let arch = seccomp::Arch::NATIVE.ok_or_else(|| {
        Error::Invalid(format!("no system call table for this processor ({})", std::env::consts::ARCH))
    })?;
    if let Some(text) = &spec.settings.seccomp {
        return own_seccomp::program(text, capabilities, &facts.host.kernel, arch).map(Some);
    }
    let compiled = seccomp::compile(&profile.syscalls(capabilities), arch);
    compiled.map(Some).map_err(|error| Error::Invalid(error.to_string()))
}

fn paths(texts: &[&str]) -> Result<Vec<AbsPath>, Error> {
    texts.iter().map(|text| path(text)).collect()
}

fn path(text: &str) -> Result<AbsPath, Error> {
    AbsPath::new(text).map_err(|error| Error::Invalid(error.to_string()))
}

fn links() -> Result<Vec<(AbsPath, String)>, Error> {
    const LINKS: [(&str, &str); 6] = [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/core", "/proc/kcore"),
        ("/dev/ptmx", "pts/ptmx"),
    ];
    LINKS.iter().map(|(at, target)| Ok((path(at)?, (*target).to_owned()))).collect()
}

/// The kernel's file systems, the profile's memory, the container's files of /etc, then what the user asked
/// for, parents before children.
fn mounts(
    facts: &Facts<'_>,
    spec: &ContainerSpec,
    (profile, network, read_only): (&Profile, NetworkMode, bool),
    hostname: &str,
) -> Result<Vec<Mount>, Error> {
    let mount = |target: &str, kind, read_only, no_exec| {
        Ok::<_, Error>(Mount { target: path(target)?, kind, read_only, no_exec })
    };
    let memory = |size, mode| MountKind::Tmpfs { size: Some(size), mode, owner: None };
    let shm = spec.limits.shm.map_or(profile.limits.shm, |size| size.0);
    let mut mounts = vec![
        mount("/proc", MountKind::Proc, false, true)?,
        mount("/dev", memory(DEV_BYTES, 0o755), false, true)?,
        mount("/dev/pts", MountKind::Devpts, false, true)?,
    ];
    if Weaker::IpcHost.is_in(&spec.settings.weaker) {
        // The host's own. Its message queues have no file system here: only the host's root may mount that.
        let kind = MountKind::Bind { source: "/dev/shm".into(), ids: BindIds::Unmapped, subpath: None };
        mounts.push(mount("/dev/shm", kind, false, true)?);
    } else {
        mounts.push(mount("/dev/mqueue", MountKind::Mqueue, false, true)?);
    }
    if !spec.settings.no_shm && !Weaker::IpcHost.is_in(&spec.settings.weaker) {
        mounts.push(mount("/dev/shm", memory(shm, 0o1777), false, true)?);
    }
    // sysfs shows the devices of a network namespace and belongs to its owner: with the host's, a user
    // namespace may not mount it, and the container does without.
    if network == NetworkMode::None || (facts.slot.is_none() && facts.shared.is_none()) {
        mounts.push(mount("/sys", MountKind::Sysfs, true, true)?);
    }
    let asked = |target: &str| spec.mounts.iter().any(|mount| mount.target.as_path().as_os_str() == target);
    for tmpfs in profile.tmpfs.iter().filter(|tmpfs| !asked(tmpfs.target)) {
        mounts.push(mount(tmpfs.target, memory(tmpfs.size, tmpfs.mode), false, false)?);
    }
    // Only what shares the host's network can use its name servers.
    let resolv_conf = facts.host.resolv_conf.as_deref().filter(|_| network == NetworkMode::Host);
    for (file, text) in etc::files(hostname, &spec.settings, resolv_conf) {
        mounts.push(mount(&format!("/etc/{file}"), MountKind::File { text }, read_only, true)?);
    }
    mounts.extend(asked_mounts(facts, spec)?);
    Ok(mounts)
}

fn asked_mounts(facts: &Facts<'_>, spec: &ContainerSpec) -> Result<Vec<Mount>, Error> {
    let mut mounts: Vec<Mount> = Vec::new();
    for (number, (request, bind)) in spec.mounts.iter().zip(&facts.binds).enumerate() {
        if mounts.iter().any(|known| known.target == request.target) {
            return Err(Error::Invalid(format!("duplicate mount point: {}", request.target)));
        }
        // Where overlayfs has its own directories for an image.
        let scratch = facts.run_dir.join(format!("image-{number}"));
        mounts.push(asked_mount(request, bind.as_ref(), scratch)?);
    }
    mounts.sort_by_key(|mount| mount.target.as_path().components().count());
    Ok(mounts)
}

fn asked_mount(request: &MountRequest, bind: Option<&Bind>, scratch: PathBuf) -> Result<Mount, Error> {
    let memory =
        |size, mode: Option<u32>, owner| MountKind::Tmpfs { size, mode: mode.unwrap_or(0o1777), owner };
    let mut read_only = request.read_only;
    let kind = match (&request.source, bind) {
        (MountSource::Tmpfs { size, mode }, _) => memory(size.map(|size| size.0), *mode, None),
        (_, Some(Bind::Path { source, ids, subpath, read_only: never })) => {
            read_only |= never;
            MountKind::Bind { source: source.clone(), ids: ids.clone(), subpath: subpath.clone() }
        }
        (_, Some(Bind::Layers(lowers))) => MountKind::Layers { lowers: lowers.clone(), scratch },
        (_, Some(Bind::Memory(asked))) => {
            read_only |= asked.read_only;
            memory(asked.size, asked.mode, asked.owner)
        }
        (_, None) => return Err(Error::Invalid(format!("mount {} was not looked at", request.target))),
    };
    Ok(Mount { target: request.target.clone(), kind, read_only, no_exec: false })
}

fn process(facts: &Facts<'_>, spec: &ContainerSpec, hostname: &str) -> Result<Process, Error> {
    let image = &facts.image.config.config;
    let workdir = match (&spec.workdir, image.working_dir.as_str()) {
        (Some(dir), _) => dir.clone(),
        (None, "") => path("/")?,
        (None, dir) => {
            path(dir).map_err(|error| Error::Invalid(format!("the image's working directory: {error}")))?
        }
    };
    Ok(Process {
        argv: argv(facts, spec)?,
        env: env(facts, spec, hostname),
        workdir,
        uid: facts.user.uid,
        gid: facts.user.gid,
        groups: groups(facts),
        tty: spec.tty,
        stdin: spec.interactive,
        init: spec.init,
        ulimits: ulimits(facts, spec),
        oom_score_adj: spec.limits.oom_score_adj,
    })
}

/// Where only one id is mapped, the kernel lets nobody change groups, and the image's own are left out.
fn groups(facts: &Facts<'_>) -> Vec<u32> {
    match facts.shared {
        Some((Shared { count, .. }, _)) => {
            facts.user.groups.iter().copied().filter(|group| *group < count && count > 1).collect()
        }
        None => facts.user.groups.clone(),
    }
}

/// `--entrypoint` takes the image's command away too, as Docker does.
fn argv(facts: &Facts<'_>, spec: &ContainerSpec) -> Result<Vec<String>, Error> {
    let image = &facts.image.config.config;
    let mut argv = match &spec.entrypoint {
        Entrypoint::Image => image.entrypoint.clone(),
        Entrypoint::Reset => Vec::new(),
        Entrypoint::Program(program) => vec![program.clone()],
    };
    if spec.command.is_empty() && spec.entrypoint == Entrypoint::Image {
        argv.extend(image.cmd.iter().cloned());
    } else {
        argv.extend(spec.command.iter().cloned());
    }
    if argv.is_empty() {
        return Err(Error::NoCommand(facts.image_name.to_owned()));
    }
    if argv.iter().any(|word| word.contains('\0')) {
        return Err(Error::Invalid("the command contains a NUL byte".into()));
    }
    Ok(argv)
}

fn env(facts: &Facts<'_>, spec: &ContainerSpec, hostname: &str) -> Vec<String> {
    let mut env =
        vec![format!("PATH={PATH}"), format!("HOSTNAME={hostname}"), format!("HOME={}", facts.user.home)];
    if spec.tty {
        env.push("TERM=xterm".into());
    }
    // An image is hostile input: what is not NAME=VALUE is no variable.
    for entry in &facts.image.config.config.env {
        match entry.split_once('=') {
            Some((name, value)) if !name.is_empty() && !entry.contains('\0') => set(&mut env, name, value),
            _ => {}
        }
    }
    for variable in &spec.env {
        set(&mut env, &variable.name, &variable.value);
    }
    env
}

fn ulimits(facts: &Facts<'_>, spec: &ContainerSpec) -> Vec<Ulimit> {
    let hard = HARD_FILES.min(facts.host.max_files);
    let defaults = [
        Ulimit { name: "nofile".into(), soft: SOFT_FILES.min(hard), hard },
        // A core dump would be piped into the host's handler, outside the container.
        Ulimit { name: "core".into(), soft: 0, hard: 0 },
    ];
    let asked = |limit: &Ulimit| spec.limits.ulimits.iter().any(|asked| asked.name == limit.name);
    defaults.into_iter().filter(|limit| !asked(limit)).chain(spec.limits.ulimits.iter().cloned()).collect()
}

fn stop_signal(facts: &Facts<'_>, spec: &ContainerSpec) -> Result<Signal, Error> {
    match (spec.stop_signal, facts.image.config.config.stop_signal.as_str()) {
        (Some(signal), _) => Ok(signal),
        (None, "") => Ok(Signal::TERM),
        (None, text) => {
            text.parse().map_err(|error| Error::Invalid(format!("the image's stop signal: {error}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corral_image::ImageConfig;
    use corral_spec::{ByteSize, ContainerSpec, Digest, EnvVar};

    fn image(edit: impl FnOnce(&mut ImageConfig)) -> Image {
        let mut config = ImageConfig {
            architecture: crate::architecture().into(),
            os: "linux".into(),
            ..Default::default()
        };
        config.config.entrypoint = vec!["/entry".into()];
        config.config.cmd = vec!["default".into()];
        edit(&mut config);
        Image { id: Digest::from_bytes([1; 32]), config, layers: Vec::new(), manifest: None }
    }

    fn plan(image: &Image, profile: ProfileName, spec: &ContainerSpec) -> Result<Launch, Error> {
        plan_in(None, (1000, &[]), image, profile, spec)
    }

    fn plan_in(
        shared: Option<(Shared, Own)>,
        (uid, groups): (u32, &[u32]),
        image: &Image,
        profile: ProfileName,
        spec: &ContainerSpec,
    ) -> Result<Launch, Error> {
        let id = ContainerId::from_random([9; 32]);
        let facts = Facts {
            id: &id,
            name: "name",
            image,
            image_name: "test",
            profile,
            user: ResolvedUser { uid, gid: uid, groups: groups.to_vec(), home: "/home/agent".into() },
            slot: IdSlot::of_host(0x4000_0000).filter(|_| shared.is_none()),
            shared,
            lowers: vec!["/layers/a".into()],
            binds: spec.mounts.iter().map(|_| None).collect(),
            host_devices: Vec::new(),
            data_dir: "/root/c".into(),
            run_dir: "/run/c".into(),
            host: HostFacts { max_files: 4096, ..HostFacts::default() },
            extra: Vec::new(),
        };
        launch(&facts, spec)
    }

    #[test]
    fn entrypoint_and_command_combine_as_docker_does() {
        let check = |entrypoint: Entrypoint, command: &[&str], expect: &[&str]| {
            let command = command.iter().map(|word| (*word).to_owned()).collect();
            let spec = ContainerSpec { entrypoint, command, ..ContainerSpec::default() };
            let argv = plan(&image(|_| {}), ProfileName::Standard, &spec).map(|launch| launch.process.argv);
            assert_eq!(argv.unwrap_or_default(), expect);
        };
        check(Entrypoint::Image, &[], &["/entry", "default"]);
        check(Entrypoint::Image, &["x"], &["/entry", "x"]);
        check(Entrypoint::Program("/bin/sh".into()), &[], &["/bin/sh"]);
        check(Entrypoint::Program("/bin/sh".into()), &["-c"], &["/bin/sh", "-c"]);
        check(Entrypoint::Reset, &["x"], &["x"]);
        check(Entrypoint::Reset, &[], &[]);
    }

    #[test]
    fn an_ordinary_user_has_the_ids_that_there_are() {
        let check = |count: u32, own: u32, user: (u32, &[u32]), edit: &dyn Fn(&mut ContainerSpec)| {
            let shared = (Shared { uid: 1001, gid: 1001, count }, Own { uid: own, gid: own });
            let mut spec = ContainerSpec::default();
            edit(&mut spec);
            plan_in(Some(shared), user, &image(|_| {}), ProfileName::Standard, &spec)
        };
        let fine = |_: &mut ContainerSpec| {};
        let many = check(65_537, 0, (1000, &[5, 70_000]), &fine).expect("plan");
        assert_eq!(many.ids, Some(IdMap { host: 0, count: 65_537 }));
        assert_eq!((many.shared, many.process.groups), (Some(Own { uid: 0, gid: 0 }), vec![5]));
        let alone = check(1, 0, (0, &[0, 5]), &fine).expect("plan");
        assert_eq!(alone.process.groups, Vec::<u32>::new());
        for (count, own, user) in [(1, 0, 1000), (1000, 0, 1000), (1, 1001, 5)] {
            let said = check(count, own, (user, &[]), &fine).expect_err("no such id").to_string();
            assert!(said.contains("/etc/subuid"), "{said}");
        }
        assert!(check(100, 5000, (5000, &[]), &fine).is_ok(), "their own id, wherever it is");
        let asked = |spec: &mut ContainerSpec| spec.settings.groups = vec![corral_spec::UserPart::Id(70_000)];
        assert!(check(65_537, 0, (0, &[70_000]), &asked).is_err(), "a group that was asked for");
    }

    #[test]
    fn without_groups_nothing_is_bounded_and_nothing_may_be_asked() {
        let plan_with = |profile, edit: &dyn Fn(&mut ContainerSpec)| {
            let mut spec = ContainerSpec::default();
            spec.limits.more.no_groups = true;
            edit(&mut spec);
            plan(&image(|_| {}), profile, &spec)
        };
        for profile in [ProfileName::Standard, ProfileName::Build, ProfileName::Agent] {
            let cgroup = plan_with(profile, &|_| {}).expect("named by the user").cgroup;
            assert!(cgroup.more.no_groups && cgroup.memory.is_none() && cgroup.pids.is_none(), "{profile:?}");
        }
        let asks: [&dyn Fn(&mut ContainerSpec); 3] = [
            &|spec| spec.limits.memory = Some(ByteSize(64 << 20)),
            &|spec| spec.limits.pids = Some(5),
            &|spec| spec.limits.more.cpu_shares = Some(5),
        ];
        for ask in asks {
            let said = plan_with(ProfileName::Standard, ask).expect_err("nothing would hold it").to_string();
            assert!(said.contains("--cgroups disabled"), "{said}");
        }
    }

    #[test]
    fn the_environment_is_whole_and_the_user_wins() {
        let image = image(|config| {
            config.config.env = vec!["PATH=/bin".into(), "A=image".into(), "junk".into(), "=x".into()]
        });
        let spec = ContainerSpec {
            env: vec![EnvVar { name: "A".into(), value: "user".into() }],
            ..Default::default()
        };
        let launch = plan(&image, ProfileName::Standard, &spec).expect("plan");
        let id = &launch.id;
        assert_eq!(
            launch.process.env,
            [
                format!("HOSTNAME={}", id.short()),
                "HOME=/home/agent".into(),
                "PATH=/bin".into(),
                "A=user".into()
            ]
        );
    }

    #[test]
    fn an_agent_is_read_only_and_bounded() {
        let launch = plan(&image(|_| {}), ProfileName::Agent, &ContainerSpec::default()).expect("plan");
        assert!(launch.root.read_only && launch.root.writable.starts_with("/run/c"));
        assert!(launch.confinement.capabilities.is_empty());
        assert!(
            launch.cgroup.memory.is_some()
                && launch.cgroup.cpu_millis.is_some()
                && launch.cgroup.pids.is_some()
        );
        let spec = ContainerSpec { network: Some(NetworkMode::Host), ..Default::default() };
        assert!(matches!(plan(&image(|_| {}), ProfileName::Agent, &spec), Err(Error::Denied(_))));
    }

    #[test]
    fn user_mounts_come_last_parents_first_and_replace_the_profiles() {
        let tmpfs = |target: &str| MountRequest {
            source: MountSource::Tmpfs { size: Some(ByteSize(4096)), mode: None },
            target: AbsPath::new(target).expect("absolute"),
            read_only: false,
            options: corral_spec::SourceOptions::default(),
        };
        let spec =
            ContainerSpec { mounts: vec![tmpfs("/a/b"), tmpfs("/tmp"), tmpfs("/a")], ..Default::default() };
        let launch = plan(&image(|_| {}), ProfileName::Agent, &spec).expect("plan");
        let targets: Vec<String> = launch.mounts.iter().map(|mount| mount.target.to_string()).collect();
        assert_eq!(targets[targets.len() - 3..], ["/tmp", "/a", "/a/b"]);
        assert_eq!(targets.iter().filter(|target| *target == "/tmp").count(), 1);
        let twice = ContainerSpec { mounts: vec![tmpfs("/a"), tmpfs("/a")], ..Default::default() };
        assert!(plan(&image(|_| {}), ProfileName::Standard, &twice).is_err());
    }

    #[test]
    fn limits_never_exceed_the_hosts() {
        let launch = plan(&image(|_| {}), ProfileName::Standard, &ContainerSpec::default()).expect("plan");
        let nofile = launch.process.ulimits.iter().find(|limit| limit.name == "nofile").expect("nofile");
        assert_eq!((nofile.soft, nofile.hard), (4096, 4096));
    }
}
