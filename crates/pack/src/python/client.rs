//! pip: uv's, the user's own, or Debian's in a container.
//!
//! ```text
//! generated requirements ──▶ pip download --no-deps --only-binary :all: --require-hashes   (cwd: empty)
//!                                 └─▶ DEST/*.whl ──sha256──▶ CACHE/wheels/HEX/NAME.whl
//! ```
//!
//! Never without `--only-binary`: to download a source distribution, pip runs its build for the metadata.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::environment::Environment;
use crate::Error;
use crate::client;
use crate::tools::Tools;

const GUARDED: &str = include_str!("guarded_pip.py");

/// A client that answered.
pub(super) enum Client<'a> {
    /// The user's, by the interpreter that has it.
    Module(Vec<OsString>),
    /// The user's, as a program of which only the name is known.
    Program(Vec<OsString>),
    /// Debian's, in a container.
    Confined(&'a Tools<'a>),
}

impl<'a> Client<'a> {
    /// Finds pip: through uv if that is there, else the user's own; Debian's in a container if none answers.
    pub(super) fn find(project: &Path, tools: &'a Tools<'a>) -> Self {
        Self::first(project, tools, |_| true)
    }

    /// The same for [`Client::resolve`], which needs the interpreter.
    pub(super) fn find_resolver(project: &Path, tools: &'a Tools<'a>) -> Self {
        Self::first(project, tools, Self::has_interpreter)
    }

    fn has_interpreter(&self) -> bool {
        !matches!(self, Self::Program(_))
    }

    fn first(project: &Path, tools: &'a Tools<'a>, fits: fn(&Self) -> bool) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let answers = |client: &Self| client.run(&["--version".into()], project, project).is_ok();
        let found = Self::candidates(&path, project).into_iter().filter(fits).find(answers);
        found.unwrap_or(Self::Confined(tools))
    }

    /// The clients on the path, the preferred one first. They may turn out to have no pip.
    fn candidates(path: &OsStr, project: &Path) -> Vec<Self> {
        let find = |name: &str| client::find(name, path, project);
        let with = |program: PathBuf, arguments: &[&str]| {
            std::iter::once(program.into_os_string())
                .chain(arguments.iter().map(OsString::from))
                .collect::<Vec<_>>()
        };
        let candidates = [
            find("uv").map(|uv| {
                let words = ["run", "--no-project", "--quiet", "--with", "pip", "python"];
                Self::Module(with(uv, &words))
            }),
            find("python3").map(|python| Self::Module(with(python, &[]))),
            find("pip3").map(|pip| Self::Program(with(pip, &[]))),
            find("pip").map(|pip| Self::Program(with(pip, &[]))),
        ];
        candidates.into_iter().flatten().collect()
    }

    /// Fetches what the requirements name into `dest`, for the environment.
    ///
    /// # Errors
    /// [`Error::Client`] with what the client said.
    pub(super) fn download(
        &self,
        requirements: &Path,
        dest: &Path,
        environment: &Environment,
        project: &Path,
    ) -> Result<(), Error> {
        let mut arguments = words(&["download", "--quiet", "--no-deps", "--require-hashes", "--dest"]);
        arguments.push(dest.into());
        arguments.extend(target(environment));
        arguments.extend([OsString::from("-r"), requirements.into()]);
        self.run(&arguments, dest.parent().unwrap_or(dest), project).map(drop)
    }

    /// What pip is configured with, line by line as `pip config list` prints it.
    ///
    /// # Errors
    /// [`Error::Client`] with what the client said.
    pub(super) fn configuration(&self, project: &Path) -> Result<String, Error> {
        self.text(&["config", "list"], project)
    }

    /// The help of pip's `download`, which names its defaults.
    ///
    /// # Errors
    /// As [`Client::configuration`].
    pub(super) fn help(&self, project: &Path) -> Result<String, Error> {
        self.text(&["download", "--help"], project)
    }

    fn text(&self, arguments: &[&str], project: &Path) -> Result<String, Error> {
        let empty = tempfile::tempdir().map_err(Error::io("create", std::env::temp_dir()))?;
        let printed = self.run(&words(arguments), empty.path(), project)?;
        Ok(String::from_utf8_lossy(&printed).into_owned())
    }

    /// Resolves requirements without installing: gives the client's report as JSON.
    ///
    /// # Errors
    /// [`Error::Client`] with what the client said.
    pub(super) fn resolve(
        &self,
        requirements: &Path,
        work: &Path,
        environment: &Environment,
        project: &Path,
    ) -> Result<Vec<u8>, Error> {
        let report = work.join("report.json");
        let mut arguments = words(&["install", "--quiet", "--dry-run", "--ignore-installed", "--report"]);
        arguments.push(report.clone().into());
        arguments.extend([OsString::from("--target"), work.join("target").into()]);
        arguments.extend(target(environment));
        arguments.extend([OsString::from("-r"), requirements.into()]);
        self.run_guarded(&arguments, work, project)?;
        std::fs::read(&report).map_err(|_| Error::Client {
            client: "pip".into(),
            reason:
                "it is too old to report a resolution; 22.2 can: upgrade it, or lock with hashes yourself"
                    .into(),
        })
    }

    fn run(&self, arguments: &[OsString], work: &Path, project: &Path) -> Result<Vec<u8>, Error> {
        let module = words(&["-m", "pip"]);
        match self {
            Self::Module(argv) => client::run(&[&argv[..], &module].concat(), arguments, project, explain),
            Self::Program(argv) => client::run(argv, arguments, project, explain),
            Self::Confined(tools) => confined(tools, &[&module, arguments].concat(), work),
        }
    }

    /// Runs pip such that it starts no program. What looks at more than wheels that are pinned has to.
    fn run_guarded(&self, arguments: &[OsString], work: &Path, project: &Path) -> Result<Vec<u8>, Error> {
        let guarded = words(&["-c", GUARDED]);
        match self {
            Self::Module(argv) => client::run(&[&argv[..], &guarded].concat(), arguments, project, explain)
                .map_err(|error| match error {
                    // Its name would be the whole script.
                    Error::Client { reason, .. } => Error::Client { client: "pip".into(), reason },
                    error => error,
                }),
            Self::Program(argv) => Err(Error::Client {
                client: argv.iter().map(|word| word.to_string_lossy()).collect(),
                reason: "to resolve dependencies without running any, Corral starts pip by its interpreter, and no python3 on PATH has it: put that there, or pin all packages by their hashes".into(),
            }),
            Self::Confined(tools) => confined(tools, &[&guarded, arguments].concat(), work),
        }
    }
}

fn confined(tools: &Tools<'_>, arguments: &[OsString], work: &Path) -> Result<Vec<u8>, Error> {
    tools.python(arguments, work).map_err(|error| Error::Client {
        client: "pip".into(),
        reason: explain(&format!(
            "none on PATH (`apt-get install python3-pip`), and Debian's own in a container failed: {error}"
        )),
    })
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// The options that make pip choose for the image and not for the host.
fn target(environment: &Environment) -> Vec<OsString> {
    let mut options = words(&["--only-binary", ":all:", "--implementation", "cp", "--python-version"]);
    options.push(environment.version.clone().into());
    let abi = format!("cp{}", environment.version.replace('.', ""));
    for abi in [abi.as_str(), "abi3", "none"] {
        options.extend(words(&["--abi", abi]));
    }
    for platform in environment.tags.platforms() {
        options.extend(words(&["--platform", platform]));
    }
    options
}

/// pip's last words, with the way out for the two that are ours to explain.
fn explain(said: &str) -> String {
    if said.contains("No matching distribution") {
        return format!(
            "{said}; no wheel for the image's Python: another version may have one, or another suite (--suite); a source distribution is built if it is pinned by its hash"
        );
    }
    if said.contains("would run code to tell") {
        return format!(
            "{said}: a dependency is given by address and is no wheel; pin all packages by their hashes"
        );
    }
    if said.contains("DO NOT MATCH THE HASHES") {
        return format!("{said}; the index offers another file than the lock names: it was not used");
    }
    said.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn uv_first_and_no_lone_program_to_resolve_with() {
        let check = |programs: &[&str], all: &[&str], resolving: &[&str]| {
            let dir = tempfile::tempdir().expect("temporary directory");
            for program in programs {
                let path = dir.path().join(program);
                std::fs::write(&path, "#!/bin/sh\n").expect("written");
                std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
            }
            let found = Client::candidates(dir.path().as_os_str(), Path::new("/project"));
            let names = |clients: Vec<&Client<'_>>| -> Vec<String> {
                let first = |client: &Client<'_>| match client {
                    Client::Module(argv) | Client::Program(argv) => Path::new(&argv[0]).display().to_string(),
                    Client::Confined(_) => "confined".into(),
                };
                clients
                    .into_iter()
                    .map(|client| first(client).replace(&format!("{}/", dir.path().display()), ""))
                    .collect()
            };
            assert_eq!(names(found.iter().collect()), all);
            assert_eq!(names(found.iter().filter(|client| client.has_interpreter()).collect()), resolving);
        };
        check(&["pip", "pip3", "python3", "uv"], &["uv", "python3", "pip3", "pip"], &["uv", "python3"]);
        check(&["pip3", "other"], &["pip3"], &[]);
        check(&[], &[], &[]);
    }

    #[test]
    fn last_words_get_a_way_out() {
        for (said, expect) in [
            ("ERROR: No matching distribution found for x", "no wheel for the image's Python"),
            (
                "PermissionError: a dependency would run code to tell what it needs (subprocess.Popen of python3)",
                "given by address and is no wheel",
            ),
            (
                "RuntimeError: a dependency would run code to tell what it needs (subprocess.Popen of git)",
                "given by address and is no wheel",
            ),
            ("THESE PACKAGES DO NOT MATCH THE HASHES FROM", "it was not used"),
        ] {
            let explained = explain(said);
            assert!(explained.starts_with(said) && explained.contains(expect), "{explained}");
        }
        assert_eq!(explain("other"), "other");
        assert!(GUARDED.contains("would run code to tell"));
    }
}
