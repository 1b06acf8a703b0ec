use std::ffi::OsString;

use corral_engine::{Engine, TemplateRequest, View};
use corral_monitor::client::{Beginning, Client};
use corral_spec::{ByteSize, ContainerName};

use crate::app::Globals;
use crate::failure::{ENGINE, Failure};
use crate::{Words, output};

#[derive(Debug, clap::Args)]
struct MakeFlags {
    /// Import this module too, and what it imports; may be given again
    #[arg(long = "import", value_name = "MODULE")]
    modules: Vec<String>,
    /// Assign a name to the template
    #[arg(long, value_name = "NAME")]
    name: Option<ContainerName>,
    /// Memory limit of the template
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<ByteSize>,
    /// The image
    #[arg(value_name = "IMAGE")]
    image: String,
}

#[derive(Debug, clap::Args)]
struct RemoveFlags {
    /// End the containers that were forked from it, too
    #[arg(short, long)]
    force: bool,
    /// Templates by name, or their images
    #[arg(value_name = "TEMPLATE|IMAGE", required = true)]
    names: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct ListFlags {
    /// Only display ids
    #[arg(short, long)]
    quiet: bool,
}

/// `corral warm IMAGE`, `corral warm ls`, `corral warm rm`.
pub(super) fn warm(globals: &Globals, mut words: Words) -> Result<u8, Failure> {
    let act = match words.first().and_then(|word| word.to_str()) {
        Some("ls" | "list") => list,
        Some("rm" | "remove") => remove,
        _ => {
            words.insert(0, OsString::new());
            make
        }
    };
    words.remove(0);
    act(globals, words)
}

fn make(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<MakeFlags>("warm", words)? else { return Ok(0) };
    if let Some(bad) = flags.modules.iter().find(|module| !is_module(module)) {
        return Err(Failure::with_code(ENGINE, format!("--import {bad}: not the name of a module")));
    }
    let act = || {
        let engine = globals.engine()?;
        let image = engine.store().resolve(&flags.image)?;
        let prepared = engine.create_template(&TemplateRequest {
            image: &image,
            image_name: &flags.image,
            name: flags.name.clone(),
            modules: &flags.modules,
            memory: flags.memory,
        })?;
        let started = engine.start_prepared(prepared)?;
        let id = started.id;
        let mut client = Client::from_fd(started.client);
        if let Beginning::Failed { code, message } = client.beginning()? {
            engine.discard(&id)?;
            return Err(Failure::with_code(code, message));
        }
        engine.publish_template(&id, &image.id)?;
        client.detach()?;
        output::print(&format!("{id}\n"))?;
        Ok(0)
    };
    act().map_err(Failure::of_engine)
}

fn list(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<ListFlags>("warm ls", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    let mut table = String::new();
    if !flags.quiet {
        table.push_str(&format!("{:<14}{:<28}{:<24}{}\n", "CONTAINER ID", "IMAGE", "NAME", "FORKED"));
    }
    for view in engine.templates_running()? {
        let record = &view.record;
        let id = record.id.short();
        if flags.quiet {
            table.push_str(&format!("{id}\n"));
        } else {
            let forked = engine.forked_from(&record.id)?.len();
            table.push_str(&format!(
                "{id:<14}{:<28}{:<24}{forked}\n",
                record.image_name,
                record.name.as_str()
            ));
        }
    }
    output::print(&table)?;
    Ok(0)
}

fn remove(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<RemoveFlags>("warm rm", words)? else { return Ok(0) };
    let act = || {
        let engine = globals.engine()?;
        for name in &flags.names {
            engine.remove_template(&find(&engine, name)?, flags.force)?;
            output::print(&format!("{name}\n"))?;
        }
        Ok(0)
    };
    act().map_err(Failure::of_engine)
}

/// By its name, its id, or its image.
fn find(engine: &Engine, name: &str) -> Result<View, Failure> {
    let templates = engine.templates_running()?;
    let image = engine.store().resolve(name).ok().map(|image| image.id);
    let is_it = |view: &View| {
        let record = &view.record;
        record.name.as_str() == name
            || (name.len() >= 4 && record.id.as_str().starts_with(name))
            || image == Some(record.image)
    };
    let found = templates.into_iter().find(is_it);
    found.ok_or_else(|| {
        Failure::with_code(1, format!("no template goes by {name}; `corral warm ls` lists them"))
    })
}

fn is_module(name: &str) -> bool {
    let part = |part: &str| {
        part.chars().next().is_some_and(|first| first == '_' || first.is_alphabetic())
            && part.chars().all(|letter| letter == '_' || letter.is_alphanumeric())
    };
    name.split('.').all(part)
}
