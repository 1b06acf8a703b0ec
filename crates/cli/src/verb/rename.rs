use corral_monitor::Error;
use corral_monitor::client::Client;
use corral_spec::ContainerName;

use crate::Words;
use crate::app::Globals;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
struct RenameFlags {
    /// Container
    container: String,
    /// Its new name
    new_name: String,
}

/// `corral rename`.
pub(super) fn rename(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<RenameFlags>("rename", words)? else { return Ok(0) };
    if flags.container.trim().is_empty() || flags.new_name.trim().is_empty() {
        return Err(Failure::new("neither old nor new names may be empty"));
    }
    let engine = globals.engine()?;
    let id = engine.find(&flags.container)?;
    let name: ContainerName = flags.new_name.trim_start_matches('/').parse().map_err(Failure::new)?;
    engine.rename(&id, &name)?;
    // One that does not run, or ends just now, needs no word; nor does a monitor that is too old to understand it.
    let told =
        Client::connect(&engine.layout().run(&id)).and_then(|mut monitor| monitor.rename(name.as_str()));
    match told {
        Ok(()) | Err(Error::NotRunning { .. } | Error::MonitorGone | Error::Refused(_)) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

#[derive(Debug, clap::Args)]
struct PortFlags {
    /// Container
    container: String,
    /// Only this port of the container
    #[arg(value_name = "PRIVATE_PORT[/PROTO]")]
    port: Option<String>,
}

/// `corral port`: nothing can be published yet, so no port is.
pub(super) fn port(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<PortFlags>("port", words)? else { return Ok(0) };
    globals.engine()?.look(&flags.container)?;
    let Some(port) = flags.port else { return Ok(0) };
    let number = port.split('/').next().unwrap_or_default();
    match number.parse::<u16>() {
        Ok(_) => Err(Failure::new(format!("no public port '{port}' published for {}", flags.container))),
        Err(_) => Err(Failure::new(format!("invalid port ({number}): expected a number up to 65535"))),
    }
}
