use std::collections::BTreeMap;

use corral_engine::Engine;
use corral_image::ContainerConfig;
use corral_state::Volume;
use serde_json::{Value, json};

use super::ps::exposed;
use crate::Words;
use crate::app::Globals;
use crate::failure::Failure;
use crate::listing::to_terminal;
use crate::output::{self, rfc3339};
use crate::template::{self, Template};

mod bounds;
mod container;
mod host_config;
mod image;
mod mounts;

#[derive(Debug, clap::Args)]
struct Flags {
    /// Format output: json, or a Go template
    #[arg(short, long, default_value = "", hide_default_value = true)]
    format: String,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    size: bool,
    /// Only inspect objects of the given type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// Containers, images and volumes
    #[arg(required = true)]
    names: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct PlainFlags {
    /// Format output: json, or a Go template
    #[arg(short, long, default_value = "", hide_default_value = true)]
    format: String,
    /// Names
    #[arg(required = true)]
    names: Vec<String>,
}

/// What can be inspected, in the order in which a name is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Container,
    Image,
    Volume,
}

const KINDS: [Kind; 3] = [Kind::Container, Kind::Image, Kind::Volume];
/// What Docker can inspect beside these.
const PLANNED: [&str; 7] = ["config", "network", "node", "plugin", "secret", "service", "task"];

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Volume => "volume",
        }
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = KINDS.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| match PLANNED.contains(&text) {
            true => "it is known and not supported yet".into(),
            false => "unknown type: it must be one of container, image, volume".into(),
        })
    }
}

/// `corral inspect`: a JSON array of what was found, with Docker's keys, or what a template makes of each.
pub(super) fn inspect(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<Flags>("inspect", words)? else { return Ok(0) };
    let shape = Shape::new(&flags.format)?;
    let engine = globals.engine()?;
    show(&shape, &flags.names, |name| {
        let (kind, value) = look(&engine, name, flags.kind, flags.size)?;
        if flags.size && kind != Kind::Container {
            eprintln!("WARNING: --size ignored for {}", kind.as_str());
        }
        Ok((kind, value))
    })
}

/// `corral container inspect`.
pub(super) fn containers(globals: &Globals, words: Words) -> Result<u8, Failure> {
    inspect(globals, of_kind(Kind::Container, words))
}

/// `corral image inspect`.
pub(super) fn images(globals: &Globals, words: Words) -> Result<u8, Failure> {
    plain("image inspect", Kind::Image, globals, words)
}

/// `corral volume inspect`.
pub(super) fn volumes(globals: &Globals, words: Words) -> Result<u8, Failure> {
    plain("volume inspect", Kind::Volume, globals, words)
}

fn of_kind(kind: Kind, words: Words) -> Words {
    if super::describe::is_question(&words) {
        return words;
    }
    [format!("--type={}", kind.as_str()).into()].into_iter().chain(words).collect()
}

fn plain(verb: &'static str, kind: Kind, globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<PlainFlags>(verb, words)? else { return Ok(0) };
    let shape = Shape::new(&flags.format)?;
    let engine = globals.engine()?;
    show(&shape, &flags.names, |name| look(&engine, name, Some(kind), false))
}

/// How what was found is printed.
enum Shape {
    Indented,
    Compact,
    Template(Template),
}

impl Shape {
    fn new(format: &str) -> Result<Self, Failure> {
        match format {
            "" => Ok(Self::Indented),
            "json" => Ok(Self::Compact),
            text => Template::of_documents("", text)
                .map(Self::Template)
                .map_err(|error| Failure::with_code(64, format!("template parsing error: {error}"))),
        }
    }
}

/// Prints what is found of each name; 1 if something is not, or the template does not fit it.
fn show(
    shape: &Shape,
    names: &[String],
    mut look: impl FnMut(&str) -> Result<(Kind, Value), Failure>,
) -> Result<u8, Failure> {
    // JSON has no control characters.
    let clean = matches!(shape, Shape::Template(_)) && to_terminal();
    let (mut parts, mut code) = (Vec::new(), 0);
    for name in names {
        let part = look(name).and_then(|(kind, value)| {
            let value = template::Value::document(kind.as_str(), &value, clean);
            let mut text = String::new();
            match shape {
                Shape::Indented => value.indented(1, &mut text),
                Shape::Compact => value.json(false, &mut text),
                Shape::Template(template) => {
                    text = template
                        .execute(&value)
                        .map_err(|error| Failure::new(format!("template parsing error: {error}")))?;
                }
            }
            Ok(text)
        });
        match part {
            Ok(part) => parts.push(part),
            Err(failure) => {
                failure.print();
                code = 1;
            }
        }
    }
    output::print(&match shape {
        Shape::Template(_) => parts.join("\n") + "\n",
        Shape::Compact => format!("[{}]\n", parts.join(",")),
        Shape::Indented if parts.is_empty() => "[]\n".into(),
        Shape::Indented => format!("[\n    {}\n]\n", parts.join(",\n    ")),
    })?;
    Ok(code)
}

fn look(engine: &Engine, name: &str, kind: Option<Kind>, size: bool) -> Result<(Kind, Value), Failure> {
    for candidate in KINDS.into_iter().filter(|candidate| kind.is_none_or(|kind| kind == *candidate)) {
        let missing = match candidate {
            Kind::Container => match engine.look(name) {
                Ok(view) => return Ok((candidate, container::shown(engine, &view, size)?)),
                Err(error @ corral_engine::Error::NoContainer(_)) => Failure::from(error),
                Err(error) => return Err(error.into()),
            },
            Kind::Image => match engine.store().resolve(name) {
                Ok(image) => return Ok((candidate, image::shown(engine, &image)?)),
                Err(error) if error.kind() == corral_spec::ErrorKind::NotFound => Failure::from(error),
                Err(error) => return Err(error.into()),
            },
            Kind::Volume => match engine.find_volume(name) {
                Ok(volume) => return Ok((candidate, volume_value(engine, &volume)?)),
                Err(corral_engine::Error::NoVolume(_)) => Failure::new(format!("get {name}: no such volume")),
                Err(error) => return Err(error.into()),
            },
        };
        if kind.is_some() {
            return Err(missing);
        }
    }
    Err(Failure::new(format!("no such object: {name}")))
}

fn volume_value(engine: &Engine, volume: &Volume) -> Result<Value, Failure> {
    // Go writes an empty map as `null` here.
    let or_null = |map: &BTreeMap<String, String>| if map.is_empty() { Value::Null } else { json!(map) };
    let mut value = json!({
        "CreatedAt": rfc3339(volume.created_ns.max(0) as u64 / 1_000_000_000 * 1_000_000_000),
        "Driver": "local",
        "Labels": or_null(&volume.labels),
        "Mountpoint": engine.mountpoint(volume)?,
        "Name": volume.name,
        "Options": or_null(&volume.options),
        "Scope": "local",
    });
    if let Some((bytes, keeper)) = engine.bound_of_volume(&volume.name)? {
        value["Status"] = json!({ "Bound": bytes, "EnforcedBy": bounds::keeper(keeper) });
    }
    Ok(value)
}

/// Go writes an empty list or map as `null` where Docker never made one.
fn or_null<T: serde::Serialize>(of: T) -> Value {
    match json!(of) {
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Object(fields) if fields.is_empty() => Value::Null,
        value => value,
    }
}

/// How an image or a container runs, with the keys that Docker has for both; `volumes` are more mount points than the
/// image's.
fn config(config: &ContainerConfig, mut volumes: Vec<String>) -> Value {
    let keys =
        |keys: Vec<String>| or_null(keys.into_iter().map(|key| (key, json!({}))).collect::<BTreeMap<_, _>>());
    volumes.extend(config.volumes.iter().cloned());
    let mut value = constant(CONFIG);
    value["User"] = json!(config.user);
    for (key, words) in [
        ("Env", &config.env),
        ("Cmd", &config.cmd),
        ("Entrypoint", &config.entrypoint),
        ("OnBuild", &config.on_build),
    ] {
        value[key] = or_null(words);
    }
    value["Volumes"] = keys(volumes);
    value["WorkingDir"] = json!(config.working_dir);
    value["Labels"] = or_null(&config.labels);
    // Docker leaves these out where there is nothing to say.
    let ports = exposed(config);
    if !ports.is_empty() {
        value["ExposedPorts"] = keys(ports);
    }
    if !config.stop_signal.is_empty() {
        value["StopSignal"] = json!(config.stop_signal);
    }
    if !config.shell.is_empty() {
        value["Shell"] = json!(config.shell);
    }
    value
}

const CONFIG: &str = r#"{
    "Hostname": "", "Domainname": "", "AttachStdin": false, "AttachStdout": false, "AttachStderr": false,
    "Tty": false, "OpenStdin": false, "StdinOnce": false, "Image": ""
}"#;

/// What is always the same costs a fraction of the code when it is parsed.
fn constant(text: &str) -> Value {
    serde_json::from_str(text).expect("constants are JSON, which the tests of inspect see")
}

fn extend(value: &mut Value, more: Value) {
    if let (Value::Object(fields), Value::Object(more)) = (value, more) {
        fields.extend(more);
    }
}
