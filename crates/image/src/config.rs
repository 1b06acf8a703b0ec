use std::collections::BTreeMap;

use corral_spec::Digest;
use serde::{Deserialize, Deserializer, Serialize};

/// An OCI image config (image-spec, "config.md"), as far as we use it. `null` and missing are the same.
///
/// The bytes of a config are stored verbatim, unknown fields and all; this type is a view of them. The
/// bytes of configs that we make come from [`ImageConfig::to_bytes`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// RFC 3339 time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Go's GOARCH: `amd64`.
    #[serde(default, deserialize_with = "or_default")]
    pub architecture: String,
    /// Go's GOOS: `linux`.
    #[serde(default, deserialize_with = "or_default")]
    pub os: String,
    /// CPU variant, e.g. `v8`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// How it runs.
    #[serde(default, deserialize_with = "or_default")]
    pub config: ContainerConfig,
    /// Its layers.
    #[serde(default, deserialize_with = "or_default")]
    pub rootfs: RootFs,
    /// How it was made, oldest first.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
}

/// How containers of an image run by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `user[:group]`; empty means root.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `80/tcp` and the like.
    #[serde(
        default,
        deserialize_with = "set",
        serialize_with = "go_set",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub exposed_ports: Vec<String>,
    /// `NAME=VALUE`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The program and its first arguments.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Arguments that the user's own replace.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Mount points of anonymous volumes.
    #[serde(
        default,
        deserialize_with = "set",
        serialize_with = "go_set",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub volumes: Vec<String>,
    /// Empty means `/`.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// Key to value.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `SIGTERM` or a number; empty means SIGTERM.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// How health is checked (Docker's extension).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// The shell of shell-form commands (Docker's extension).
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
    /// Instructions for images built on this one (Docker's extension).
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// Windows only; kept for the round trip.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_false")]
    pub args_escaped: bool,
}

/// Docker's `HEALTHCHECK`. Durations are nanoseconds; 0 means inherit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", text]`; empty means inherit.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// Of one check.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// Grace after the start.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// Between two checks within the grace.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    /// Failures in a row that make it unhealthy.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_zero")]
    pub retries: u64,
}

/// The layers of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(default, rename = "type", deserialize_with = "or_default")]
    pub kind: String,
    /// diffIDs, bottom first.
    #[serde(default, deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

/// One step of how an image was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// RFC 3339 time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The command.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who made it.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// A remark.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the step made no layer.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "is_false")]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// The bytes of a config made here: fixed key order, no white space, so that the same image has the
    /// same id everywhere.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings, numbers, vectors and string-keyed maps: nothing that JSON cannot express.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Go writes nil slices and maps as `null`.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Go's `map[string]struct{}`.
fn set<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let map: Option<BTreeMap<String, serde::de::IgnoredAny>> = Option::deserialize(from)?;
    Ok(map.unwrap_or_default().into_keys().collect())
}

fn go_set<S: serde::Serializer>(keys: &[String], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(
        keys.iter().collect::<std::collections::BTreeSet<_>>().into_iter().map(|key| (key, Empty {})),
    )
}

#[derive(Serialize)]
struct Empty {}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_false(value: &bool) -> bool {
    !value
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(value: &u64) -> bool {
    *value == 0
}
