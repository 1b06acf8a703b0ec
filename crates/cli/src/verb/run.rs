use std::path::{Path, PathBuf};

use clap::Args;
use corral_engine::{Engine, Prepared, Started, Wanted, Warmth, Watch};
use corral_image::Image;
use corral_monitor::client::{AttachOptions, Beginning, Client, DetachKeys, Outcome, attach_terminal};
use corral_monitor::{End, Here};
use corral_spec::{ContainerId, ContainerSpec, UserNamespace};
use corral_state::Life;
use rustix::stdio::stdin;

use crate::app::Globals;
use crate::failure::{ENGINE, Failure};
use crate::run_flags::{RunFlags, WithMore};
use crate::words::{FlagsEnd, rewrite};
use crate::{Words, output};

/// `corral run`: make, start, attach, answer the program's exit code.
pub(super) fn run(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = parse("run", &words)? else { return Ok(0) };
    need_terminal(&flags)?;
    try_run(globals, &flags).map_err(Failure::of_engine)
}

/// The flags; Docker's that are not there yet are refused by name. Most commands have but the usual ones, and a parser
/// for these alone is quicker to build: all are built for what it does not know.
fn parse(verb: &'static str, words: &Words) -> Result<Option<RunFlags>, Failure> {
    if !super::describe::is_question(words) {
        let usual = RunFlags::augment_args(super::command(verb));
        if let Ok(words) = rewrite(&usual, words, FlagsEnd::AtName) {
            return super::matches(verb, usual, words);
        }
    }
    let all = super::parse_until::<WithMore>(FlagsEnd::AtName, verb, words)?;
    Ok(all.map(WithMore::joined))
}

fn try_run(globals: &Globals, flags: &RunFlags) -> Result<u8, Failure> {
    let spec = flags.spec()?;
    let streams = flags.settings().streams(flags.interactive, flags.detach)?;
    let options = AttachOptions {
        stdin: streams.stdin,
        tty: flags.tty,
        sig_proxy: flags.sig_proxy,
        detach_keys: detach_keys(flags.detach_keys.as_deref())?,
        hidden: [!streams.stdout, !streams.stderr],
    };
    let engine = globals.engine()?;
    let (image, name) = image(&engine, flags)?;
    let (remove, stays) = (spec.remove, stays(flags, &spec));
    let cid = flags.settings().take_cidfile()?;
    let prepared = engine.create(Wanted {
        image: &image,
        image_name: &name,
        spec,
        life: if remove { Life::Passing } else { Life::Lasting },
        watch: match (stays, flags.detach) {
            (true, _) => Watch::Monitor,
            (false, true) => Watch::Nobody,
            (false, false) => Watch::Caller,
        },
        typed: Some(flags.typed(streams)),
        warmth: flags.warmth(),
    })?;
    if let Err(failure) = cid.map_or(Ok(()), |cid| cid.write(&prepared.record.id)) {
        // It was to go with its end, and does not begin. What is kept is there to be looked at, as Docker's is.
        if remove {
            engine.discard_own(prepared, Vec::new())?;
        }
        return Err(failure);
    }
    corral_fault::step!(CidWritten);
    if stays {
        return run_here(&engine, prepared, &options);
    }
    let started = engine.start_prepared(prepared)?;
    if flags.detach {
        return background(&engine, started, remove);
    }
    let id = started.id;
    let mut client = Client::from_fd(started.client);
    let ended = attach_terminal(&mut client, &options);
    finish(&engine, &id, remove, ended?)
}

/// Whether this command is the monitor of its container, and not only a client of one: nobody can detach from the
/// container, and it would be gone with its end anyway. Without a user namespace of its own, a container could
/// write to the program of its monitor, which is a sealed copy then (CVE-2019-5736).
fn stays(flags: &RunFlags, spec: &ContainerSpec) -> bool {
    let nobody_detaches = !flags.detach && !flags.tty && flags.sig_proxy;
    flags.rm && nobody_detaches && spec.userns != UserNamespace::Host
}

fn run_here(engine: &Engine, prepared: Prepared, options: &AttachOptions) -> Result<u8, Failure> {
    let [data_dir, run_dir] = engine.places(&prepared);
    let here = Here { launch: &prepared.launch, data_dir: &data_dir, run_dir: &run_dir };
    let End { outcome, events } = corral_monitor::run_here(here, options);
    engine.discard_own(prepared, events)?;
    answer(outcome?)
}

/// The caller's exit code.
fn answer(outcome: Outcome) -> Result<u8, Failure> {
    match outcome {
        Outcome::Exited { code, .. } => Ok(code),
        Outcome::Failed { code, message } => Err(Failure::with_code(code, message)),
        Outcome::Detached => Ok(0),
        Outcome::Interrupted(signal) => Ok(128 + signal.number() as u8),
    }
}

/// What an attachment's end means for the caller: its exit code, and the end of a `--rm` container.
pub(super) fn finish(
    engine: &Engine,
    id: &ContainerId,
    remove: bool,
    outcome: Outcome,
) -> Result<u8, Failure> {
    if remove && matches!(outcome, Outcome::Exited { .. } | Outcome::Failed { .. }) {
        engine.discard(id)?;
    }
    answer(outcome)
}

fn background(engine: &Engine, started: Started, remove: bool) -> Result<u8, Failure> {
    let mut client = Client::from_fd(started.client);
    match client.beginning()? {
        Beginning::Started { .. } => {
            client.detach()?;
            corral_fault::step!(IdUnsaid);
            output::print(&format!("{}\n", started.id))?;
            Ok(0)
        }
        Beginning::Failed { code, message } => {
            finish(engine, &started.id, remove, Outcome::Failed { code, message })
        }
    }
}

/// `corral create`: make, and print the id.
pub(super) fn create(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = parse("create", &words)? else { return Ok(0) };
    let act = || {
        let spec = flags.spec()?;
        let engine = globals.engine()?;
        let (image, name) = image(&engine, &flags)?;
        let cid = flags.settings().take_cidfile()?;
        let id = engine.leave(engine.create(Wanted {
            image: &image,
            image_name: &name,
            spec,
            life: Life::Lasting,
            watch: Watch::Nobody,
            typed: Some(flags.typed(flags.settings().streams(flags.interactive, false)?)),
            warmth: Warmth::Cold,
        })?)?;
        cid.map_or(Ok(()), |cid| cid.write(&id))?;
        corral_fault::step!(IdUnsaid);
        output::print(&format!("{id}\n"))?;
        Ok(0)
    };
    act().map_err(Failure::of_engine)
}

/// The image that was named, packed first if it is a directory.
fn image(engine: &Engine, flags: &RunFlags) -> Result<(Image, String), Failure> {
    let settings = flags.settings();
    let named = flags.image();
    if let Some(dir) = directory(named) {
        let packed = super::pack::pack_for_run(engine, &dir, flags.quiet)?;
        let image = engine.store().resolve(&packed.image.to_string())?;
        settings.check_image(named, &image.config.architecture)?;
        return Ok((image, packed.reference.to_string()));
    }
    let image = engine.store().resolve(named)?;
    settings.check_image(named, &image.config.architecture)?;
    Ok((image, named.to_owned()))
}

/// An argument is a directory only if it looks like one; everything else is an image name.
pub(super) fn directory(text: &str) -> Option<PathBuf> {
    let path = text == "." || text == ".." || ["/", "./", "../"].iter().any(|start| text.starts_with(start));
    path.then(|| Path::new(text).to_path_buf())
}

pub(super) fn detach_keys(text: Option<&str>) -> Result<DetachKeys, Failure> {
    match text {
        None => Ok(DetachKeys::default()),
        Some(text) => text
            .parse()
            .map_err(|error: corral_monitor::client::DetachKeysError| Failure::with_code(ENGINE, error)),
    }
}

fn need_terminal(flags: &RunFlags) -> Result<(), Failure> {
    if flags.tty && flags.interactive && !flags.detach && !rustix::termios::isatty(stdin()) {
        return Err(Failure::with_code(
            1,
            "the input device is not a TTY: leave -t out, or run it from a terminal",
        ));
    }
    Ok(())
}
