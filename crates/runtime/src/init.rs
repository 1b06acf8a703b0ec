//! `--init`: process 1 stays ours, the program is its child.
//!
//! It forwards every signal that it gets, reaps whatever is orphaned, and ends with the program's code.
//! It has the program's ids, capabilities and filter, no descriptor, and cannot be inspected from inside:
//! its memory is a copy of the monitor's, marked not dumpable.

use rustix::process::{Pid, WaitOptions, wait};
use rustix::termios::tcsetpgrp;

use crate::Error;
use crate::confine::LastStep;
use crate::program::Program;
use crate::sys::memory::hide_words;
use crate::sys::{block_signals, close_all, exit, fork_plain, kill, reset_signals, wait_signal};

/// Runs the program as a child of this process and ends as it ends. `keep` says which descriptors the
/// child needs; it comes back here only in the child, or with an error.
pub(crate) fn run(program: &Program, last: &LastStep, ignored_signals: u64, tty: bool) -> Error {
    let fail = |act: &'static str| move |error| Error::inside(act, error);
    if let Err(error) = block_signals() {
        return fail("block signals in the init process")(error);
    }
    // The container sees this process.
    if let Err(error) = hide_words() {
        return fail("hide the words of the init process")(error);
    }
    match fork_plain() {
        Err(error) => fail("start the program below the init process")(error),
        Ok(None) => start(program, last, ignored_signals, tty),
        Ok(Some(child)) => {
            if last.take().is_err() || close_all().is_err() {
                exit(125);
            }
            supervise(child)
        }
    }
}

/// Watches a program that was forked from a template into this pid namespace, and is or will be this process's child: its
/// parent ends. Comes back only with an error.
pub(crate) fn adopt(number: &[u8], last: &LastStep) -> Error {
    let fail = |act: &'static str| move |error| Error::inside(act, error);
    let number = <[u8; 4]>::try_from(number).ok().and_then(|bytes| Pid::from_raw(i32::from_ne_bytes(bytes)));
    let Some(program) = number else { return Error::Launch("the program has no number".to_owned()) };
    match block_signals().map_err(fail("block signals in the init process")).and_then(|()| last.take()) {
        Err(error) => error,
        Ok(()) => match close_all() {
            Err(_) => exit(125),
            Ok(()) => {
                // It may have ended before signals were blocked, and nobody was told.
                reap(program);
                supervise(program)
            }
        },
    }
}

fn start(program: &Program, last: &LastStep, ignored_signals: u64, tty: bool) -> Error {
    // A process group of its own, in the terminal's foreground: keys signal the program only once.
    if rustix::process::setpgid(None, None).is_ok() && tty {
        let foreground = tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid());
        if let Err(errno) = foreground {
            return Error::inside("put the program in the terminal's foreground", errno);
        }
    }
    if let Err(error) = reset_signals(ignored_signals) {
        return Error::inside("reset signals", error);
    }
    match last.take() {
        Ok(()) => program.execute(),
        Err(error) => error,
    }
}

fn supervise(child: Pid) -> ! {
    loop {
        let Ok(signal) = wait_signal() else { continue };
        if signal != libc::SIGCHLD {
            // The program may have ended just now; the next SIGCHLD tells.
            drop(kill(child, signal));
            continue;
        }
        reap(child);
    }
}

/// Reaps whoever has ended; ends as the program, if it is among them.
fn reap(child: Pid) {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid != child {
            continue;
        }
        if let Some(code) = status.exit_status() {
            exit(code);
        }
        if let Some(signal) = status.terminating_signal() {
            exit(128 + signal);
        }
    }
}
