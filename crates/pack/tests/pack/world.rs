//! A store, an engine and a cache of their own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use corral_engine::Engine;
use corral_pack::{PackOptions, Packed};
use corral_state::Layout;

pub struct World {
    dir: tempfile::TempDir,
    pub engine: Engine,
}

impl World {
    pub fn new() -> Option<Self> {
        let dir = tempfile::tempdir().expect("temporary directory");
        let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
        let engine = Engine::open(layout).expect("engine");
        Some(Self { dir, engine })
    }

    pub fn copy(&self, project: &str) -> PathBuf {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(project);
        let to = self.dir.path().join("project");
        let status = Command::new("cp").arg("-r").arg(from).arg(&to).status().expect("cp");
        assert!(status.success());
        to
    }

    pub fn pack(&self, project: &Path) -> Packed {
        let cache =
            std::env::var_os("CORRAL_TEST_CACHE").map_or(self.dir.path().join("cache"), PathBuf::from);
        let options = PackOptions::new(project, cache);
        let begin = Instant::now();
        let packed = corral_pack::pack(&self.engine, self.engine.store(), &options, &|event| {
            println!("{:?} {event:?}", begin.elapsed());
        });
        packed.unwrap_or_else(|error| panic!("{error}"))
    }
}
