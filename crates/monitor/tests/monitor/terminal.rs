//! Terminals: the container's, and the person's.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use corral_monitor::log::Stream;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::Case;
use crate::bench::{Bench, eventually, lives};

pub const CASES: &[Case] = &[
    ("the_terminal_has_our_size_and_follows_it", the_terminal_has_our_size_and_follows_it),
    ("detach_keys_detach_and_restore", detach_keys_detach_and_restore),
    ("a_signal_leaves_no_raw_terminal", a_signal_leaves_no_raw_terminal),
    ("a_strangers_output_is_filtered", a_strangers_output_is_filtered),
];

/// A person's terminal: what they type goes in, what they see is collected.
struct Person {
    keyboard: File,
    terminal: OwnedFd,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Person {
    fn new(rows: u16, cols: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(name.as_bytes()));
        let terminal = rustix::fs::open(
            path,
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
        let keyboard = File::from(master);
        let screen = Arc::new(Mutex::new(Vec::new()));
        let person = Self { keyboard, terminal, screen };
        person.resize(rows, cols);
        let (mut source, sink) = (person.keyboard.try_clone().unwrap(), Arc::clone(&person.screen));
        // Ends with the process: the terminal is held open by this side too.
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = source.read(&mut piece) {
                sink.lock().unwrap().extend_from_slice(&piece[..read]);
            }
        });
        person
    }

    fn resize(&self, rows: u16, cols: u16) {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.terminal, size).unwrap();
    }

    fn starts(&self, bench: &Bench, flags: &[&str]) -> Child {
        let end = || Stdio::from(self.terminal.try_clone().unwrap());
        bench.client(flags).stdin(end()).stdout(end()).stderr(end()).spawn().unwrap()
    }

    fn types(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    fn sees(&self, text: &str) {
        let seen = || String::from_utf8_lossy(&self.screen.lock().unwrap()).into_owned();
        eventually(&format!("{text:?} on the screen"), || seen().contains(text));
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ICANON)
    }
}

fn send(child: &Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

fn with_terminal(words: &[&str]) -> Bench {
    Bench::new(words).with(|launch| {
        launch.process.tty = true;
        launch.process.stdin = true;
    })
}

fn the_terminal_has_our_size_and_follows_it() {
    let bench = with_terminal(&["size"]);
    let person = Person::new(33, 101);
    let mut child = person.starts(&bench, &["-t", "-i"]);
    person.sees("33x101\r\n");
    assert!(person.is_raw());
    person.resize(44, 202);
    send(&child, rustix::process::Signal::WINCH);
    person.sees("44x202\r\n");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(lives(bench.status().init.pid), "the client's end is not the terminal's");
}

fn detach_keys_detach_and_restore() {
    let bench = with_terminal(&["cat"]);
    let mut person = Person::new(24, 80);
    assert!(!person.is_raw());
    let mut child = person.starts(&bench, &["-t", "-i"]);
    eventually("raw mode", || person.is_raw());
    person.types(b"typed\r");
    // Once by the container's terminal, once by the program.
    person.sees("typed\r\ntyped\r\n");
    person.types(b"\x10");
    person.types(b"\x11");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    person.sees("detached");
    assert!(!person.is_raw());
    assert!(lives(bench.status().init.pid));
    assert!(!bench.log(Stream::Stdout).contains('\x10'));
}

fn a_signal_leaves_no_raw_terminal() {
    let bench = with_terminal(&["sleep"]);
    let person = Person::new(24, 80);
    let mut child = person.starts(&bench, &["-t", "-i"]);
    person.sees("asleep");
    assert!(person.is_raw());
    send(&child, rustix::process::Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(!person.is_raw());
}

fn a_strangers_output_is_filtered() {
    let bench = Bench::new(&["say", "\x1b]52;c;eHg=\x07\x1b[31mred\x1b[6n\x1b[0m", "0"]);
    let person = Person::new(24, 80);
    let mut child = person.starts(&bench, &[]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    person.sees("\x1b[31mred\x1b[0m\r\n");
    person.sees("\x1b[31mred\x1b[0m on stderr");
    assert!(!String::from_utf8_lossy(&person.screen.lock().unwrap()).contains("]52"));
    assert!(bench.log(Stream::Stdout).contains("\x1b]52;c;eHg=\x07"), "the log keeps what was written");
}
