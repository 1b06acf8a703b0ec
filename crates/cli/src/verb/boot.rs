use std::path::{Path, PathBuf};
use std::process::Command;

use crate::app::Globals;
use crate::failure::Failure;
use crate::{Words, output};

/// Where an administrator's units are (systemd.unit(5)).
const UNITS: &str = "/etc/systemd/system";
const UNIT: &str = "corral.service";

#[derive(Debug, clap::Args)]
struct NoFlags {}

/// `corral system boot`.
pub(super) fn boot(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(NoFlags {}) = super::parse::<NoFlags>("system boot", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    let names: Vec<String> = engine.due_at_boot()?.iter().map(|view| view.record.name.to_string()).collect();
    super::for_each(&names, |name| {
        super::stop::start_again(&engine, &engine.find(name)?)?;
        Ok(name.to_owned())
    })
}

/// `corral system halt`.
pub(super) fn halt(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(NoFlags {}) = super::parse::<NoFlags>("system halt", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    let views = engine.list()?.into_iter().filter(|view| view.state.lives());
    let names: Vec<String> = views.map(|view| view.record.name.to_string()).collect();
    // All at once: a host that goes down does not wait for each one's patience in turn.
    let halt = |name: &str| -> Result<(), Failure> {
        let engine = globals.engine()?;
        Ok(engine.halt(&engine.find(name)?)?)
    };
    let mut halted = std::thread::scope(|scope| {
        let at_work: Vec<_> = names.iter().map(|name| scope.spawn(|| halt(name))).collect();
        let ended = at_work.into_iter().map(|thread| thread.join());
        let ended = ended.map(|ended| ended.unwrap_or_else(|_| Err(Failure::new("a stop was cut short"))));
        ended.collect::<Vec<_>>().into_iter()
    });
    super::for_each(&names, |name| halted.next().unwrap_or(Ok(())).map(|()| name.to_owned()))
}

#[derive(Debug, clap::Args)]
struct InstallFlags {
    /// Print the unit instead of installing it
    #[arg(long)]
    print: bool,
    /// Where units are
    #[arg(long, value_name = "DIR", default_value = UNITS)]
    units: PathBuf,
}

/// `corral system install`.
pub(super) fn install(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<InstallFlags>("system install", words)? else { return Ok(0) };
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(format!("cannot find this program's own path: {error}")))?;
    let layout = globals.layout()?;
    let unit = unit(&program, layout.root(), layout.run_root())?;
    if flags.print {
        output::print(&unit)?;
        return Ok(0);
    }
    let path = flags.units.join(UNIT);
    if !flags.units.is_dir() {
        return Err(Failure::new(format!(
            "{} is not there: without systemd, have `corral system boot` run at boot and `corral system halt` before the \
             host goes down",
            flags.units.display()
        )));
    }
    std::fs::write(&path, unit)
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))?;
    output::print(&format!("{}\n", path.display()))?;
    if flags.units != Path::new(UNITS) {
        return Ok(0);
    }
    for words in [&["daemon-reload"][..], &["enable", UNIT]] {
        let done = Command::new("systemctl").args(words).env_clear().env("PATH", "/usr/bin:/bin").output();
        let failed = match done {
            Ok(output) if output.status.success() => continue,
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        return Err(Failure::new(format!("systemctl {}: {failed}", words.join(" "))));
    }
    Ok(0)
}

/// The monitors are processes of the service: its end, which a shutdown brings, stops the containers first.
fn unit(program: &Path, root: &Path, run: &Path) -> Result<String, Failure> {
    let quoted = |path: &Path| match path.to_str() {
        Some(text) if !text.chars().any(|c| c.is_control() || "\"\\%$".contains(c)) => {
            Ok(format!("\"{text}\""))
        }
        _ => Err(Failure::new(format!("{} cannot stand in a unit: use another path", path.display()))),
    };
    let corral = format!("{} --root {} --run-root {}", quoted(program)?, quoted(root)?, quoted(run)?);
    Ok(format!(
        "[Unit]\n\
         Description=Containers of Corral that restart with the host\n\
         After=local-fs.target network.target\n\n\
         [Service]\n\
         Type=oneshot\n\
         RemainAfterExit=yes\n\
         Delegate=yes\n\
         TimeoutStartSec=infinity\n\
         ExecStart={corral} system boot\n\
         ExecStop={corral} system halt\n\n\
         [Install]\n\
         WantedBy=multi-user.target\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_names_this_installation() {
        let unit =
            unit(Path::new("/opt/a b/corral"), Path::new("/srv/c"), Path::new("/run/c")).expect("unit");
        assert!(
            unit.contains(
                "ExecStart=\"/opt/a b/corral\" --root \"/srv/c\" --run-root \"/run/c\" system boot\n"
            )
        );
        for bad in ["/a\"b", "/a%b", "/a\nb", "/a$b"] {
            assert!(super::unit(Path::new(bad), Path::new("/"), Path::new("/")).is_err(), "{bad:?}");
        }
    }
}
