//! The black-box tests' view of the built binary: a private root and run directory each, and an image of
//! busybox to run. What is tested is in `tests/`, one file a theme.
//!
//! The binary is the one named by `CORRAL_BIN`, which `cargo xtask test` sets. A test that needs something
//! this machine lacks prints `SKIP: name: reason`, which is counted.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod invariants;

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// One installation of its own: nothing is shared with another test or with the host's containers.
pub struct Corral {
    dir: TempDir,
    run: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub struct Said {
    /// Exit code, 128 + n for a signal.
    pub code: i32,
    /// Standard output as text.
    pub out: String,
    /// Standard error as text.
    pub err: String,
}

/// The binary under test.
///
/// # Panics
/// When `CORRAL_BIN` names none: a test without its subject must not pass.
pub fn binary() -> PathBuf {
    let path = std::env::var_os("CORRAL_BIN")
        .expect("CORRAL_BIN names the corral binary (cargo xtask test sets it)");
    let path = PathBuf::from(path);
    assert!(path.is_file(), "CORRAL_BIN={} is not a file", path.display());
    path
}

impl Corral {
    /// A fresh installation with the image `busybox`.
    ///
    /// # Panics
    /// When the machine lacks a static busybox, which the set-up installs.
    pub fn new() -> Self {
        let corral = Self::empty();
        let said = corral.feed(&["import", "-", "busybox"], &busybox_archive());
        assert_eq!(said.code, 0, "import: {}", said.err);
        corral
    }

    /// A fresh installation without images.
    ///
    /// # Panics
    /// When no temporary directory can be made.
    pub fn empty() -> Self {
        let named = || {
            let mut builder = tempfile::Builder::new();
            builder.prefix("corral-test-");
            builder
        };
        let dir = named().tempdir().expect("temporary directory");
        // In memory, as /run is.
        let run = named().tempdir_in("/dev/shm").or_else(|_| named().tempdir()).expect("temporary directory");
        Self { dir, run }
    }

    /// A place for the test's own files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The lasting directory of this installation.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// The run directory of this installation.
    pub fn run_root(&self) -> PathBuf {
        self.run.path().join("corral")
    }

    /// A command of this installation, not yet started.
    pub fn command<S: AsRef<OsStr>>(&self, words: &[S]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(words)
            .env("CORRAL_ROOT", self.root())
            .env("CORRAL_RUN", self.run_root())
            .env("TZ", "UTC")
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When the binary cannot be executed.
    pub fn say<S: AsRef<OsStr>>(&self, words: &[S]) -> Said {
        Said::from(self.command(words).output().expect("corral runs"))
    }

    /// Runs a command that must succeed; its standard output.
    ///
    /// # Panics
    /// When it fails, with what it said.
    pub fn ok<S: AsRef<OsStr> + std::fmt::Debug>(&self, words: &[S]) -> String {
        let said = self.say(words);
        assert_eq!(said.code, 0, "{words:?}: {} {}", said.out, said.err);
        said.out
    }

    /// Runs a command with these bytes as standard input.
    ///
    /// # Panics
    /// When the binary cannot be executed.
    pub fn feed<S: AsRef<OsStr>>(&self, words: &[S], input: &[u8]) -> Said {
        let mut child = self
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("corral runs");
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let said = Said::from(child.wait_with_output().expect("corral ends"));
        writer.join().expect("writer");
        said
    }

    /// Starts a command with its output discarded.
    ///
    /// # Panics
    /// When the binary cannot be executed.
    pub fn spawn<S: AsRef<OsStr>>(&self, words: &[S]) -> Child {
        self.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("corral runs")
    }

    /// The only element of `inspect`'s answer.
    ///
    /// # Panics
    /// When there is no such object.
    pub fn inspect(&self, name: &str) -> serde_json::Value {
        let text = self.ok(&["inspect", name]);
        let mut values: Vec<serde_json::Value> = serde_json::from_str(&text).expect("JSON");
        values.pop().expect("one object")
    }
}

impl Default for Corral {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Corral {
    /// Ends what a failed test left running; the directory goes with it.
    fn drop(&mut self) {
        let ids = self.say(&["ps", "-aq"]).out;
        for id in ids.split_whitespace() {
            self.say(&["rm", "-f", id]);
        }
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let code = output.status.code().or(output.status.signal().map(|signal| 128 + signal));
        Self {
            code: code.unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// How many times slower this machine is than one whose processor is real (`CORRAL_SLOWNESS`).
pub fn slowness() -> u32 {
    std::env::var("CORRAL_SLOWNESS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Whether memory can be mounted with other owners; says so if not.
pub fn has_idmapped_memory(test: &str) -> bool {
    since_linux((6, 3), test, "tmpfs has no id-mapped mounts")
}

/// Whether the kernel is of this version or newer; says what older ones lack if not.
pub fn since_linux(version: (u32, u32), test: &str, lack: &str) -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let has = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= version;
    if !has {
        println!("SKIP: {test}: {lack} before Linux {}.{}", version.0, version.1);
    }
    has
}

/// Waits until something holds, at most ten seconds of a real processor.
///
/// # Panics
/// When it does not hold by then.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10) * slowness();
    while !holds() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The archive that the image `busybox` is made of.
///
/// # Panics
/// When the machine lacks a static busybox, which the set-up installs.
pub fn busybox_archive() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    busybox_tree(&mut tar).expect("an archive of busybox (apt-get install busybox-static)");
    tar.into_inner().expect("archive")
}

/// The digest of these bytes, by the host's own program.
///
/// # Panics
/// When there is no sha256sum.
pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sha256sum");
    child.stdin.take().expect("piped").write_all(bytes).expect("it reads");
    let said = Said::from(child.wait_with_output().expect("it ends")).out;
    let pair = |at: usize| u8::from_str_radix(&said[at..at + 2], 16).expect("hexadecimal");
    (0..32).map(|at| pair(2 * at)).collect()
}

/// An archive of one small file.
///
/// # Panics
/// Never: it is in memory.
pub fn text_archive(text: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    file(&mut tar, "text", 0o644, text.as_bytes()).expect("in memory");
    tar.into_inner().expect("archive")
}

const APPLETS: [&str; 42] = [
    "sh", "ls", "cat", "id", "true", "false", "echo", "sleep", "env", "pwd", "hostname", "touch", "mkdir",
    "rm", "stat", "mount", "umount", "ps", "kill", "grep", "head", "tail", "wc", "dd", "chown", "chmod",
    "mknod", "mv", "printf", "find", "readlink", "nc", "ip", "ping", "unshare", "chroot", "seq", "yes",
    "date", "ln", "tty", "stty",
];

fn busybox_tree(tar: &mut tar::Builder<Vec<u8>>) -> std::io::Result<()> {
    let mut dir = |path: &str, mode| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(mode);
        header.set_size(0);
        header.set_cksum();
        tar.append_data(&mut header, path, std::io::empty())
    };
    for (path, mode) in [("bin", 0o755), ("etc", 0o755), ("home", 0o755), ("tmp", 0o1777), ("root", 0o700)] {
        dir(path, mode)?;
    }
    let busybox = std::fs::read("/bin/busybox")?;
    file(tar, "bin/busybox", 0o755, &busybox)?;
    file(tar, "etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nagent:x:1000:1000::/home:/bin/sh\n")?;
    file(tar, "etc/group", 0o644, b"root:x:0:\nagent:x:1000:\nextra:x:1001:agent\n")?;
    for applet in APPLETS {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    Ok(())
}

/// Appends a root-owned file to an archive.
///
/// # Errors
/// As the archive's.
pub fn file(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, bytes: &[u8]) -> std::io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    header.set_cksum();
    tar.append_data(&mut header, path, bytes)
}
