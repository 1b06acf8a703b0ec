use std::fmt;
use std::io;

/// The step at which a trial failed, and the kernel's answer, as one line.
#[derive(Debug)]
pub(super) struct Failure {
    text: String,
    errno: Option<i32>,
}

impl Failure {
    pub(super) fn new(step: impl fmt::Display, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        Self { text: format!("cannot {step}: {source}"), errno: source.raw_os_error() }
    }

    /// What no call would change.
    pub(super) fn by_nature(text: &str) -> Self {
        Self { text: text.to_owned(), errno: None }
    }

    /// The call went through and did not have its effect.
    pub(super) fn no_effect(step: impl fmt::Display) -> Self {
        Self { text: format!("cannot {step}: the call succeeds without effect"), errno: None }
    }

    /// The same, with the thing it was about in front.
    pub(super) fn of(self, thing: impl fmt::Display) -> Self {
        Self { text: format!("{thing}: {}", self.text), ..self }
    }

    pub(super) fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// For the pipe between a trial's child and its parent: errno or 0, then the text.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.errno.unwrap_or(0).to_ne_bytes().to_vec();
        bytes.extend(self.text.as_bytes());
        bytes
    }

    /// The reverse; a child that ended without a word is a failure too.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        match bytes.split_first_chunk::<4>() {
            Some((errno, text)) => Self {
                text: String::from_utf8_lossy(text).into_owned(),
                errno: Some(i32::from_ne_bytes(*errno)).filter(|errno| *errno != 0),
            },
            None => Self { text: "the trial's process ended without a word".to_owned(), errno: None },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<crate::Error> for Failure {
    /// Errors of the runtime say themselves what was tried; their innermost cause has the errno.
    fn from(error: crate::Error) -> Self {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let errno = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        Self { text: error.to_string(), errno }
    }
}

/// Names the step of a failing call.
pub(super) fn at<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Failure {
    move |error| Failure::new(step, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_pipe() {
        for failure in [
            Failure::new("mount x", io::Error::from_raw_os_error(1)),
            Failure::no_effect("be 0"),
            Failure::from_bytes(b""),
        ] {
            let back = Failure::from_bytes(&failure.to_bytes());
            assert_eq!((back.errno(), back.to_string()), (failure.errno(), failure.to_string()));
        }
    }
}
