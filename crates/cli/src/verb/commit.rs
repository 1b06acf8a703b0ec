use std::path::Path;

use corral_engine::{CommitRequest, Engine, State, View};
use corral_monitor::client::Client;
use corral_spec::{Digest, ImageRef};

use crate::app::Globals;
use crate::failure::Failure;
use crate::{Words, output};

#[derive(Debug, clap::Args)]
struct CommitFlags {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short, long, value_name = "NAME", default_value = "")]
    author: String,
    /// Apply Dockerfile instruction to the created image
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Commit message
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    message: String,
    /// Pause container during commit
    #[arg(short, long, value_name = "BOOL", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pause: bool,
    /// Container
    container: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<ImageRef>,
}

/// `corral commit`.
pub(super) fn commit(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<CommitFlags>("commit", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    let view = engine.look(&flags.container)?;
    let request = CommitRequest {
        reference: flags.reference,
        author: flags.author,
        message: flags.message,
        changes: flags.change,
    };
    let image = match &view.state {
        State::Running(_) if flags.pause => paused(&engine, &view, &request)?,
        _ => engine.commit(&view.record.id, &request)?,
    };
    output::print(&format!("{image}\n"))?;
    Ok(0)
}

/// With the container's processes frozen meanwhile, whatever comes of it.
fn paused(engine: &Engine, view: &View, request: &CommitRequest) -> Result<Digest, Failure> {
    let run = engine.layout().run(&view.record.id);
    // The container goes on when this command ends, however it ends.
    let mut client = hold(&run)?;
    corral_fault::step!(CommitPaused);
    let made = engine.commit(&view.record.id, request);
    corral_fault::step!(CommitMade);
    let resumed = client.unpause();
    let made = made?;
    resumed?;
    Ok(made)
}

/// Freezes a container. A monitor of an older build does not know how to hold, and hangs up.
fn hold(run: &Path) -> Result<Client, Failure> {
    let mut client = Client::connect(run)?;
    match client.hold() {
        Err(corral_monitor::Error::MonitorGone) => {
            client = Client::connect(run)?;
            client.pause()?;
        }
        held => held?,
    }
    Ok(client)
}
