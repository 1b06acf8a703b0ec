//! The program of a process: looked up and executed in the container.

use std::ffi::CString;
use std::io;

use corral_spec::record::Process;

use crate::Error;
use crate::sys::{CStrings, execve};

/// Docker's, for an environment without `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// All that execve needs, made while allocating is still harmless.
pub(crate) struct Program {
    name: String,
    candidates: Vec<CString>,
    argv: CStrings,
    env: CStrings,
}

impl Program {
    /// Prepares the program of `process`.
    pub(crate) fn of(process: &Process) -> Result<Self, Error> {
        Self::new(&process.argv, &process.env)
    }

    /// Prepares a program with its arguments and environment.
    pub(crate) fn new(argv: &[String], env: &[String]) -> Result<Self, Error> {
        let no_nul = |what: &str| Error::Launch(format!("{what} holds a NUL byte"));
        let name = argv.first().filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| Error::Launch("no program is given".to_owned()))?.clone();
        let path = env.iter().rev().find_map(|var| var.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
        let candidates = candidates(&name, path)
            .into_iter()
            .map(CString::new)
            .collect::<Result<_, _>>()
            .map_err(|_| no_nul("the program's name"))?;
        let argv = CStrings::new(argv).map_err(|_| no_nul("an argument"))?;
        let env = CStrings::new(env).map_err(|_| no_nul("an environment variable"))?;
        Ok(Self { name, candidates, argv, env })
    }

    /// Whether there is something to execute, with the rights that this process has; as [`Self::execute`] looks.
    pub(crate) fn look(&self) -> Result<(), Error> {
        use rustix::fs::{Access, AtFlags, CWD, accessat};
        let mut best = libc::ENOENT;
        for candidate in &self.candidates {
            match accessat(CWD, candidate, Access::EXEC_OK, AtFlags::EACCESS) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {}
                Err(errno) => best = errno.raw_os_error(),
            }
        }
        Err(Error::Exec { program: self.name.clone(), source: io::Error::from_raw_os_error(best) })
    }

    /// Executes it; comes back only with the reason why not. As execvp(3), a file that may not be
    /// executed does not end the search, but is the answer if nothing better is found.
    pub(crate) fn execute(&self) -> Error {
        let mut best = io::Error::from_raw_os_error(libc::ENOENT);
        for candidate in &self.candidates {
            let error = execve(candidate, &self.argv, &self.env);
            match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => {}
                Some(libc::EACCES) => best = error,
                _ => {
                    best = error;
                    break;
                }
            }
        }
        Error::Exec { program: self.name.clone(), source: best }
    }
}

fn candidates(name: &str, path: &str) -> Vec<String> {
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    let directory = |part: &str| if part.is_empty() { ".".to_owned() } else { part.to_owned() };
    path.split(':').map(|part| format!("{}/{name}", directory(part))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_program_is_looked_for() {
        let check = |name, path, expect: &[&str]| assert_eq!(candidates(name, path), expect);
        check("sh", "/usr/bin:/bin", &["/usr/bin/sh", "/bin/sh"]);
        check("sh", "/a::b", &["/a/sh", "./sh", "b/sh"]);
        check("./sh", "/usr/bin", &["./sh"]);
        check("/bin/sh", "", &["/bin/sh"]);
    }
}
