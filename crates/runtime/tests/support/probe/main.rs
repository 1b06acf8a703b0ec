//! What the tests of this room run, on both sides of the wall.
//!
//! Outside, `probe run|hold|tty|exec|loop LAUNCH …` creates a container from a process with one thread
//! (a test harness has several). Inside, the same file is `/bin/probe` of the image and answers `probe
//! ids`, `probe read PATH` and the like on standard output.
#![forbid(unsafe_code)]

mod inside;
mod outside;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match outside::act(&words).or_else(|| inside::act(&words)) {
        Some(code) => ExitCode::from(code),
        None => {
            eprintln!("probe: unknown act {words:?}");
            ExitCode::from(64)
        }
    }
}
