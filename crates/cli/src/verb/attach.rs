use corral_monitor::client::{AttachOptions, Beginning, Client, Outcome, attach_terminal};

use crate::Words;
use crate::app::Globals;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
struct Flags {
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Proxy all received signals to the process
    #[arg(long, value_name = "BOOL", default_value = "true", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sig_proxy: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Container
    container: String,
}

/// `corral attach`.
pub(super) fn attach(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<Flags>("attach", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    let view = engine.look(&flags.container)?;
    if view.state.status().is_none() {
        let state = view.state.as_str();
        return Err(Failure::new(format!(
            "container {} is {state}: you cannot attach to a container that does not run",
            view.record.name
        )));
    }
    let stdin = view.record.spec.interactive && !flags.no_stdin;
    let mut client = Client::connect(&engine.layout().run(&view.record.id))?;
    if let Beginning::Failed { code, message } = client.attach(stdin)? {
        return Err(Failure::with_code(code, message));
    }
    let options = AttachOptions {
        stdin,
        tty: view.record.spec.tty,
        sig_proxy: flags.sig_proxy,
        detach_keys: super::run::detach_keys(flags.detach_keys.as_deref())?,
        hidden: [false; 2],
    };
    match attach_terminal(&mut client, &options)? {
        Outcome::Exited { code, .. } => Ok(code),
        Outcome::Detached => Ok(0),
        Outcome::Interrupted(signal) => Ok(128 + signal.number() as u8),
        Outcome::Failed { code, message } => Err(Failure::with_code(code, message)),
    }
}
