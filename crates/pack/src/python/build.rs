//! A pinned source distribution into a wheel, confined and without network (PEP 517).
//!
//! ```text
//! sdist ──unpacked──▶ layer ┐        BuildSystem.requires ──pip resolves──▶ wheels ──▶ layer
//! build base ───────────────┴─ step "requires" ─▶ /out/requires.json ──▶ resolved again, with these
//! build base, wheels, source ─ step "wheel" ────▶ /out/NAME.whl ──parsed, checked──▶ CACHE/built/KEY/HEX/NAME.whl
//! ```
//!
//! The steps see layers and an output directory, nothing of the host. KEY is a hash over all that goes in, so
//! the same lock is built once. What comes out was written by the package's code: it is a wheel like any
//! other, judged by the same parser, and must be the package and version that were pinned.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use corral_engine::{Step, StepMount, StepOutcome};
use corral_spec::Digest;

use super::fetch::{self, Fetcher, sha256_file};
use super::install::merge;
use super::name::normalize;
use super::sdist::{self, BuildSystem};
use super::stage::Stage;
use super::tags::WheelName;
use super::wheel::{self, Expected, INSTALLER_VERSION, Layout};
use crate::build_base::BuildBase;
use crate::layers::{self, LayerId, Layers, PACKAGE_TIME};
use crate::lock::{LockedSdist, LockedWheel};
use crate::step::{last_lines_of_build, open_output};
use crate::tree::Tree;
use crate::work::WorkDir;
use crate::{Error, Progress};

/// Part of the key: raise it when the same input gives another wheel.
const BUILDER_VERSION: u32 = 1;
const SCRIPT: &str = include_str!("build_wheel.py");
/// The largest list of requirements that a build may ask for.
const MAX_REQUIRES: u64 = 1 << 20;
/// The largest wheel that is taken back.
const MAX_WHEEL: u64 = 4 << 30;
/// Where the source lies in the step, below the root.
const SOURCE: &str = "build/source";

/// Builds wheels for one interpreter.
pub(super) struct Builder<'b, 'a> {
    /// What fetches sources and what their builds require.
    pub fetcher: &'b Fetcher<'a>,
    /// What they are built in.
    pub base: &'b BuildBase<'a>,
}

/// What is asked of a backend.
#[derive(Clone, Copy)]
enum Question {
    Requires,
    Wheel,
}

/// An unpacked source.
struct Source {
    layer: Digest,
    system: BuildSystem,
}

impl Builder<'_, '_> {
    /// Finds what the build requires, by asking `[build-system]` and then the backend itself.
    ///
    /// # Errors
    /// [`Error::Client`], [`Error::Archive`], or [`Error::Package`] if the backend fails.
    pub(super) fn lock(&self, sdist: LockedSdist) -> Result<LockedSdist, Error> {
        self.tell(format!("looking at how {} {} is built", sdist.name, sdist.version));
        let source = self.unpack(&sdist)?;
        let mut lines = source.system.requires.clone();
        let requires = self.resolve(&sdist, &lines)?;
        let work = Work::new(self.fetcher.cache)?;
        self.ask(&sdist, &source, &requires, (Question::Requires, &work))?;
        let more = work.requires()?;
        if more.is_empty() {
            return Ok(LockedSdist { requires, ..sdist });
        }
        lines.extend(more);
        let requires = self.resolve(&sdist, &lines)?;
        Ok(LockedSdist { requires, ..sdist })
    }

    /// What a build is known by: everything that goes into it.
    ///
    /// # Errors
    /// What locking the build base gives.
    pub(super) fn key(&self, sdist: &LockedSdist) -> Result<Digest, Error> {
        let (base, environment) = (self.base.key()?.hex(), self.fetcher.environment);
        let version = format!("{BUILDER_VERSION}.{INSTALLER_VERSION}");
        let mut parts = vec!["build".to_owned(), version, base, sdist.sha256.hex()];
        parts.extend([sdist.name.clone(), sdist.version.clone()]);
        parts.extend([environment.version.clone(), environment.machine().to_owned()]);
        parts.extend(sdist.requires.iter().map(|wheel| wheel.sha256.hex()));
        Ok(layers::key(&parts.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    /// The wheel, kept from an earlier build or built now.
    ///
    /// # Errors
    /// [`Error::Package`] if the build fails; [`Error::Archive`] if what it gave is not the wheel.
    pub(super) fn build(&self, sdist: &LockedSdist) -> Result<PathBuf, Error> {
        let kept = self.fetcher.cache.join("built").join(self.key(sdist)?.hex());
        if let Some(path) = stored(&kept) {
            return Ok(path);
        }
        self.tell(format!("building {} {} from source, confined", sdist.name, sdist.version));
        let source = self.unpack(sdist)?;
        let work = Work::new(self.fetcher.cache)?;
        self.ask(sdist, &source, &sdist.requires, (Question::Wheel, &work))?;
        let wheel = work.wheel(sdist, self.fetcher)?;
        let dir = kept.join(sha256_file(&wheel)?.hex());
        std::fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let place = dir.join(wheel.file_name().unwrap_or_default());
        std::fs::rename(&wheel, &place).map_err(Error::io("create", &place))?;
        Ok(place)
    }

    fn tell(&self, text: String) {
        (self.fetcher.tools.progress)(Progress::Phase(text));
    }

    fn unpack(&self, sdist: &LockedSdist) -> Result<Source, Error> {
        let path = self.fetcher.fetch_sdist(sdist)?;
        let stage = Stage::new(self.fetcher.cache)?;
        let tree = sdist::unpack(&path, Path::new(SOURCE), &stage)?;
        let system = BuildSystem::of(&tree, Path::new(SOURCE))
            .map_err(|reason| Error::archive(sdist.file.as_str(), reason))?;
        let key = layers::key(&["source", &BUILDER_VERSION.to_string(), &sdist.sha256.hex()]);
        Ok(Source { layer: self.layer("pack-source", key, || Ok(tree))?, system })
    }

    /// A layer that is of no image, and so in nobody's report.
    fn layer(
        &self,
        kind: &str,
        key: Digest,
        make: impl FnOnce() -> Result<Tree, Error>,
    ) -> Result<Digest, Error> {
        let id = LayerId { kind, key, name: "build", time: PACKAGE_TIME };
        Layers::new(self.fetcher.tools.store, &|_| ()).push(&id, make)
    }

    /// Requirements of a build into wheels. Neither addresses nor options: a build may ask for packages of the
    /// user's indexes only.
    fn resolve(&self, sdist: &LockedSdist, lines: &[String]) -> Result<Vec<LockedWheel>, Error> {
        let fail =
            |reason: String| Error::archive(sdist.file.as_str(), format!("its build requires {reason}"));
        let mut wanted = Vec::new();
        for line in lines {
            let Some(requirement) = self.fetcher.environment.requirement(line).map_err(fail)? else {
                continue;
            };
            if let Some(pep508_rs::VersionOrUrl::Url(_)) = requirement.version_or_url {
                return Err(fail(format!(
                    "{line:?}, which is not of an index: pin a version that has a wheel"
                )));
            }
            wanted.push(line.clone());
        }
        let pins = self.fetcher.resolve(&wanted).map_err(|error| match error {
            Error::Client { client, reason } => {
                let package = format!("what {} {} is built with", sdist.name, sdist.version);
                Error::Client { client, reason: format!("{package}: {reason}") }
            }
            error => error,
        })?;
        let fetched = self.fetcher.fetch_pins(&pins)?;
        match fetched.sdists.first() {
            Some(other) => Err(fail(format!("{}, which has no wheel itself", other.name))),
            None => Ok(fetched.wheels),
        }
    }

    /// The wheels that a build requires, installed as they would be in an image, without bytecode.
    fn installed(&self, requires: &[LockedWheel]) -> Result<Digest, Error> {
        let layout = Layout::new(&self.fetcher.environment.version);
        let hashes: Vec<String> = requires.iter().map(|wheel| wheel.sha256.hex()).collect();
        let version = format!("{INSTALLER_VERSION} {}", layout.version);
        let parts = ["build-requires", &version].into_iter().chain(hashes.iter().map(String::as_str));
        let stage = Stage::new(self.fetcher.cache)?;
        self.layer("pack-build-requires", layers::key(&parts.collect::<Vec<_>>()), || {
            self.fetcher.fetch_locked(requires)?;
            let mut all = Tree::default();
            for wheel in requires {
                let path = self.fetcher.path(wheel);
                fetch::check(wheel, &path)?;
                let expected = Expected { name: &wheel.name, version: &wheel.version };
                let tree = wheel::install(&path, expected, &layout, &stage)?.finish(&layout, Vec::new());
                merge(&mut all, tree, &wheel.file)?;
            }
            Ok(all)
        })
    }

    fn ask(
        &self,
        sdist: &LockedSdist,
        source: &Source,
        requires: &[LockedWheel],
        (question, work): (Question, &Work),
    ) -> Result<(), Error> {
        let tools = self.fetcher.tools;
        let word = match question {
            Question::Requires => "requires",
            Question::Wheel => "wheel",
        };
        let version = &self.fetcher.environment.version;
        let mut argv = vec![format!("/usr/bin/python{version}"), "-BPc".into(), SCRIPT.into(), word.into()];
        argv.extend([source.system.backend.clone(), format!("/{SOURCE}")]);
        argv.extend(source.system.path.iter().cloned());
        let mut layers = vec![self.base.layer(tools.store)?];
        if !requires.is_empty() {
            layers.push(self.installed(requires)?);
        }
        layers.push(source.layer);
        let step = Step {
            layers,
            argv,
            env: environment(),
            mounts: vec![StepMount { source: work.out.clone(), target: "/out".into(), read_only: false }],
            workdir: "/".into(),
            host_network: false,
        };
        self.judge(sdist, &tools.engine.run_step(&step)?)
    }

    fn judge(&self, sdist: &LockedSdist, outcome: &StepOutcome) -> Result<(), Error> {
        if outcome.code == 0 {
            return Ok(());
        }
        let way_out = match self.base.has_packages() {
            true => {
                "add the Debian package that it misses to build-packages in [tool.corral], or pin a version that has a wheel"
            }
            false => {
                "if it needs a compiler or a library, add build-packages = [\"gcc\", \"libpython3-dev\"] to [tool.corral]; else pin a version that has a wheel"
            }
        };
        Err(Error::Package {
            package: format!("{} {}", sdist.name, sdist.version),
            act: "building its wheel from source".into(),
            said: last_lines_of_build(&outcome.stderr),
            way_out: way_out.into(),
        })
    }
}

/// The whole environment of a build. The time is that of all files that come from packages.
fn environment() -> Vec<(String, String)> {
    [
        ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"),
        ("HOME", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("PYTHONHASHSEED", "0"),
        ("PYTHONDONTWRITEBYTECODE", "1"),
        ("SOURCE_DATE_EPOCH", &PACKAGE_TIME.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// The wheel that an earlier build left, if it is still what it was.
fn stored(kept: &Path) -> Option<PathBuf> {
    let listed =
        |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let same = |path: &PathBuf| {
        let hash = sha256_file(path).ok().map(|hash| hash.hex());
        hash.as_deref() == path.parent().and_then(Path::file_name).and_then(|name| name.to_str())
    };
    listed(kept).collect::<Vec<_>>().iter().flat_map(|dir| listed(dir)).find(same)
}

/// Where a step writes, and where what it wrote is copied to.
struct Work {
    dir: WorkDir,
    out: PathBuf,
}

impl Work {
    fn new(cache: &Path) -> Result<Self, Error> {
        let dir = WorkDir::new(cache)?;
        let out = dir.path().join("out");
        std::fs::create_dir(&out).map_err(Error::io("create", &out))?;
        Ok(Self { dir, out })
    }

    fn open(&self, name: &str, limit: u64) -> Result<Option<File>, Error> {
        open_output(&File::open(&self.out).map_err(Error::io("read", &self.out))?, name, limit)
    }

    /// What the backend asked for.
    fn requires(&self) -> Result<Vec<String>, Error> {
        let fail = |reason: &str| {
            Error::archive("requires.json", format!("the build's list of requirements {reason}"))
        };
        let mut text = String::new();
        let file = self.open("requires.json", MAX_REQUIRES)?.ok_or_else(|| fail("is missing"))?;
        file.take(MAX_REQUIRES).read_to_string(&mut text).map_err(|error| fail(&error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| fail(&format!("is malformed: {error}")))
    }

    /// The one wheel that the build left, copied and judged.
    fn wheel(&self, sdist: &LockedSdist, fetcher: &Fetcher<'_>) -> Result<PathBuf, Error> {
        let fail = |reason: String| Error::archive(sdist.file.as_str(), format!("its build {reason}"));
        let listing = std::fs::read_dir(&self.out).map_err(Error::io("read", &self.out))?;
        let names = listing.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let names: Vec<String> = names.filter(|name| name.ends_with(".whl")).take(2).collect();
        let [name] = &names[..] else { return Err(fail("gave no wheel, or more than one".into())) };
        let plain = super::pin::file_name(name).is_some_and(|plain| plain == *name);
        let own = WheelName::parse(name).is_some_and(|wheel| normalize(wheel.name) == sdist.name);
        if !plain || !own || fetcher.environment.tags.rank(name).is_none() {
            return Err(fail(format!("gave {name:?}, which is not a wheel of it for this Python")));
        }
        let file = self.open(name, MAX_WHEEL)?.ok_or_else(|| fail("took its wheel back".into()))?;
        let place = self.dir.path().join(name);
        let mut copy = File::create_new(&place).map_err(Error::io("create", &place))?;
        std::io::copy(&mut file.take(MAX_WHEEL), &mut copy).map_err(Error::io("write", &place))?;
        wheel::check(&place, Expected { name: &sdist.name, version: &sdist.version })?;
        Ok(place)
    }
}
