//! A container to be monitored, and the processes around it.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use corral_monitor::client::{AttachOptions, Beginning, Client, Outcome, attach_terminal};
use corral_monitor::log::{ReadOptions, Reader, Stream};
use corral_monitor::{After, Invocation, run};
use corral_spec::record::{
    Cgroup, Confinement, Exit, GENERATION, IdMap, Launch, Log, Mount, MountKind, Process, Root, Status,
};
use corral_spec::{AbsPath, ContainerId, NetworkMode, Signal, UserNamespace};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

/// First host id of the test containers.
const HOST: u32 = 589_824;

/// The role of a monitor.
pub fn be_monitor(dirs: &[&str]) -> ExitCode {
    let invocation = Invocation::parse(dirs.iter().map(Into::into)).unwrap();
    let after = run(&invocation, None);
    let note = match &after {
        After::Exit(code) => format!("exit {code}"),
        After::Reap(id) => format!("reap {id}"),
    };
    fs::write(invocation.run_dir.with_file_name("after"), note).unwrap();
    ExitCode::SUCCESS
}

/// The role of `corral run`.
pub fn be_client(dir: &Path, flags: &[&str]) -> ExitCode {
    let (ours, _monitor) = spawn_monitor(dir);
    let on = |flag: &str| flags.contains(&flag);
    let options =
        AttachOptions { stdin: on("-i"), tty: on("-t"), sig_proxy: true, ..AttachOptions::default() };
    let mut client = Client::from_fd(ours);
    match attach_terminal(&mut client, &options).unwrap() {
        Outcome::Exited { code, .. } => ExitCode::from(code),
        Outcome::Detached => {
            println!("detached");
            ExitCode::SUCCESS
        }
        Outcome::Failed { code, message } => {
            eprintln!("{message}");
            ExitCode::from(code)
        }
        Outcome::Interrupted(signal) => ExitCode::from(128 + signal.number() as u8),
    }
}

/// Starts a monitor on the container in this directory, as the engine does.
fn spawn_monitor(dir: &Path) -> (OwnedFd, Child) {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let child = Command::new("/proc/self/exe")
        .arg("__monitor")
        .args([dir.join("container"), dir.join("container"), dir.join("run")])
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.join("monitor.err")).unwrap())
        .spawn()
        .unwrap();
    (ours, child)
}

/// A container's directories and launch; all is gone when it is dropped.
pub struct Bench {
    pub dir: PathBuf,
    pub launch: Launch,
    monitor: Option<Child>,
}

impl Bench {
    /// A container whose program is this file in the role `__inside`, with these words.
    pub fn new(words: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("corral-monitor-{}-{number}", std::process::id()));
        fs::DirBuilder::new().mode(0o755).create(&dir).unwrap();
        for sub in ["layer/bin", "container/writable/upper", "container/writable/work"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
        }
        fs::DirBuilder::new().mode(0o700).create(dir.join("run")).unwrap();
        let program = dir.join("layer/bin/inside");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut random = [0; 32];
        random[..4].copy_from_slice(&std::process::id().to_ne_bytes());
        random[4] = number as u8;
        random[5] = 77;
        let launch = launch(&dir, ContainerId::from_random(random), words);
        Self { dir, launch, monitor: None }
    }

    /// Changes the launch before the start.
    pub fn with(mut self, change: impl FnOnce(&mut Launch)) -> Self {
        change(&mut self.launch);
        self
    }

    /// Starts the monitor with us as its initial client.
    pub fn start(&mut self) -> Client {
        self.write_launch();
        let (ours, child) = spawn_monitor(&self.dir);
        self.monitor = Some(child);
        Client::from_fd(ours)
    }

    /// Starts it and waits until the program runs.
    pub fn started(&mut self) -> Client {
        let mut client = self.start();
        match client.beginning() {
            Ok(Beginning::Started { pid }) => assert!(pid > 0),
            other => panic!("{other:?}; {}", fs::read_to_string(self.dir.join("monitor.err")).unwrap()),
        }
        client
    }

    /// A command that does what `corral run` does.
    pub fn client(&self, flags: &[&str]) -> Command {
        self.write_launch();
        let mut command = Command::new("/proc/self/exe");
        command.arg("__client").arg(&self.dir).args(flags);
        command
    }

    fn write_launch(&self) {
        let launch = serde_json::to_vec(&self.launch).unwrap();
        fs::write(self.dir.join("container/launch.json"), launch).unwrap();
    }

    pub fn monitor(&mut self) -> &mut Child {
        self.monitor.as_mut().unwrap()
    }

    pub fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    pub fn status(&self) -> Status {
        serde_json::from_slice(&fs::read(self.dir.join("run/status.json")).unwrap()).unwrap()
    }

    /// The exit record, waited for.
    pub fn exit(&self) -> Exit {
        let path = self.dir.join("container/exit.json");
        eventually("exit.json", || path.exists());
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    /// What the monitor ended as, waited for.
    pub fn after(&self) -> String {
        let path = self.dir.join("after");
        eventually("the monitor's end", || fs::read_to_string(&path).is_ok_and(|text| !text.is_empty()));
        fs::read_to_string(path).unwrap()
    }

    /// What one stream left in the log.
    pub fn log(&self, stream: Stream) -> String {
        let mut reader = Reader::open(&self.dir.join("container"), ReadOptions::default()).unwrap();
        let mut text = String::new();
        while let Some(entry) = reader.next_entry(|| Ok(())).unwrap() {
            if entry.stream == stream {
                text.push_str(std::str::from_utf8(entry.bytes).unwrap());
            }
        }
        text
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(mut monitor) = self.monitor.take() {
            let _ = monitor.kill();
            monitor.wait().unwrap();
        }
        if let Ok(bytes) = fs::read(self.dir.join("run/status.json")) {
            let status: Status = serde_json::from_slice(&bytes).unwrap();
            let group = corral_runtime::ControlGroup::open(status.cgroup2.as_deref(), &status.cgroup1);
            // One that was killed leaves its control group to us; one that a client started may still live.
            let _ = group.kill();
            eventually("the monitor's end", || !lives(status.monitor.pid));
            let left = group.remove();
            assert!(left.is_empty() || std::thread::panicking(), "{left:?}");
        }
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

/// Waits until `holds` holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "{what}: not within twenty seconds");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// Whether this process exists and is no zombie.
pub fn lives(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X'])))
}

fn path(text: &str) -> AbsPath {
    AbsPath::new(text).unwrap()
}

fn launch(dir: &Path, id: ContainerId, words: &[&str]) -> Launch {
    let mount = |target: &str, kind| Mount { target: path(target), kind, read_only: false, no_exec: false };
    Launch {
        generation: GENERATION,
        id,
        hostname: "watched".to_owned(),
        root: Root {
            lowers: vec![dir.join("layer")],
            writable: dir.join("container/writable"),
            volatile: false,
            read_only: false,
        },
        mounts: vec![
            mount("/proc", MountKind::Proc),
            mount("/dev", MountKind::Tmpfs { size: Some(65_536), mode: 0o755, owner: None }),
            mount("/dev/pts", MountKind::Devpts),
        ],
        devices: vec![path("/dev/null")],
        kernel: Default::default(),
        host_devices: vec![],
        links: vec![],
        masked_paths: vec![],
        readonly_paths: vec![],
        ids: Some(IdMap { host: HOST, count: 65_536 }),
        shared: None,
        network: NetworkMode::None,
        cgroup: Cgroup::default(),
        process: Process {
            argv: ["/bin/inside", "__inside"].iter().chain(words).map(|word| (*word).to_owned()).collect(),
            env: vec![],
            workdir: path("/"),
            uid: 1000,
            gid: 1000,
            groups: vec![],
            tty: false,
            stdin: false,
            init: false,
            ulimits: vec![],
            oom_score_adj: None,
        },
        confinement: Confinement {
            capabilities: vec![],
            no_new_privileges: true,
            seccomp: None,
            own_seccomp: false,
            weaker: Vec::new(),
            userns: UserNamespace::Private,
        },
        log: Log { max_size: 16 << 20, max_files: 3, ..Log::default() },
        stop_signal: Signal::TERM,
        stop_timeout_ms: 1000,
        remove: false,
        health: None,
        restart: corral_spec::RestartPolicy::No,
        journal: None,
        disk: Vec::new(),
        warm: None,
    }
}
