//! The container's side: small acts whose results a test reads.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Does what the words ask, if they are this side's; several acts are parted by `--`.
pub fn act(words: &[&str]) -> Option<u8> {
    let mut code = 0;
    for act in words.split(|word| *word == "--") {
        code = one(act)?;
    }
    Some(code)
}

fn one(words: &[&str]) -> Option<u8> {
    match words {
        ["exit", code] => return code.parse().ok(),
        ["say", text] => println!("{text}"),
        ["kill", signal] => kill_self(signal),
        ["sleep", seconds] => std::thread::sleep(Duration::from_secs(seconds.parse().ok()?)),
        ["read", path] => say(fs::read_to_string(path).map(|text| text.trim_end().to_owned())),
        ["write", path, text] => say(write(path, text).map(|()| format!("wrote {path}"))),
        ["list", path] => say(list(path)),
        ["link", path] => say(fs::read_link(path).map(|target| target.display().to_string())),
        ["stat", path] => say(stat(path)),
        ["mkdir", path] => say(fs::create_dir(path).map(|()| format!("made {path}"))),
        ["cwd"] => say(std::env::current_dir().map(|path| path.display().to_string())),
        ["hostname"] => {
            say(fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned()))
        }
        ["status", field] => say(status(field)),
        ["fork", count] => println!("{} forked", fork(count.parse().ok()?)),
        ["eat", megabytes] => eat(megabytes.parse().ok()?),
        ["dial"] => say(dial()),
        ["knock", name] => say(knock(name)),
        ["tty"] => println!("tty {}", rustix::termios::isatty(std::io::stdout().as_fd())),
        ["orphan"] => orphan(),
        ["leave"] => drop(Command::new("/bin/probe").args(["say", "left"]).spawn()),
        ["trap", signal] => trap(signal),
        _ => return None,
    }
    Some(0)
}

fn say(result: std::io::Result<String>) {
    match result {
        Ok(text) => println!("{text}"),
        Err(error) => println!("errno {}", error.raw_os_error().unwrap_or(0)),
    }
}

fn write(path: &str, text: &str) -> std::io::Result<()> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).open(path)?.write_all(text.as_bytes())
}

fn list(path: &str) -> std::io::Result<String> {
    let mut names: Vec<_> = fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    names.sort();
    Ok(format!("[{}]", names.join(" ")))
}

fn stat(path: &str) -> std::io::Result<String> {
    let stat = rustix::fs::lstat(path)?;
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Ok(format!("{:o} {}:{} dev {major}:{minor}", stat.st_mode, stat.st_uid, stat.st_gid))
}

fn status(field: &str) -> std::io::Result<String> {
    let text = fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(line.unwrap_or("none").split_ascii_whitespace().collect::<Vec<_>>().join(" "))
}

fn kill_self(signal: &str) {
    let signal = signal.parse().ok().and_then(rustix::process::Signal::from_named_raw).expect("signal");
    rustix::process::kill_process(rustix::process::getpid(), signal).expect("kill");
    std::thread::sleep(Duration::from_secs(5));
}

/// Starts sleeping children until the kernel refuses; says how many.
fn fork(most: usize) -> usize {
    let mut children = Vec::new();
    while children.len() < most {
        match Command::new("/bin/probe").args(["sleep", "30"]).stdin(Stdio::null()).spawn() {
            Ok(child) => children.push(child),
            Err(_) => break,
        }
    }
    let count = children.len();
    for mut child in children {
        child.kill().and_then(|()| child.wait()).expect("kill");
    }
    count
}

/// Touches every page of so much memory.
fn eat(megabytes: usize) {
    let mut held = Vec::new();
    for round in 0..megabytes {
        let mut block = vec![0_u8; 1 << 20];
        block.iter_mut().step_by(4096).for_each(|byte| *byte = round as u8 + 1);
        held.push(block);
    }
    println!("ate {}", held.iter().map(Vec::len).sum::<usize>());
}

/// Connects to itself over the loopback device.
fn dial() -> std::io::Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::net::TcpStream::connect(address)?;
    Ok("connected".to_owned())
}

/// Connects to an abstract unix socket.
fn knock(name: &str) -> std::io::Result<String> {
    use std::os::linux::net::SocketAddrExt;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    std::os::unix::net::UnixStream::connect_addr(&address).map(|_| "connected".to_owned())
}

/// Leaves a grandchild behind whose parent is gone, and waits until process 1 has it.
fn orphan() {
    let mut middle = Command::new("/bin/probe").args(["leave"]).spawn().expect("spawn");
    middle.wait().expect("wait");
    std::thread::sleep(Duration::from_millis(300));
    let zombies = fs::read_dir("/proc")
        .expect("proc")
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok())
        .filter(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")))
        .count();
    println!("{zombies} zombies");
}

/// Waits for one signal and names it.
fn trap(signal: &str) {
    let wanted: corral_spec::Signal = signal.parse().expect("signal");
    let signals = corral_runtime::signal::SignalFd::new([wanted]).expect("signalfd");
    println!("ready");
    for _ in 0..500 {
        if let Some(got) = signals.take().expect("signal") {
            println!("got {got}");
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("nothing came");
}
