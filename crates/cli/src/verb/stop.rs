use std::time::Duration;

use corral_engine::Engine;
use corral_monitor::client::{Beginning, Client};
use corral_spec::{ContainerId, Signal};

use crate::Words;
use crate::app::Globals;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
struct StopFlags {
    /// Signal to send to the container
    #[arg(short, long)]
    signal: Option<Signal>,
    /// Seconds to wait before killing the container
    #[arg(
        short,
        long,
        visible_alias = "time",
        short_alias = 't',
        value_name = "SECONDS",
        allow_hyphen_values = true
    )]
    timeout: Option<i64>,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl StopFlags {
    /// A negative timeout waits for ever, as Docker's.
    fn patience(&self) -> Option<Duration> {
        self.timeout.map(|seconds| u64::try_from(seconds).map_or(Duration::MAX, Duration::from_secs))
    }
}

/// `corral stop`.
pub(super) fn stop(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<StopFlags>("stop", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    super::for_each(&flags.containers, |name| {
        engine.stop(&engine.find(name)?, flags.signal, flags.patience())?;
        Ok(name.to_owned())
    })
}

/// `corral restart`.
pub(super) fn restart(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<StopFlags>("restart", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    super::for_each(&flags.containers, |name| {
        let id = engine.find(name)?;
        engine.stop(&id, flags.signal, flags.patience())?;
        corral_fault::step!(StoppedToRestart);
        start_again(&engine, &id)?;
        engine.record_restart(&id)?;
        Ok(name.to_owned())
    })
}

pub(super) fn start_again(engine: &Engine, id: &ContainerId) -> Result<(), Failure> {
    let mut client = Client::from_fd(engine.start(id)?.client);
    match client.beginning()? {
        Beginning::Started { .. } => Ok(client.detach()?),
        Beginning::Failed { message, .. } => Err(Failure::new(message)),
    }
}

#[derive(Debug, clap::Args)]
struct KillFlags {
    /// Signal to send to the container
    #[arg(short, long, default_value = "KILL")]
    signal: Signal,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

/// `corral kill`.
pub(super) fn kill(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<KillFlags>("kill", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    super::for_each(&flags.containers, |name| {
        engine.kill(&engine.find(name)?, flags.signal)?;
        Ok(name.to_owned())
    })
}

#[derive(Debug, clap::Args)]
struct PauseFlags {
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

/// `corral pause`.
pub(super) fn pause(globals: &Globals, words: Words) -> Result<u8, Failure> {
    freeze("pause", globals, words, Client::pause)
}

/// `corral unpause`.
pub(super) fn unpause(globals: &Globals, words: Words) -> Result<u8, Failure> {
    freeze("unpause", globals, words, Client::unpause)
}

fn freeze(
    verb: &'static str,
    globals: &Globals,
    words: Words,
    act: fn(&mut Client) -> Result<(), corral_monitor::Error>,
) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<PauseFlags>(verb, words)? else { return Ok(0) };
    let engine = globals.engine()?;
    super::for_each(&flags.containers, |name| {
        let view = engine.look(name)?;
        if view.state.status().is_none() {
            return Err(Failure::new(format!(
                "container {name} is {}: it does not run",
                view.state.as_str()
            )));
        }
        act(&mut Client::connect(&engine.layout().run(&view.record.id))?)?;
        Ok(name.to_owned())
    })
}
