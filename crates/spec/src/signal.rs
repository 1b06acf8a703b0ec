use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A signal number valid on Linux (1 to 64), parsed as Docker parses `--signal`: `TERM`, `SIGTERM`,
/// `sigterm`, `15`, `RTMIN+3` (signal(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct Signal(i32);

/// A text that names no signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid signal: {0}")]
pub struct SignalError(String);

const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

impl Signal {
    /// SIGKILL.
    pub const KILL: Self = Self(9);
    /// SIGTERM.
    pub const TERM: Self = Self(15);
    /// SIGINT.
    pub const INT: Self = Self(2);
    /// SIGHUP.
    pub const HUP: Self = Self(1);

    /// The number as the kernel takes it.
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl TryFrom<i32> for Signal {
    type Error = SignalError;

    fn try_from(number: i32) -> Result<Self, SignalError> {
        if (1..=RTMAX).contains(&number) { Ok(Self(number)) } else { Err(SignalError(number.to_string())) }
    }
}

impl From<Signal> for i32 {
    fn from(signal: Signal) -> Self {
        signal.0
    }
}

impl FromStr for Signal {
    type Err = SignalError;

    fn from_str(text: &str) -> Result<Self, SignalError> {
        let fail = || SignalError(text.chars().take(40).collect());
        if let Ok(number) = text.parse::<i32>() {
            return number.try_into().map_err(|_| fail());
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let offset = |text: &str| text.parse::<u8>().map(i32::from).map_err(|_| fail());
        let number = match name {
            "IOT" => 6,
            "POLL" => 29,
            "RTMIN" => RTMIN,
            "RTMAX" => RTMAX,
            _ if name.starts_with("RTMIN+") => RTMIN + offset(&name[6..])?,
            _ if name.starts_with("RTMAX-") => RTMAX - offset(&name[6..])?,
            _ => NAMES.iter().position(|known| *known == name).map(|at| at as i32 + 1).ok_or_else(fail)?,
        };
        let lowest = if name.starts_with("RT") { RTMIN } else { 1 };
        if (lowest..=RTMAX).contains(&number) { Ok(Self(number)) } else { Err(fail()) }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(self.0 as usize - 1) {
            Some(name) => write!(f, "SIG{name}"),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_docker_forms() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGKILL", 9),
            ("sigint", 2),
            ("9", 9),
            ("RTMIN+3", 37),
            ("RTMAX-1", 63),
            ("SYS", 31),
        ] {
            assert_eq!(text.parse::<Signal>().map(Signal::number), Ok(number), "{text}");
        }
        for bad in ["", "0", "65", "-1", "NOPE", "RTMIN+31", "RTMAX-31", "RTMIN+x"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
    }
}
