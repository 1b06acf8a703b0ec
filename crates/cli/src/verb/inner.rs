//! The program in its other roles, started by itself.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use corral_engine::INSIDE;
use corral_monitor::{After, Invocation};
use corral_runtime::rootless::register;
use corral_spec::ContainerId;

use crate::app::Globals;

/// `__monitor RECORDS_DIR DATA_DIR RUN_DIR`: runs one container, then becomes `__reap`.
pub(crate) fn monitor(words: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(invocation) = Invocation::parse(words) else { return ExitCode::from(125) };
    // An ordinary user's other commands find the namespace by those who are in it.
    let kept = match std::env::var_os(INSIDE) {
        None => None,
        Some(_) => match Globals::default().layout().ok().and_then(|layout| register(layout.run_root()).ok())
        {
            Some(member) => Some(member.lock),
            None => return ExitCode::from(125),
        },
    };
    match corral_monitor::run(&invocation, kept) {
        After::Exit(code) => ExitCode::from(code),
        After::Reap(id) => {
            // Only returns if it failed; then the next command collects.
            drop(Command::new("/proc/self/exe").arg("__reap").arg(id.as_str()).exec());
            ExitCode::from(125)
        }
    }
}

/// `__reap ID`: takes down what a container that ended holds, and the container itself if it was `--rm`.
pub(crate) fn reap(mut words: impl Iterator<Item = OsString>) -> ExitCode {
    let id: Option<ContainerId> = words.next().and_then(|word| word.to_str()?.parse().ok());
    let Some(id) = id else { return ExitCode::from(125) };
    match Globals::default().engine().map(|engine| engine.reap(&id)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(_)) | Err(_) => ExitCode::from(125),
    }
}
