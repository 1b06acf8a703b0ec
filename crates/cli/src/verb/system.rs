use std::collections::BTreeMap;

use corral_engine::{Engine, Info, Share, Usage, architecture};
use serde_json::{Value as Json, json};

use super::{image_list, ps, volume_list};
use crate::app::Globals;
use crate::failure::Failure;
use crate::listing::Listing;
use crate::output::{columns, memory, size4};
use crate::template::{Template, Value};
use crate::{Words, output};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Of Docker's API: the version whose command line, with its flags and templates, this one follows.
const API_VERSION: &str = "1.50";

#[derive(Debug, clap::Args)]
struct FormatFlags {
    /// Format output: json, or a Go template
    #[arg(short, long, default_value = "", hide_default_value = true)]
    format: String,
}

/// `corral version`. There is no daemon: the engine is this program, and told of as Docker's server is.
pub(super) fn version(_: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<FormatFlags>("version", words)? else { return Ok(0) };
    if flags.format.is_empty() {
        let line = format!(
            " Version:\t{VERSION}\n API version:\t{API_VERSION}\n OS/Arch:\tlinux/{}\n",
            architecture()
        );
        let engine = format!(" {}", line.replace('\n', "\n "));
        let text = format!("Client:\n{line}\nServer: Corral\n Engine:\n{}\n", engine.trim_end());
        output::print(&columns(&text, 20, 1))?;
        return Ok(0);
    }
    // Neither Go, nor a revision, nor a time of building is known to the program.
    let part = json!({
        "Version": VERSION, "ApiVersion": API_VERSION, "GitCommit": "", "GoVersion": "", "Os": "linux",
        "Arch": architecture(), "BuildTime": "",
    });
    let mut client = part.clone();
    client["Platform"] = json!({ "Name": "Corral" });
    client["DefaultAPIVersion"] = API_VERSION.into();
    client["Context"] = "".into();
    let mut server = part;
    server["MinAPIVersion"] = API_VERSION.into();
    server["Experimental"] = false.into();
    server["Platform"] = json!({ "Name": "Corral" });
    server["KernelVersion"] = rustix::system::uname().release().to_string_lossy().into();
    server["Components"] = json!([{ "Name": "Engine", "Version": VERSION, "Details": { "Os": "linux", "Arch": architecture() } }]);
    document("version", &flags.format, 64, &json!({ "Client": client, "Server": server }))
}

/// What a template makes of a document that has no name.
fn document(kind: &'static str, format: &str, code: u8, value: &Json) -> Result<u8, Failure> {
    let format = if format == "json" { "{{json .}}" } else { format };
    let name = if kind == "version" { kind } else { "" };
    let template = Template::of_documents(name, format)
        .map_err(|error| Failure::with_code(code, format!("template parsing error: {error}")))?;
    let text = template.execute(&Value::document(kind, value, false)).map_err(Failure::new)?;
    output::print(&format!("{text}\n"))?;
    Ok(0)
}

/// `corral info`.
pub(super) fn info(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<FormatFlags>("info", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    let info = engine.info()?;
    if flags.format.is_empty() {
        output::print(&told(&engine, &info))?;
        return Ok(0);
    }
    let all = info.running + info.paused + info.stopped;
    let value = json!({
        "Containers": all, "ContainersRunning": info.running, "ContainersPaused": info.paused,
        "ContainersStopped": info.stopped, "Images": info.images, "Driver": "overlay", "LoggingDriver": "local",
        "CgroupDriver": "cgroupfs", "CgroupVersion": info.cgroup_version, "KernelVersion": info.kernel,
        "OperatingSystem": info.os, "OSType": "linux", "Architecture": info.machine, "NCPU": info.cpus,
        "MemTotal": info.memory, "DockerRootDir": engine.layout().root(), "Name": info.name,
        "ServerVersion": VERSION, "SecurityOptions": SECURITY,
        "ClientInfo": { "Version": VERSION, "Os": "linux", "Arch": architecture() },
        "Corral": { "RunRoot": engine.layout().run_root(), "CgroupHybrid": info.cgroup_hybrid },
    });
    document("info", &flags.format, 64, &value)
}

/// What confines every container unless a weaker mode is named.
const SECURITY: [&str; 3] = ["name=seccomp,profile=builtin", "name=userns", "name=no-new-privileges"];

fn told(engine: &Engine, info: &Info) -> String {
    let hybrid = if info.cgroup_hybrid { " (hybrid)" } else { "" };
    let mut text = format!(
        "Client:\n Version:    {VERSION}\n\nServer:\n Containers: {}\n  Running: {}\n  Paused: {}\n  Stopped: {}\n \
         Images: {}\n Server Version: {VERSION}\n Storage Driver: overlay\n Logging Driver: local\n \
         Cgroup Driver: cgroupfs\n Cgroup Version: {}{hybrid}\n Security Options:\n",
        info.running + info.paused + info.stopped,
        info.running,
        info.paused,
        info.stopped,
        info.images,
        info.cgroup_version,
    );
    for option in SECURITY {
        let (name, profile) = option.split_once(',').unwrap_or((option, ""));
        text.push_str(&format!("  {}\n", name.trim_start_matches("name=")));
        if let Some(profile) = profile.strip_prefix("profile=") {
            text.push_str(&format!("   Profile: {profile}\n"));
        }
    }
    text.push_str(&format!(
        " Kernel Version: {}\n Operating System: {}\n OSType: linux\n Architecture: {}\n CPUs: {}\n \
         Total Memory: {}\n Name: {}\n Root Dir: {}\n Run Dir: {}\n\n",
        info.kernel,
        info.os,
        info.machine,
        info.cpus,
        memory(info.memory),
        info.name,
        engine.layout().root().display(),
        engine.layout().run_root().display(),
    ));
    text
}

#[derive(Debug, clap::Args)]
struct UsageFlags {
    /// Format output: table, 'table TEMPLATE', json, or a Go template
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,
    /// Show detailed information on space usage
    #[arg(short, long)]
    verbose: bool,
}

const USAGE: Listing = Listing {
    heads: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    table: "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    raw: "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\nsize: {{.Size}}\n\
          reclaimable: {{.Reclaimable}}\n",
};

/// `corral system df`.
pub(super) fn df(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<UsageFlags>("system df", words)? else { return Ok(0) };
    if flags.verbose && !matches!(flags.format.as_str(), "" | "table") {
        return Err(Failure::new(
            "--format with --verbose is known and not supported yet: leave one of them out",
        ));
    }
    let format = USAGE.format(&flags.format)?;
    let engine = globals.engine()?;
    engine.collect_if_possible();
    let usage = engine.usage()?;
    if flags.verbose {
        output::print(&verbose(&engine, &usage)?)?;
        return Ok(0);
    }
    let rows = [
        row("Images", "*formatter.diskUsageImagesContext", &usage.images),
        row("Containers", "*formatter.diskUsageContainersContext", &usage.containers),
        row("Local Volumes", "*formatter.diskUsageVolumesContext", &usage.volumes),
        row("Build Cache", "*formatter.diskUsageBuilderContext", &usage.cache),
    ];
    output::print(&format.rows(&rows)?)?;
    Ok(0)
}

fn row(name: &'static str, kind: &'static str, share: &Share) -> Value {
    let percent = (share.reclaimable * 100).checked_div(share.size).filter(|_| name != "Build Cache");
    let percent = percent.map_or_else(String::new, |percent| format!(" ({percent}%)"));
    let cells = vec![
        ("Type", name.into()),
        ("TotalCount", share.total.to_string().into()),
        ("Active", share.active.to_string().into()),
        ("Size", size4(share.size).into()),
        ("Reclaimable", format!("{}{percent}", size4(share.reclaimable)).into()),
    ];
    Value::row(kind, cells, BTreeMap::new())
}

/// Docker's sections of `system df -v`.
fn verbose(engine: &Engine, usage: &Usage) -> Result<String, Failure> {
    let views = engine.list()?;
    let mut seen = std::collections::BTreeSet::new();
    let mut images = Vec::new();
    for image in engine.store().list()? {
        if !seen.insert(image.id) {
            continue;
        }
        let shared = usage.shared.get(&image.id).copied().unwrap_or(0);
        let users = views.iter().filter(|view| view.record.image == image.id).count();
        images.push(image_list::row(
            &image,
            false,
            true,
            &[
                ("SharedSize", size4(shared)),
                ("UniqueSize", size4(image.size.saturating_sub(shared))),
                ("Containers", users.to_string()),
            ],
        ));
    }
    let links = engine.volume_users()?;
    let mut volumes = Vec::new();
    for volume in engine.volumes()? {
        let links = links.get(&volume.name).copied().unwrap_or(0);
        volumes.push(volume_list::row(
            engine,
            &volume,
            links.to_string(),
            size4(engine.volume_size(&volume.name)?),
        )?);
    }
    let images_table = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t\
                        {{.UniqueSize}}\t{{.Containers}}";
    Ok(format!(
        "Images space usage:\n\n{}\nContainers space usage:\n\n{}\nLocal Volumes space usage:\n\n{}\n\
         Build cache usage: {}\n\n",
        image_list::LISTING.format(images_table)?.rows(&images)?,
        ps::disk_usage(engine, &views)?,
        volume_list::LISTING.format("table {{.Name}}\t{{.Links}}\t{{.Size}}")?.rows(&volumes)?,
        size4(usage.cache.size),
    ))
}
