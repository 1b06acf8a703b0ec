//! Monitors of real containers, from outside.
//!
//! One file in four roles, because a monitor is a process of its own, has one thread, and runs a program in a
//! container that has nothing but this file:
//!
//! ```text
//! monitor [FILTER]                       the tests, one after the other
//! monitor __monitor CONTAINER_DIR CONTAINER_DIR RUN    a monitor; notes in RUN's neighbour `after` what it ended as
//! monitor __client DIR FLAGS             what `corral run` does: starts a monitor, attaches, exits with its code
//! monitor __inside ACT …                 the container's program
//! ```
#![forbid(unsafe_code)]

mod bench;
mod inside;
mod lifecycle;
mod load;
mod terminal;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// A test and its name.
type Case = (&'static str, fn());

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["__monitor", dirs @ ..] => bench::be_monitor(dirs),
        ["__client", dir, flags @ ..] => bench::be_client(dir.as_ref(), flags),
        ["__inside", act @ ..] => inside::act(act),
        words => run_tests(words),
    }
}

/// Answers as libtest does.
fn run_tests(words: &[&str]) -> ExitCode {
    let filters: Vec<&&str> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(**filter));
    let all = lifecycle::CASES.iter().chain(load::CASES).chain(terminal::CASES);
    let cases: Vec<&Case> = all.filter(|(name, _)| wanted(name)).collect();
    if words.contains(&"--list") {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", cases.len());
    let root = rustix::process::geteuid().is_root();
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in &cases {
        if !root {
            println!("test {name} ... ignored, needs root");
            continue;
        }
        // The workspace's tests unwind: panic=abort does not apply to them.
        let ok = catch_unwind(AssertUnwindSafe(case)).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        if ok { passed += 1 } else { failed += 1 }
    }
    let (verdict, ignored) = (if failed == 0 { "ok" } else { "FAILED" }, cases.len() - passed - failed);
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored; 0 measured; 0 filtered out\n"
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(101) }
}
