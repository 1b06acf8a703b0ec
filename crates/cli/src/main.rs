//! The binary `corral`: flags in, use-cases, output and exit codes out.
//!
//! `__monitor`, `__reap` and `__exec` are this same program in other roles, started by itself and never by a person;
//! they are told apart before anything else happens. Only the flags of the verb that was typed are built.
#![forbid(unsafe_code)]

mod app;
mod failure;
mod filter;
mod health_flags;
mod limit_flags;
mod listing;
mod moment;
mod output;
mod progress;
mod relay;
mod run_flags;
mod setting_flags;
mod template;
mod typed;
mod unsupported;
mod user;
mod verb;
mod weaker;
mod words;
mod zone;

use std::ffi::OsString;
use std::process::ExitCode;

use failure::Failure;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    // Clients of runc call a binary.
    if name
        .as_encoded_bytes()
        .rsplit(|byte| *byte == b'/')
        .next()
        .is_some_and(|name| matches!(name, b"corral-oci" | b"runc"))
    {
        return finish(verb::oci::run(words.collect()));
    }
    let first = words.next();
    match first.as_deref().and_then(|word| word.to_str()) {
        Some("__monitor") => verb::inner::monitor(words),
        Some("__reap") => verb::inner::reap(words),
        Some("__exec") => finish(verb::exec::background(words.collect())),
        _ => finish(verb::dispatch(first, words.collect())),
    }
}

fn finish(outcome: Result<u8, Failure>) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code())
        }
    }
}

/// musl's allocator maps and unmaps each group of its slots: eighty system calls of a `run`, and a page fault
/// behind each of them. This one takes memory in few large steps.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Words after the verb.
pub(crate) type Words = Vec<OsString>;
