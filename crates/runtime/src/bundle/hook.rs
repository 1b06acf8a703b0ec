//! Hooks: programs of the host that a configuration names.

use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Error;

/// A program to run at a point of the lifecycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Which point, for errors.
    pub point: &'static str,
    /// The program, absolute.
    pub path: PathBuf,
    /// Its arguments, the first of them its name.
    pub args: Vec<String>,
    /// Its environment, complete.
    pub env: Vec<String>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

impl Hook {
    /// Runs it with the container's state on its standard input.
    ///
    /// # Errors
    /// [`Error::Hook`] if it cannot be started, fails, or takes too long; it is killed then.
    pub fn run(&self, state: &str) -> Result<(), Error> {
        self.attempt(state).map_err(|reason| Error::Hook {
            point: self.point,
            path: self.path.clone(),
            reason,
        })
    }

    fn attempt(&self, state: &str) -> Result<(), String> {
        let mut command = Command::new(&self.path);
        let mut args = self.args.iter();
        if let Some(name) = args.next() {
            command.arg0(name);
        }
        command.args(args).env_clear().stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit());
        command.envs(self.env.iter().filter_map(|variable| variable.split_once('=')));
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        if let Some(mut stdin) = child.stdin.take() {
            // Smaller than a pipe's room; a hook may close its input unread.
            let _ = stdin.write_all(state.as_bytes());
        }
        let deadline = self.timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let ended = match deadline {
                None => Some(child.wait()),
                Some(_) => child.try_wait().transpose(),
            };
            match ended.transpose().map_err(|error| error.to_string())? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    return Err(match (status.code(), status.signal()) {
                        (Some(code), _) => format!("exit status {code}"),
                        (None, signal) => format!("killed by signal {}", signal.unwrap_or(0)),
                    });
                }
                None if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    let killed = child.kill().and_then(|()| child.wait());
                    let more = killed.err().map_or_else(String::new, |error| format!(", and: {error}"));
                    return Err(format!("took longer than {:?}{more}", self.timeout.unwrap_or_default()));
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }
}
