use crate::Words;
use crate::app::Globals;
use crate::failure::Failure;

#[derive(Debug, clap::Args)]
struct CreateFlags {
    /// Volumes
    #[arg(required = true)]
    volumes: Vec<String>,
}

/// `corral volume create`.
pub(super) fn create(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<CreateFlags>("volume create", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    super::for_each(&flags.volumes, |name| {
        name.parse::<corral_spec::ContainerName>()
            .map_err(|_| Failure::new(format!("invalid volume name {name:?}")))?;
        engine.volume(name)?;
        Ok(name.to_owned())
    })
}

#[derive(Debug, clap::Args)]
struct RemoveFlags {
    /// Force the removal: a volume that is not there is no error
    #[arg(short, long)]
    force: bool,
    /// Volumes
    #[arg(required = true)]
    volumes: Vec<String>,
}

/// `corral volume rm`.
pub(super) fn remove(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<RemoveFlags>("volume rm", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    super::for_each(&flags.volumes, |name| {
        if flags.force && !engine.volumes()?.iter().any(|volume| volume.name == name) {
            return Ok(name.to_owned());
        }
        engine.remove_volume(name)?;
        Ok(name.to_owned())
    })
}
