//! Debian's own pip in a confined container, for a host that has no package client.
//!
//! ```text
//! debian::{resolve, fetch, assemble} python3-pip ──▶ a layer of the store (no image, no lock: nothing of it
//!                                                    gets into the agent's image)
//! step: python -m pip download … (build profile, host network; sees its work directory and the user's pip
//!       configuration, nothing of the project) ──▶ WORK/dest/*.whl, judged by hash as any client's
//! ```

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use corral_engine::{Engine, Step, StepMount};
use corral_image::Store;

use crate::base::Base;
use crate::client;
use crate::debian::{Request, Suite};
use crate::layers::Layers;
use crate::step::last_lines;
use crate::{Error, PackOptions, Progress};

/// What a confined client is made with.
pub(crate) struct Tools<'a> {
    pub engine: &'a Engine,
    pub store: &'a Store,
    pub options: &'a PackOptions,
    pub progress: &'a dyn Fn(Progress),
    pub suite: Suite,
}

impl Tools<'_> {
    /// Runs Debian's Python, which has pip, and gives what it printed; `work` is the only directory that it can write to, by the
    /// same path as outside.
    ///
    /// # Errors
    /// [`Error::Client`] with the last lines that it wrote; what building its container gives.
    pub(crate) fn python(&self, arguments: &[OsString], work: &Path) -> Result<Vec<u8>, Error> {
        let mut request = Request::new(self.suite);
        request.python = true;
        request.packages = vec!["python3-pip".into()];
        let base = Base { options: self.options, request, progress: self.progress, section: "tools" };
        let lock = base.lock(None)?;
        let mut layers = Layers::new(self.store, self.progress);
        let layer = base.push(&mut layers, &lock)?;
        (self.progress)(Progress::Phase("running Debian's pip, confined".into()));
        let mut argv = vec![format!("/usr/bin/python{}", self.suite.python_version())];
        argv.extend(arguments.iter().map(|word| word.to_string_lossy().into_owned()));
        let env = environment();
        let mut mounts = vec![mount(work, work, false)];
        mounts.extend(configuration(&env));
        let step = Step { layers: vec![layer], argv, env, mounts, workdir: "/".into(), host_network: true };
        let outcome = self.engine.run_step(&step)?;
        match outcome.code {
            0 => Ok(outcome.stdout),
            _ => Err(Error::Client { client: "Debian's pip".into(), reason: last_lines(&outcome.stderr) }),
        }
    }
}

fn mount(source: &Path, target: &Path, read_only: bool) -> StepMount {
    StepMount { source: source.to_owned(), target: target.to_string_lossy().into_owned(), read_only }
}

/// What a client keeps of the user's environment, without the places that are another inside.
fn environment() -> Vec<(String, String)> {
    let kept = client::environment().into_iter().filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        let place = matches!(name.as_str(), "HOME" | "PATH" | "TMPDIR") || name.starts_with("XDG_");
        (!place).then_some((name, value))
    });
    let fixed = [("HOME", "/root"), ("PATH", "/usr/bin:/bin"), ("PIP_NO_CACHE_DIR", "1")];
    kept.chain(fixed.map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
}

/// The user's pip configuration, root certificates, and whatever file or directory a variable of pip names.
fn configuration(env: &[(String, String)]) -> Vec<StepMount> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let mut places: Vec<(PathBuf, PathBuf)> = ["/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"]
        .iter()
        .map(|path| (path.into(), path.into()))
        .collect();
    for file in [".config/pip", ".pip", ".netrc"] {
        places.push((home.join(file), Path::new("/root").join(file)));
    }
    let named = env
        .iter()
        .filter(|(name, _)| name.starts_with("PIP_") || name.contains("CERT") || name.contains("CA_BUNDLE"));
    places.extend(named.map(|(_, value)| (value.into(), value.into())));
    places.sort();
    places.dedup();
    places
        .into_iter()
        .filter(|(source, _)| source.is_absolute() && source.exists())
        .map(|(source, target)| mount(&source, &target, true))
        .collect()
}
