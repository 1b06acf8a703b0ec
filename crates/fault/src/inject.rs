use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::Step;

const ORDER: &str = "CORRAL_FAULT";
const TRACE: &str = "CORRAL_FAULT_TRACE";

/// How often each step was passed.
static PASSES: [AtomicU32; Step::ALL.len()] = [const { AtomicU32::new(0) }; Step::ALL.len()];

pub fn pass(step: Step) {
    let nth = PASSES[step as usize].fetch_add(1, Ordering::Relaxed) + 1;
    let (order, trace) = (std::env::var_os(ORDER), std::env::var_os(TRACE));
    if order.is_none() && trace.is_none() {
        return;
    }
    let here = format!("{}/{}:{nth}", role(), step.name());
    if let Some(path) = trace
        && let Ok(mut file) = OpenOptions::new().create(true).append(true).open(path)
    {
        // Where it cannot be written the test misses the step, and says so.
        let _ = file.write_all(format!("{here}\n").as_bytes());
    }
    if order.is_some_and(|order| order.as_encoded_bytes() == here.as_bytes()) {
        die();
    }
}

pub fn environment() -> impl Iterator<Item = (&'static str, OsString)> {
    [ORDER, TRACE].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)))
}

/// What this process is, by the first word of its command line.
fn role() -> String {
    let word = std::env::args_os().nth(1).unwrap_or_default();
    word.to_str().and_then(|word| word.strip_prefix("__")).unwrap_or("command").to_owned()
}

fn die() -> ! {
    // What can fail here is to find ourselves.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}
