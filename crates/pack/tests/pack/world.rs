//! A store, an engine and projects of their own. Downloads are kept for all of them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use corral_engine::{Engine, Step, StepOutcome};
use corral_pack::{Error, PackOptions, Packed};
use corral_state::Layout;

pub struct World {
    dir: tempfile::TempDir,
    pub engine: Engine,
    cache: PathBuf,
    pub events: RefCell<Vec<String>>,
}

impl World {
    pub fn new(cache: &Path) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
        let engine = Engine::open(layout, corral_engine::Ground::default()).expect("engine");
        Self { dir, engine, cache: cache.to_owned(), events: RefCell::default() }
    }

    /// A project of these files; those whose name ends in `*` are executable.
    pub fn project(&self, name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let root = self.dir.path().join(name);
        for (path, bytes) in files {
            let (path, mode) = path.strip_suffix('*').map_or((*path, 0o644), |path| (path, 0o755));
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(&path, bytes).expect("written");
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode))
                .expect("mode set");
        }
        root
    }

    pub fn options(&self, project: &Path) -> PackOptions {
        PackOptions::new(project, &self.cache)
    }

    pub fn try_pack(&self, options: &PackOptions) -> Result<Packed, Error> {
        self.events.borrow_mut().clear();
        corral_pack::pack(&self.engine, self.engine.store(), options, &|event| {
            self.events.borrow_mut().push(format!("{event:?}"));
        })
    }

    pub fn pack(&self, project: &Path) -> Packed {
        self.try_pack(&self.options(project)).unwrap_or_else(|error| panic!("{}: {error}", project.display()))
    }

    /// Runs the image's own command with more words.
    pub fn run(&self, packed: &Packed, words: &[&str]) -> StepOutcome {
        let image = self.engine.store().resolve(&packed.image.to_string()).expect("the image");
        let config = &image.config.config;
        let env = config.env.iter().filter_map(|pair| pair.split_once('='));
        let step = Step {
            layers: image.layers.clone(),
            argv: config
                .entrypoint
                .iter()
                .cloned()
                .chain(words.iter().map(|word| (*word).to_owned()))
                .collect(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            mounts: Vec::new(),
            workdir: config.working_dir.clone(),
            host_network: false,
        };
        self.engine.run_step(&step).expect("the image runs")
    }

    pub fn says(&self, packed: &Packed, words: &[&str], expect: &str) {
        let outcome = self.run(packed, words);
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&outcome.stdout),
            String::from_utf8_lossy(&outcome.stderr)
        );
        assert!(outcome.code == 0 && text.contains(expect), "code {}: {text}", outcome.code);
    }

    pub fn fails(&self, options: &PackOptions, expect: &str) {
        let error = self.try_pack(options).map(|packed| packed.image).expect_err("the pack is refused");
        let text = error.to_string();
        assert!(
            text.contains(expect) && !text.contains('\n'),
            "{text:?} does not say {expect:?} in one line"
        );
    }

    /// A file of the finished image.
    pub fn file(&self, packed: &Packed, path: &str) -> Option<Vec<u8>> {
        let store = self.engine.store();
        let image = store.resolve(&packed.image.to_string()).expect("the image");
        let dirs: Vec<PathBuf> = image.layers.iter().rev().map(|layer| store.layer_dir(layer)).collect();
        corral_image::read_file(&dirs, Path::new(path), 1 << 24)
    }

    pub fn written(&self, packed: &Packed) -> Vec<String> {
        packed.layers.iter().filter(|layer| !layer.cached).map(|layer| layer.name.clone()).collect()
    }
}
