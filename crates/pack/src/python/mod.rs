//! Python: from what pins the wheels to layers.
//!
//! ```text
//! uv.lock | pylock.toml | requirements.txt with hashes ──▶ Pin… ─┐
//! dependencies without lock ──client resolves──▶ Pin… ───────────┴─▶ fetch ──▶ PythonLock (agent.lock)
//! PythonLock ──▶ wheel::install ──▶ pyc::Compiler ──▶ a layer each, small ones together
//! a pin without wheel ──▶ its source distribution ──build::Builder, confined──▶ a wheel ──▶ a layer
//! ```

mod build;
mod client;
mod entry_points;
mod environment;
mod fetch;
mod index;
mod install;
mod marshal;
mod name;
mod pin;
mod pyc;
mod pylock;
mod record;
mod requirements;
mod sdist;
mod stage;
mod tags;
#[cfg(test)]
mod test_wheel;
mod uv_lock;
mod wheel;
mod zip;
#[cfg(test)]
mod zip_writer;

use corral_spec::Digest;
use pep508_rs::VersionOrUrl;
use sha2::{Digest as _, Sha256};

pub(crate) use entry_points::Script;
pub(crate) use environment::Environment;
pub(crate) use install::Installation;
pub(crate) use name::normalize;
pub(crate) use pyc::{Compiler, sources};
pub(crate) use record::hash_of;
pub(crate) use stage::Stage;
pub(crate) use wheel::Layout;
pub(crate) use zip::is_safe;

use crate::Error;
use crate::build_base::BuildBase;
use crate::debian::BaseLock;
use crate::lock::PythonLock;
use build::Builder;
pub(crate) use fetch::Fetcher;
use pin::Pin;

/// A Python project as its manifest describes it.
#[derive(Debug)]
pub(crate) struct PythonProject {
    /// `[project] name`.
    pub name: Option<String>,
    /// `[project] version`, if it is not dynamic.
    pub version: Option<String>,
    /// `requires-python`.
    pub requires_python: Option<String>,
    /// `[project] dependencies`.
    pub dependencies: Vec<String>,
    /// `[project.scripts]`.
    pub scripts: Vec<Script>,
    /// What names the packages.
    pub inputs: Inputs,
}

/// What names the packages of a project.
#[derive(Debug)]
pub(crate) enum Inputs {
    /// The text of uv.lock.
    UvLock(String),
    /// The text of pylock.toml.
    Pylock(String),
    /// The text of requirements.txt.
    Requirements(String),
    /// Nothing but the dependencies of the manifest.
    Dependencies,
}

impl PythonProject {
    /// Whether this interpreter is one that the project asks for.
    ///
    /// # Errors
    /// [`Error::Lock`] naming the way out.
    pub(crate) fn check_version(&self, environment: &Environment) -> Result<(), Error> {
        let Some(wanted) = &self.requires_python else { return Ok(()) };
        let fail = |reason| Error::lock("pyproject.toml", reason);
        match environment.admits(wanted).map_err(fail)? {
            true => Ok(()),
            false => Err(fail(format!(
                "requires-python is {wanted:?}, the suite has {}: choose another with --suite or [tool.corral] suite",
                environment.version
            ))),
        }
    }

    /// Whether anything beside the standard library may be imported.
    pub(crate) fn has_packages(&self) -> bool {
        !matches!(self.inputs, Inputs::Dependencies) || !self.dependencies.is_empty()
    }

    /// Whether `requires-python` admits some patch level of a 3.x; a malformed one is judged later.
    pub(crate) fn admits_minor(&self, version: &str) -> bool {
        let Some(wanted) = &self.requires_python else { return true };
        let Ok(wanted) = wanted.parse::<pep440_rs::VersionSpecifiers>() else { return true };
        [format!("{version}.0"), format!("{version}.99")]
            .iter()
            .any(|version| version.parse().is_ok_and(|version| wanted.contains(&version)))
    }

    /// What this project's packages are locked to: the old lock while its inputs are the same.
    ///
    /// # Errors
    /// See [`Error`]; an old lock of unpinned dependencies that have changed is not moved without `upgrade`.
    pub(crate) fn lock(
        &self,
        fetcher: &Fetcher<'_>,
        base: &BuildBase<'_>,
        old: Option<&PythonLock>,
        upgrade: bool,
    ) -> Result<PythonLock, Error> {
        let environment = fetcher.environment;
        let inputs = self.hash(environment);
        if let Some(old) =
            old.filter(|old| !upgrade && old.inputs == inputs && old.version == environment.version)
        {
            return Ok(old.clone());
        }
        let pins = match self.pins(environment)? {
            Some(pins) => pins,
            None if old.is_some() && !upgrade => {
                return Err(Error::lock(
                    crate::lock::FILE,
                    "it does not cover the dependencies as they are now: run `corral pack --upgrade`",
                ));
            }
            None => fetcher.resolve(&self.lines(environment)?)?,
        };
        self.check_covered(&pins, environment)?;
        let fetched = fetcher.fetch_pins(&pins)?;
        let builder = Builder { fetcher, base };
        let sdists = fetched.sdists.into_iter().map(|sdist| builder.lock(sdist));
        Ok(PythonLock {
            version: environment.version.clone(),
            inputs,
            wheels: fetched.wheels,
            sdists: sdists.collect::<Result<_, _>>()?,
        })
    }

    /// Options of requirements.txt that would redirect the client.
    ///
    /// # Errors
    /// [`Error::Lock`] if the file is malformed.
    pub(crate) fn ignored_options(&self, environment: &Environment) -> Result<Vec<String>, Error> {
        match &self.inputs {
            Inputs::Requirements(text) => {
                Ok(requirements::parse("requirements.txt", text, environment)?.ignored)
            }
            _ => Ok(Vec::new()),
        }
    }

    fn hash(&self, environment: &Environment) -> Digest {
        // Comments of a file that is only the input of a resolution are not part of what was locked.
        let unpinned = |text: &str| {
            let parsed = requirements::parse("requirements.txt", text, environment).ok()?;
            parsed.pins.is_none().then(|| parsed.lines.join("\n"))
        };
        let (kind, text) = match &self.inputs {
            Inputs::UvLock(text) => ("uv.lock", text.clone()),
            Inputs::Pylock(text) => ("pylock.toml", text.clone()),
            Inputs::Requirements(text) => {
                ("requirements.txt", unpinned(text).unwrap_or_else(|| text.clone()))
            }
            Inputs::Dependencies => ("dependencies", String::new()),
        };
        let mut hash = Sha256::new();
        let parts = [kind, &text, &environment.version, environment.machine()];
        for part in parts.into_iter().chain(self.dependencies.iter().map(String::as_str)) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Digest::from_bytes(hash.finalize().into())
    }

    /// The pins, if the project has them.
    fn pins(&self, environment: &Environment) -> Result<Option<Vec<Pin>>, Error> {
        match &self.inputs {
            Inputs::UvLock(text) => uv_lock::parse(text, environment).map(Some),
            Inputs::Pylock(text) => pylock::parse(text, environment).map(Some),
            Inputs::Requirements(text) => {
                Ok(requirements::parse("requirements.txt", text, environment)?.pins)
            }
            Inputs::Dependencies if self.dependencies.is_empty() => Ok(Some(Vec::new())),
            Inputs::Dependencies => Ok(None),
        }
    }

    /// Requirement lines to resolve. Each is parsed first: a line that is an option or a path is refused.
    fn lines(&self, environment: &Environment) -> Result<Vec<String>, Error> {
        let (file, lines) = match &self.inputs {
            Inputs::Requirements(text) => {
                ("requirements.txt", requirements::parse("requirements.txt", text, environment)?.lines)
            }
            _ => ("pyproject.toml", self.dependencies.clone()),
        };
        let mut wanted = Vec::new();
        for line in lines {
            let requirement = environment.requirement(&line).map_err(|reason| Error::lock(file, reason))?;
            let Some(requirement) = requirement else { continue };
            if let Some(VersionOrUrl::Url(url)) = &requirement.version_or_url
                && pin::file_name(&url.to_string()).is_none_or(|name| !name.ends_with(".whl"))
            {
                // To find out what it depends on, the client would build it, on the host.
                return Err(Error::lock(
                    file,
                    format!("{line:?} is not the address of a wheel: pin all packages by their hashes"),
                ));
            }
            wanted.push(line);
        }
        Ok(wanted)
    }

    /// Every dependency of the manifest must be among the pins, at a version that it admits.
    fn check_covered(&self, pins: &[Pin], environment: &Environment) -> Result<(), Error> {
        let source = match &self.inputs {
            Inputs::UvLock(_) => "uv.lock",
            Inputs::Pylock(_) => "pylock.toml",
            Inputs::Requirements(_) => "requirements.txt",
            Inputs::Dependencies => return Ok(()),
        };
        for dependency in &self.dependencies {
            let requirement = environment
                .requirement(dependency)
                .map_err(|reason| Error::lock("pyproject.toml", reason))?;
            let Some(requirement) = requirement else { continue };
            let name = normalize(requirement.name.as_ref());
            let covered = pins.iter().any(|pin| {
                pin.name == name
                    && match &requirement.version_or_url {
                        Some(VersionOrUrl::VersionSpecifier(specifiers)) => {
                            pin.version.parse().is_ok_and(|version| specifiers.contains(&version))
                        }
                        _ => true,
                    }
            });
            if !covered {
                return Err(Error::lock(
                    source,
                    format!("it does not cover {dependency:?} of pyproject.toml: lock again"),
                ));
            }
        }
        Ok(())
    }
}

/// The environment of a locked base with Python.
///
/// # Errors
/// [`Error::Lock`] if the lock holds no interpreter.
pub(crate) fn environment_of(base: &BaseLock) -> Result<Environment, Error> {
    let version_of = |name: &str| {
        let package = base.packages.iter().find(|package| package.name == name);
        package.map(|package| upstream(&package.version).to_owned()).ok_or_else(|| {
            Error::lock(crate::lock::FILE, format!("section base has no {name}: run `corral pack --upgrade`"))
        })
    };
    let python = version_of(&format!("libpython{}-minimal", base.suite.python_version()))?;
    let libc = version_of("libc6")?;
    let glibc = libc.strip_prefix("2.").and_then(|minor| minor.split('.').next()?.parse().ok());
    let glibc = glibc.ok_or_else(|| Error::lock(crate::lock::FILE, format!("libc6 {libc:?} is not 2.x")))?;
    Environment::new(&python, glibc, base.architecture)
}

/// `1:3.11.2-6+deb12u6` → `3.11.2`.
fn upstream(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, rest)| rest);
    let version = version.rsplit_once('-').map_or(version, |(upstream, _)| upstream);
    version.split(['+', '~']).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(inputs: Inputs, dependencies: &[&str], expect: &str) {
        let project = PythonProject {
            name: None,
            version: None,
            requires_python: None,
            dependencies: dependencies.iter().map(|text| (*text).to_owned()).collect(),
            scripts: Vec::new(),
            inputs,
        };
        let environment = environment::bookworm();
        let shown = match project.pins(&environment) {
            Ok(Some(pins)) => project
                .check_covered(&pins, &environment)
                .map_or_else(|e| e.to_string(), |()| "covered".into()),
            Ok(None) => project
                .lines(&environment)
                .map_or_else(|e| e.to_string(), |lines| format!("resolve {lines:?}")),
            Err(error) => error.to_string(),
        };
        assert!(shown.contains(expect), "{shown:?} does not say {expect:?}");
    }

    #[test]
    fn the_lock_covers_the_manifest() {
        let pinned = || Inputs::Requirements(format!("a==1.5 --hash=sha256:{}", "0".repeat(64)));
        check(pinned(), &["a>=1,<2", "b ; os_name == 'nt'"], "covered");
        check(pinned(), &["a>=2"], "does not cover \"a>=2\"");
        check(pinned(), &["b"], "does not cover \"b\"");
        check(Inputs::Dependencies, &[], "covered");
        check(Inputs::Dependencies, &["a", "b ; os_name == 'nt'"], "resolve [\"a\"]");
        check(Inputs::Requirements("a\n".into()), &[], "resolve [\"a\"]");
        check(Inputs::Requirements("./evil\n".into()), &[], "requirements.txt");
        check(Inputs::Dependencies, &["--index-url=x"], "pyproject.toml");
        check(Inputs::Dependencies, &["a @ https://h/a-1-py3-none-any.whl"], "resolve [\"a @");
        check(Inputs::Dependencies, &["a @ https://h/a-1.tar.gz"], "is not the address of a wheel");
        check(Inputs::Dependencies, &["a @ git+https://h/a"], "is not the address of a wheel");
    }

    #[test]
    fn upstream_versions() {
        for (version, expect) in
            [("3.11.2-6+deb12u6", "3.11.2"), ("2.36-9+deb12u10", "2.36"), ("1:3.13.5~rc1-2", "3.13.5")]
        {
            assert_eq!(upstream(version), expect);
        }
    }
}
