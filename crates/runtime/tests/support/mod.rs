//! A container to launch: one layer with nothing but the probe, in a directory of its own.
#![allow(dead_code)]

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use corral_spec::record::{
    BindIds, Cgroup, Confinement, GENERATION, IdMap, Launch, Log, Mount, MountKind, Process, Root, Status,
};
use corral_spec::{AbsPath, ContainerId, NetworkMode, Signal, UserNamespace};

/// First host id of the test containers.
pub const HOST: u32 = 524_288;

/// The example `probe`, which `cargo test` builds beside the tests.
fn probe() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let probe = tests.ancestors().nth(2).unwrap().join("examples/probe");
    assert!(probe.exists(), "{} is missing: cargo build -p corral-runtime --example probe", probe.display());
    probe
}

/// A launch that can be changed before it is run, and its files.
pub struct Bench {
    pub dir: PathBuf,
    pub launch: Launch,
}

/// What a probe run gave.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

pub fn path(text: &str) -> AbsPath {
    AbsPath::new(text).unwrap()
}

pub fn mount(target: &str, kind: MountKind) -> Mount {
    Mount { target: path(target), kind, read_only: false, no_exec: false }
}

pub fn bind(source: impl Into<PathBuf>, target: &str, ids: BindIds) -> Mount {
    mount(target, MountKind::Bind { source: source.into(), ids, subpath: None })
}

impl Bench {
    /// A container whose program is `/bin/probe` with these words.
    pub fn new(words: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("corral-runtime-{}-{number}", std::process::id()));
        fs::DirBuilder::new().mode(0o755).create(&dir).unwrap();
        for sub in ["layer/bin", "layer/etc", "writable/upper", "writable/work"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        let probe = dir.join("layer/bin/probe");
        fs::hard_link(self::probe(), &probe).or_else(|_| fs::copy(self::probe(), &probe).map(drop)).unwrap();
        fs::write(dir.join("layer/etc/motd"), "hello\n").unwrap();
        let mut random = [0; 32];
        random[..4].copy_from_slice(&std::process::id().to_ne_bytes());
        random[4..8].copy_from_slice(&number.to_ne_bytes());
        let launch = launch(&dir, ContainerId::from_random(random), words);
        Self { dir, launch }
    }

    pub fn layer(&self) -> PathBuf {
        self.dir.join("layer")
    }

    /// The name of the container's directory in each hierarchy.
    pub fn group_name(&self) -> String {
        format!("corral-{}", self.launch.id.short())
    }

    /// Writes the launch and gives a command that does `act` with it.
    pub fn command(&self, act: &str) -> Command {
        let file = self.dir.join("launch.json");
        fs::write(&file, serde_json::to_vec(&self.launch).unwrap()).unwrap();
        let mut command = Command::new(probe());
        command.arg(act).arg(file).stdin(Stdio::null());
        command
    }

    pub fn act(&self, act: &str, more: &[&str]) -> Ran {
        ran(self.command(act).args(more).output().unwrap())
    }

    pub fn run(&self) -> Ran {
        self.act("run", &[])
    }

    /// The output lines of a run that ended with code 0.
    pub fn lines(&self) -> Vec<String> {
        self.run().lines()
    }

    /// A container that stays, and how it can be reached.
    pub fn hold(&self) -> (Child, Status) {
        let file = self.dir.join("status.json");
        let mut child = self
            .command("hold")
            .arg(&file)
            .stdout(fs::File::create(self.dir.join("out")).unwrap())
            .stderr(fs::File::create(self.dir.join("err")).unwrap())
            .spawn()
            .unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while !file.exists() {
            let ended = child.try_wait().unwrap();
            let said = || fs::read_to_string(self.dir.join("err")).unwrap();
            assert!(ended.is_none() && Instant::now() < until, "not started: {ended:?} {}", said());
            std::thread::sleep(Duration::from_millis(5));
        }
        (child, serde_json::from_slice(&fs::read(file).unwrap()).unwrap())
    }

    /// Control group directories of this container anywhere on the host.
    pub fn groups_left(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        search(Path::new("/sys/fs/cgroup"), &self.group_name(), &mut found);
        found
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let left = self.groups_left();
        fs::remove_dir_all(&self.dir).unwrap();
        if !std::thread::panicking() {
            assert!(left.is_empty(), "control groups left behind: {left:?}");
        }
    }
}

impl Ran {
    #[track_caller]
    pub fn lines(self) -> Vec<String> {
        assert_eq!(self.code, 0, "{self:?}");
        assert_eq!(self.err, "");
        self.out.lines().map(|line| line.trim_end().to_owned()).collect()
    }
}

pub fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits until `holds` holds; says what was waited for otherwise.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within ten seconds");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn search(dir: &Path, name: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name() == name {
                found.push(entry.path());
            }
            search(&entry.path(), name, found);
        }
    }
}

/// A process like the launch's own.
pub fn process(words: &str) -> Process {
    Process {
        argv: std::iter::once("/bin/probe").chain(words.split(' ')).map(str::to_owned).collect(),
        env: vec!["PATH=/usr/bin:/bin".to_owned()],
        workdir: path("/"),
        uid: 0,
        gid: 0,
        groups: vec![],
        tty: false,
        stdin: false,
        init: false,
        ulimits: vec![],
        oom_score_adj: None,
    }
}

fn launch(dir: &Path, id: ContainerId, words: &str) -> Launch {
    let tmpfs = |size, mode| MountKind::Tmpfs { size: Some(size), mode, owner: None };
    Launch {
        generation: GENERATION,
        id,
        hostname: "tested".to_owned(),
        root: Root {
            lowers: vec![dir.join("layer")],
            writable: dir.join("writable"),
            volatile: false,
            read_only: false,
        },
        mounts: vec![
            mount("/proc", MountKind::Proc),
            mount("/dev", tmpfs(65_536, 0o755)),
            mount("/dev/pts", MountKind::Devpts),
            mount("/dev/shm", tmpfs(1 << 26, 0o1777)),
            mount("/dev/mqueue", MountKind::Mqueue),
            Mount { read_only: true, ..mount("/sys", MountKind::Sysfs) },
            Mount { read_only: true, ..mount("/sys/fs/cgroup", MountKind::Cgroup2) },
        ],
        devices: ["null", "zero", "full", "random", "urandom", "tty"]
            .iter()
            .map(|name| path(&format!("/dev/{name}")))
            .collect(),
        kernel: Default::default(),
        host_devices: vec![],
        links: [("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1")]
            .iter()
            .map(|(name, target)| (path(&format!("/dev/{name}")), (*target).to_owned()))
            .collect(),
        masked_paths: ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware"]
            .map(path)
            .to_vec(),
        readonly_paths: ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
            .map(path)
            .to_vec(),
        ids: Some(IdMap { host: HOST, count: 65_536 }),
        shared: None,
        network: NetworkMode::None,
        cgroup: Cgroup::default(),
        process: process(words),
        confinement: Confinement {
            capabilities: vec![0, 1, 3, 4, 5, 6, 7, 10],
            no_new_privileges: true,
            seccomp: None,
            own_seccomp: false,
            weaker: Vec::new(),
            userns: UserNamespace::Private,
        },
        log: Log { max_size: 0, max_files: 0, ..Log::default() },
        stop_signal: Signal::TERM,
        stop_timeout_ms: 1000,
        remove: true,
        health: None,
        restart: corral_spec::RestartPolicy::No,
        journal: None,
        disk: Vec::new(),
        warm: None,
    }
}

/// Lets a directory of the host be owned by somebody.
pub fn chown(path: &Path, uid: u32, gid: u32) {
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
