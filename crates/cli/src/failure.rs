use std::fmt::Display;
use std::io::Write;

use rustix::termios::isatty;

use crate::template::harmless;

/// A verb that did not do what was asked: one line for people, and an exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

/// Docker's code for "the engine could not": of `run`, `create` and `exec`, and of unusable flags everywhere.
pub(crate) const ENGINE: u8 = 125;

impl Failure {
    /// Exit code 1: what every verb but `run`, `create` and `exec` answers.
    pub(crate) fn new(message: impl Display) -> Self {
        Self { code: 1, message: message.to_string() }
    }

    /// With this exit code.
    pub(crate) fn with_code(code: u8, message: impl Display) -> Self {
        Self { code, message: message.to_string() }
    }

    /// The words typed make no sense; `help` says where to read what would.
    pub(crate) fn usage(verb: &str, message: impl Display) -> Self {
        Self { code: ENGINE, message: format!("{message}\nSee 'corral {verb} --help'.") }
    }

    /// Too few or too many words beside the flags: Docker's words and its exit code.
    pub(crate) fn names(verb: &str, needs: &str) -> Self {
        Self::new(format!("'corral {verb}' {needs}\nSee 'corral {verb} --help'."))
    }

    /// The same failure, told by one of the verbs whose failures are 125.
    pub(crate) fn of_engine(self) -> Self {
        Self { code: if self.code == 1 { ENGINE } else { self.code }, ..self }
    }

    pub(crate) const fn code(&self) -> u8 {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn print(&self) {
        if self.message.is_empty() {
            return;
        }
        // It may quote what an image or a container says.
        let message = match isatty(rustix::stdio::stderr()) {
            true => harmless(&self.message),
            false => self.message.clone(),
        };
        // Nobody is left to tell when standard error is closed.
        drop(writeln!(std::io::stderr(), "corral: {message}"));
    }
}

impl From<corral_engine::Error> for Failure {
    fn from(error: corral_engine::Error) -> Self {
        match &error {
            corral_engine::Error::Runtime(runtime) if runtime.exit_code() != ENGINE => {
                Self::with_code(runtime.exit_code(), error)
            }
            _ => Self::new(error),
        }
    }
}

impl From<corral_image::Error> for Failure {
    fn from(error: corral_image::Error) -> Self {
        Self::new(error)
    }
}

impl From<corral_monitor::Error> for Failure {
    fn from(error: corral_monitor::Error) -> Self {
        Self::new(error)
    }
}

impl From<corral_oci::Error> for Failure {
    fn from(error: corral_oci::Error) -> Self {
        Self::new(error)
    }
}

impl From<corral_pack::Error> for Failure {
    fn from(error: corral_pack::Error) -> Self {
        Self::new(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(error)
    }
}
