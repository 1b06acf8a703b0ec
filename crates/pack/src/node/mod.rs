//! Node: from package-lock.json to a node_modules layer.

use std::path::Path;

use serde_json::Value;

use crate::debian::BaseLock;
use crate::layers::Layers;
use crate::lock::{Lock, NodeLock};
use crate::project::Project;
use crate::scan::Scan;
use crate::{Error, PackOptions};

/// A Node project as its manifest describes it.
#[derive(Debug)]
pub(crate) struct NodeProject {
    /// The command, if the manifest tells one.
    pub entrypoint: Option<Vec<String>>,
}

impl NodeProject {
    pub(crate) fn needs_debian_runtime(&self) -> bool {
        true
    }

    pub(crate) fn lock(
        &self,
        _old: Option<&NodeLock>,
        _base: &BaseLock,
        _options: &PackOptions,
    ) -> Result<Option<NodeLock>, Error> {
        Ok(None)
    }

    pub(crate) fn push(
        &self,
        _layers: &mut Layers<'_>,
        _lock: &Lock,
        _project: &Project,
        _options: &PackOptions,
    ) -> Result<(), Error> {
        Ok(())
    }

    pub(crate) fn read(dir: &Path, _scan: &Scan, _document: &Value) -> Result<Self, Error> {
        Err(Error::Unsupported {
            what: format!("{}: a Node project", dir.display()),
            way_out: "it comes with a later version".into(),
        })
    }
}
