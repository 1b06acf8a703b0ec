//! What runs in the containers: the word after `__inside` says what.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use corral_runtime::signal::SignalFd;
use corral_spec::Signal;
use rustix::event::{PollFd, PollFlags, poll};

/// Does one act and ends.
pub fn act(words: &[&str]) -> ExitCode {
    let mut out = std::io::stdout();
    match words {
        ["say", text, code] => {
            println!("{text}");
            eprintln!("{text} on stderr");
            return ExitCode::from(code.parse::<u8>().unwrap());
        }
        // Copies standard input until its end, and says how much that was.
        ["cat"] => {
            let mut copied = 0;
            let mut piece = vec![0; 65_536];
            loop {
                let read = std::io::stdin().read(&mut piece).unwrap();
                if read == 0 {
                    break;
                }
                out.write_all(&piece[..read]).unwrap();
                copied += read;
            }
            eprintln!("end after {copied} bytes");
        }
        ["lines", count] => {
            let mut out = std::io::BufWriter::new(out.lock());
            for number in 0..count.parse::<u32>().unwrap() {
                writeln!(out, "{number:09}").unwrap();
            }
        }
        ["flood", megabytes] => {
            let piece = vec![b'x'; 1 << 20];
            for _ in 0..megabytes.parse::<u32>().unwrap() {
                out.write_all(&piece).unwrap();
            }
        }
        ["sleep"] => {
            println!("asleep");
            std::thread::sleep(Duration::from_secs(600));
        }
        ["eat", megabytes] => {
            let eaten: Vec<Vec<u8>> =
                (0..megabytes.parse::<u32>().unwrap()).map(|_| vec![1; 1 << 20]).collect();
            println!("ate {}", eaten.len());
        }
        ["ticks"] => loop {
            println!("tick");
            std::thread::sleep(Duration::from_millis(5));
        },
        // Ends with 42 at SIGTERM.
        ["trap"] => {
            let signals = SignalFd::new([Signal::TERM]).unwrap();
            println!("ready");
            poll(&mut [PollFd::new(&signals, PollFlags::IN)], None).unwrap();
            return ExitCode::from(42);
        }
        // Says the size of its terminal at each change.
        ["size"] => {
            let winch: Signal = "WINCH".parse().unwrap();
            let signals = SignalFd::new([winch]).unwrap();
            loop {
                let size = rustix::termios::tcgetwinsize(std::io::stdin()).unwrap();
                println!("{}x{}", size.ws_row, size.ws_col);
                poll(&mut [PollFd::new(&signals, PollFlags::IN)], None).unwrap();
                while signals.take().unwrap().is_some() {}
            }
        }
        // Which signals are blocked and ignored.
        ["signals"] => {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let ours = |line: &&str| line.starts_with("SigBlk:") || line.starts_with("SigIgn:");
            status.lines().filter(ours).for_each(|line| println!("{line}"));
        }
        ["reopen"] => {
            let mut again = std::fs::OpenOptions::new().write(true).open("/proc/self/fd/1").unwrap();
            writeln!(again, "reopened").unwrap();
        }
        _ => return ExitCode::from(64),
    }
    ExitCode::SUCCESS
}
