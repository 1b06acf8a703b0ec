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
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        mounts.extend(configuration(&home, &env));
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
///
/// Any of them may be a symbolic link, which would lead nowhere inside: what it leads to is mounted in its place.
fn configuration(home: &Path, env: &[(String, String)]) -> Vec<StepMount> {
    let mut places: Vec<(PathBuf, PathBuf)> = ["/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"]
        .iter()
        .map(|path| (path.into(), path.into()))
        .collect();
    let inside = Path::new("/root");
    places.push((home.join(".netrc"), inside.join(".netrc")));
    for dir in [".config/pip", ".pip"] {
        let entries = std::fs::read_dir(home.join(dir)).into_iter().flatten().flatten();
        places.extend(entries.map(|entry| (entry.path(), inside.join(dir).join(entry.file_name()))));
    }
    let named = env
        .iter()
        .filter(|(name, _)| name.starts_with("PIP_") || name.contains("CERT") || name.contains("CA_BUNDLE"));
    places.extend(named.map(|(_, value)| (value.into(), value.into())));
    places.sort();
    places.dedup();
    places
        .into_iter()
        .filter(|(source, _)| source.is_absolute())
        .filter_map(|(source, target)| Some((source.canonicalize().ok()?, target)))
        // /dev/null, which stands for no configuration, is there already.
        .filter(|(source, _)| source.is_file() || source.is_dir())
        .map(|(source, target)| mount(&source, &target, true))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_of_the_configuration_are_followed() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let home = dir.path().canonicalize().expect("canonical");
        std::fs::create_dir_all(home.join("dotfiles/certs")).expect("made");
        std::fs::create_dir_all(home.join(".config/pip")).expect("made");
        for file in ["dotfiles/netrc", "dotfiles/pip.conf", ".config/pip/ca.pem"] {
            std::fs::write(home.join(file), "").expect("written");
        }
        for (aim, link) in [
            ("dotfiles/netrc", ".netrc"),
            ("../../dotfiles/pip.conf", ".config/pip/pip.conf"),
            ("dotfiles/certs", "certs"),
            ("nowhere", ".config/pip/gone"),
        ] {
            symlink(aim, home.join(link)).expect("linked");
        }
        let certs = home.join("certs").display().to_string();
        let env = [("SSL_CERT_DIR", certs.as_str()), ("PIP_CONFIG_FILE", "/dev/null"), ("PIP_CERT", "x")];
        let mounts = configuration(&home, &env.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let shown: Vec<(String, &str)> = mounts
            .iter()
            .filter_map(|mount| Some((mount.source.strip_prefix(&home).ok()?, mount.target.as_str())))
            .map(|(source, target)| (source.display().to_string(), target))
            .collect();
        assert_eq!(
            shown,
            [
                (".config/pip/ca.pem".to_owned(), "/root/.config/pip/ca.pem"),
                ("dotfiles/pip.conf".to_owned(), "/root/.config/pip/pip.conf"),
                ("dotfiles/netrc".to_owned(), "/root/.netrc"),
                ("dotfiles/certs".to_owned(), certs.as_str()),
            ]
        );
        assert!(mounts.iter().all(|mount| mount.read_only && mount.target != "/dev/null"));
    }
}
