use std::io::Write;

use corral_engine::{Removal, State};
use corral_monitor::client::{AttachOptions, Beginning, Client, attach_terminal};

use crate::app::Globals;
use crate::failure::Failure;
use crate::{Words, output};

#[derive(Debug, clap::Args)]
struct RmFlags {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    volumes: bool,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

/// `corral rm`.
pub(super) fn rm(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<RmFlags>("rm", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    engine.collect_if_possible();
    super::for_each(&flags.containers, |name| {
        let found = match engine.find(name) {
            // docker rm -f of something that is not there succeeds.
            Err(corral_engine::Error::NoContainer(_)) if flags.force => return Ok(name.to_owned()),
            found => found?,
        };
        let lost = engine.remove(&found, Removal { force: flags.force, volumes: flags.volumes })?;
        if lost.files > 0 {
            let (files, s) = (lost.files, if lost.files == 1 { "" } else { "s" });
            // Nobody is left to tell when standard error is closed.
            drop(writeln!(
                std::io::stderr(),
                "corral: {name}: discarded {} in {files} file{s} of its writable layer",
                output::size(lost.bytes)
            ));
        }
        Ok(name.to_owned())
    })
}

#[derive(Debug, clap::Args)]
struct WaitFlags {
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

/// `corral wait`.
pub(super) fn wait(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<WaitFlags>("wait", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    super::for_each(&flags.containers, |name| {
        let found = engine.find(name)?;
        // Its monitor tells; without one its record does, and of a --rm container only the monitor can.
        let told = Client::connect(&engine.layout().run(&found)).and_then(Client::wait);
        let code = told.or_else(|_| engine.wait(&found).map(|exit| exit.code))?;
        Ok(code.to_string())
    })
}

#[derive(Debug, clap::Args)]
struct StartFlags {
    /// Attach STDOUT/STDERR and forward signals
    #[arg(short, long)]
    attach: bool,
    /// Attach container's STDIN
    #[arg(short, long)]
    interactive: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

/// `corral start`.
pub(super) fn start(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<StartFlags>("start", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    if !flags.attach && !flags.interactive {
        return super::for_each(&flags.containers, |name| {
            let view = engine.look(name)?;
            if let State::Running(_) = view.state {
                // As it was wanted.
                return Ok(name.to_owned());
            }
            let started = engine.start(&view.record.id)?;
            let mut client = Client::from_fd(started.client);
            match client.beginning()? {
                Beginning::Started { .. } => client.detach()?,
                Beginning::Failed { message, .. } => return Err(Failure::new(message)),
            }
            Ok(name.to_owned())
        });
    }
    let [name] = flags.containers.as_slice() else {
        return Err(Failure::new("you cannot start and attach multiple containers at once"));
    };
    let view = engine.look(name)?;
    let options = AttachOptions {
        stdin: flags.interactive && view.record.spec.interactive,
        tty: view.record.spec.tty,
        sig_proxy: true,
        detach_keys: super::run::detach_keys(flags.detach_keys.as_deref())?,
        hidden: [false; 2],
    };
    engine.record_attach(&view.record)?;
    let started = engine.start(&view.record.id)?;
    let mut client = Client::from_fd(started.client);
    let ended = attach_terminal(&mut client, &options)?;
    super::run::finish(&engine, &started.id, view.record.spec.remove, ended)
}

/// A line for a program: what was found on standard output.
pub(super) fn print_lines(lines: impl IntoIterator<Item = String>) -> Result<(), Failure> {
    let mut text = String::new();
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    output::print(&text)
}
