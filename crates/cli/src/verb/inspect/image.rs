//! An image as Docker's `image inspect` has it.

use std::collections::BTreeSet;

use corral_engine::Engine;
use corral_image::Image;
use serde_json::{Value, json};

use super::{constant, extend};
use crate::failure::Failure;

pub(super) fn shown(engine: &Engine, image: &Image) -> Result<Value, Failure> {
    let config = &image.config;
    let names = image.references(engine.store())?;
    let digests: BTreeSet<String> = image.manifest.map_or_else(BTreeSet::new, |manifest| {
        names.iter().map(|name| format!("{}@{manifest}", name.familiar_name())).collect()
    });
    let size = engine.image_size(&image.id)?;
    let layers: Vec<String> = image
        .layers
        .iter()
        .rev()
        .map(|layer| engine.store().layer_dir(layer).display().to_string())
        .collect();
    let (upper, lowers) = layers.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let mut container = super::config(&config.config, Vec::new());
    if let Some(check) = &config.config.healthcheck {
        container["Healthcheck"] = json!(check);
    }
    let mut value = json!({
        "Id": image.id,
        "RepoTags": names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "RepoDigests": digests,
        // Docker takes the last step's.
        "Comment": config.history.last().map_or("", |step| &step.comment),
        "Created": config.created,
        "Author": config.author,
        "Config": container,
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": size,
        "VirtualSize": size,
        "GraphDriver": {
            "Name": "overlay",
            "Data": { "LowerDir": lowers.join(":"), "MergedDir": "", "UpperDir": upper, "WorkDir": "" },
        },
        "RootFS": { "Type": "layers", "Layers": image.layers },
    });
    extend(&mut value, constant(ABSENT));
    if !config.variant.is_empty() {
        value["Variant"] = json!(config.variant);
    }
    Ok(value)
}

/// When it last got a name is not kept.
const ABSENT: &str = r#"{
    "Parent": "", "DockerVersion": "", "Metadata": { "LastTagTime": "0001-01-01T00:00:00Z" }
}"#;
