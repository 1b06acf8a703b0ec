//! Warm starts: templates, and the containers that are forked from them (docs/warm.md).
//!
//! ```text
//! RUN/warm/IMAGE_DIGEST ─▶ ID of the image's template, a container like others
//!                            launch.json   warm: Template; its program is template.py
//!                            warm.json     what its imports looked at
//!                            warm.sock     its monitor forks
//! ```
//!
//! The link is made when the imports are done, and is stale when nobody holds the template's lock. Who finds none starts
//! cold; so does a container that a template cannot stand for, unless the user insists.

mod entry;
mod fit;

use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use corral_image::{Image, read_file};
use corral_policy::judge_launch;
use corral_spec::record::{IdMap, Imported, Launch, Mount, MountKind, Warm};
use corral_spec::{
    AbsPath, ByteSize, ContainerId, ContainerName, ContainerSpec, Digest, ProfileName, Signal,
};
use corral_state::{IdSlot, Life, read_record};

use crate::{Engine, Error, Prepared, Removal, View, Wanted, Watch};
use entry::Entry;

/// Whether a new container is forked from a template, or is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Warmth<'a> {
    /// Its program is executed.
    #[default]
    Cold,
    /// It is forked if there is a template that can stand for it.
    IfPossible,
    /// It is forked, or not made.
    Needed,
    /// It is a template, which imports these modules too.
    Template(&'a [String]),
}

/// A template to be made.
#[derive(Debug)]
pub struct TemplateRequest<'a> {
    /// The image.
    pub image: &'a Image,
    /// Its name, as the user said it.
    pub image_name: &'a str,
    /// The template's own.
    pub name: Option<ContainerName>,
    /// Further modules to import.
    pub modules: &'a [String],
    /// Bytes, in place of the profile's.
    pub memory: Option<ByteSize>,
}

/// Where the template's program is mounted.
const PROGRAM: &str = "/dev/corral-warm.py";
/// What separates a template's own arguments from the command that it stands for.
const STANDS_FOR: &str = "--";
/// A script larger than this many bytes is taken as an attack.
const SCRIPT_LIMIT: u64 = 4 << 20;

impl Engine {
    /// Makes a template of an image; it is used once [`Engine::publish_template`] says so.
    ///
    /// # Errors
    /// When the image has one already, is no Python program, or does not run as an agent.
    pub fn create_template(&self, request: &TemplateRequest<'_>) -> Result<Prepared, Error> {
        if let Some(id) = self.template_of(&request.image.id)? {
            let name = self.view(&id)?.map_or_else(|| id.to_string(), |view| view.record.name.to_string());
            return Err(Error::Invalid(format!(
                "{} has a template: {name}; `corral warm rm {name}` ends it",
                request.image_name
            )));
        }
        let spec = ContainerSpec {
            name: request.name.clone(),
            limits: corral_spec::Limits { memory: request.memory, ..Default::default() },
            health: corral_spec::HealthRequest { none: true, ..Default::default() },
            remove: true,
            ..ContainerSpec::default()
        };
        self.create(Wanted {
            image: request.image,
            image_name: request.image_name,
            spec,
            life: Life::Passing,
            watch: Watch::Nobody,
            typed: None,
            warmth: Warmth::Template(request.modules),
        })
    }

    /// Waits until a template's imports are done, and has it used from then on.
    ///
    /// # Errors
    /// Why it cannot be a template; it is gone then.
    pub fn publish_template(&self, id: &ContainerId, image: &Digest) -> Result<(), Error> {
        corral_runtime::warm::is_ready(&self.layout.run(id))?;
        let dir = self.templates();
        match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(Error::io("make the directory of templates")(error));
            }
            _ => {}
        }
        let (link, next) = (dir.join(image.to_string()), dir.join(id.as_str()));
        symlink(id.as_str(), &next)
            .and_then(|()| std::fs::rename(&next, &link))
            .map_err(Error::io("publish the template"))
    }

    /// The templates that there are.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn templates_running(&self) -> Result<Vec<View>, Error> {
        let is_template = |view: &View| matches!(view.record.warm, Some(Warm::Template { .. }));
        Ok(self.list()?.into_iter().filter(|view| is_template(view) && view.state.lives()).collect())
    }

    /// The containers that were forked from a template and run.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn forked_from(&self, id: &ContainerId) -> Result<Vec<View>, Error> {
        let dir = self.layout.run(id);
        let is_its = |view: &View| matches!(&view.record.warm, Some(Warm::Forked { template, .. }) if *template == dir);
        Ok(self.list()?.into_iter().filter(|view| is_its(view) && view.state.lives()).collect())
    }

    /// Ends a template. The containers that were forked from it would end with it.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there are such containers, without `force`.
    pub fn remove_template(&self, view: &View, force: bool) -> Result<(), Error> {
        let id = &view.record.id;
        let forked = self.forked_from(id)?;
        if !force && !forked.is_empty() {
            let names: Vec<String> = forked.iter().map(|view| view.record.name.to_string()).collect();
            return Err(Error::Invalid(format!(
                "containers that were forked from {} would end with it: {}; stop them first, or use --force",
                view.record.name,
                names.join(", ")
            )));
        }
        self.remove(id, Removal { force: true, volumes: false })?;
        self.collect_templates().map(drop)
    }

    /// The image's template.
    ///
    /// # Errors
    /// When the run directory cannot be used.
    pub(crate) fn template_of(&self, image: &Digest) -> Result<Option<ContainerId>, Error> {
        let link = self.templates().join(image.to_string());
        // Most images have none: nothing more is asked for them.
        let Ok(target) = std::fs::read_link(&link) else { return Ok(None) };
        let id: Option<ContainerId> = target.to_str().and_then(|text| text.parse().ok());
        Ok(id.filter(|id| self.layout.run(id).exists() && self.layout.is_locked(id)))
    }

    /// Removes the links of templates that are gone; how many there were.
    pub(crate) fn collect_templates(&self) -> Result<usize, Error> {
        let Ok(entries) = std::fs::read_dir(self.templates()) else { return Ok(0) };
        let is_stale = |path: &PathBuf| {
            let id =
                std::fs::read_link(path).ok().and_then(|target| target.to_str()?.parse::<ContainerId>().ok());
            id.is_none_or(|id| !self.layout.run(&id).exists())
        };
        let stale: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_stale).collect();
        for path in &stale {
            std::fs::remove_file(path).map_err(Error::io("remove the link to a template"))?;
        }
        Ok(stale.len())
    }

    fn templates(&self) -> PathBuf {
        self.layout.run_root().join("warm")
    }

    /// Makes of a launch what was asked for.
    pub(crate) fn warm_up(
        &self,
        launch: &mut Launch,
        image: &Image,
        warmth: Warmth<'_>,
        profile: ProfileName,
    ) -> Result<(), Error> {
        match warmth {
            Warmth::Cold => return Ok(()),
            Warmth::Template(modules) => template(launch, image, modules)?,
            Warmth::IfPossible if profile != ProfileName::Agent => return Ok(()),
            Warmth::IfPossible | Warmth::Needed => match self.fork(launch, image)? {
                Ok(warm) => launch.warm = Some(warm),
                Err(reason) if warmth == Warmth::Needed => {
                    return Err(Error::Invalid(format!(
                        "no warm start: {reason}; without --warm it starts cold"
                    )));
                }
                Err(_) => return Ok(()),
            },
        }
        Ok(judge_launch(profile, launch)?)
    }

    /// The image's template, if it can stand for this launch.
    fn fork(&self, launch: &Launch, image: &Image) -> Result<Result<Warm, String>, Error> {
        let Some(id) = self.template_of(&image.id)? else {
            return Ok(Err("the image has no template (`corral warm` makes one)".into()));
        };
        let run_dir = self.layout.run(&id);
        let template: Option<Launch> = read_record(&run_dir.join("launch.json"))?;
        let imported: Option<Imported> = read_record(&run_dir.join("warm.json"))?;
        let (Some(template), Some(imported)) = (template, imported) else {
            return Ok(Err("the image's template has just ended".into()));
        };
        let command = command(image);
        let fit = Entry::of(command).and_then(|entry| {
            let obstacle = fit::obstacle(launch, &template, &imported, &entry);
            obstacle.map_or(Ok(entry.words), Err)
        });
        let (uid, gid) = (template.process.uid, template.process.gid);
        Ok(fit.map(|entry| Warm::Forked { template: run_dir, uid, gid, entry }))
    }
}

/// The words that start an image.
fn command(image: &Image) -> &[String] {
    let config = &image.config.config;
    if config.entrypoint.is_empty() { &config.cmd } else { &config.entrypoint }
}

/// The launch of an image's program, made into one that only imports.
fn template(launch: &mut Launch, image: &Image, modules: &[String]) -> Result<(), Error> {
    let refuse = |reason: String| Error::Invalid(format!("there can be no template of this image: {reason}"));
    let invalid = |error: corral_spec::MountError| Error::Invalid(error.to_string());
    let command = command(image);
    let entry = Entry::of(command).map_err(refuse)?;
    let interpreter = match (entry.interpreter, &entry.program) {
        (Some(words), _) => words,
        (None, entry::Program::Script(path)) => {
            let script = read_file(&launch.root.lowers, Path::new(path), SCRIPT_LIMIT).unwrap_or_default();
            Entry::of_first_line(&script).map_err(refuse)?
        }
        (None, entry::Program::Module(_)) => Vec::new(),
    };
    launch.process.argv = interpreter
        .into_iter()
        .chain([PROGRAM.to_owned()])
        .chain(entry.program.arguments())
        .chain(modules.iter().cloned())
        .chain([STANDS_FOR.to_owned()])
        .chain(command.iter().cloned())
        .collect();
    let text = include_str!("template.py").to_owned();
    let target = AbsPath::new(PROGRAM).map_err(invalid)?;
    launch.mounts.push(Mount { target, kind: MountKind::File { text }, read_only: true, no_exec: true });
    let (host, count) = IdSlot::all();
    launch.warm = Some(Warm::Template { window: IdMap { host, count } });
    launch.health = None;
    // Nothing of it could handle another.
    launch.stop_signal = Signal::KILL;
    Ok(())
}
