use std::path::Path;

use corral_engine::Engine;
use corral_image::Store;
use corral_spec::{Digest, ImageRef};

use crate::base::{self, Base};
use crate::build_base::BuildBase;
use crate::code::{self, APP, Selection};
use crate::config;
use crate::debian::Suite;
use crate::entrypoint;
use crate::layers::{self, LayerId, Layers};
use crate::lock::Lock;
use crate::manifest::Manifest;
use crate::project::{Kind, Project};
use crate::python::{self, Compiler, Environment, Fetcher, Installation, Layout};
use crate::report::LayerReport;
use crate::scan::{Entry, Scan};
use crate::tools::Tools;
use crate::tree::{Node, Tree};
use crate::unchanged;
use crate::{Error, PackOptions, Packed, Progress};

/// `.dockerignore` files larger than this are refused.
const MAX_IGNORE: u64 = 1 << 20;
/// Part of the code layer's key: raise it when the same files give another tree.
const CODE_VERSION: u32 = 1;

/// Packs a directory into an image of the store and names it. Foreign code runs only in steps of the engine.
///
/// # Errors
/// See [`Error`]. Nothing half-made is left that the next command does not collect.
pub fn pack(
    engine: &Engine,
    store: &Store,
    options: &PackOptions,
    progress: &dyn Fn(Progress),
) -> Result<Packed, Error> {
    let options = canonical(options)?;
    let _lease = store.lease()?;
    let scan = Scan::of(&options.directory)?;
    if let Some(image) = unchanged::find(&options, store, &scan) {
        return unchanged_image(store, &options, &scan, image);
    }
    crate::work::collect(&options.cache);
    let project = Project::detect(&options.directory, &scan)?;
    Packing { engine, store, options: &options, progress, scan: &scan, project: &project }.run()
}

/// Links in the paths are resolved once: from here on none is followed.
fn canonical(options: &PackOptions) -> Result<PackOptions, Error> {
    let real = |path: &Path| path.canonicalize().map_err(Error::io("read", path));
    std::fs::create_dir_all(&options.cache).map_err(Error::io("create", &options.cache))?;
    let (directory, cache) = (real(&options.directory)?, real(&options.cache)?);
    if !directory.is_dir() {
        let reason = "is not a directory: name the one that holds the project".to_owned();
        return Err(Error::Project { path: directory, reason });
    }
    Ok(PackOptions { directory, cache, ..options.clone() })
}

fn unchanged_image(
    store: &Store,
    options: &PackOptions,
    scan: &Scan,
    image: Digest,
) -> Result<Packed, Error> {
    let reference = match &options.tag {
        Some(tag) => tag.clone(),
        None => name_of(&Project::detect(&options.directory, scan)?)?,
    };
    store.tag(&image, &reference)?;
    let config = store.resolve(&image.to_string())?;
    let names = config.config.history.iter().map(|step| step.comment.clone());
    let layers = config.layers.iter().zip(names).map(|(diff_id, name)| {
        Ok(LayerReport { name, diff_id: *diff_id, bytes: store.layer_size(diff_id)?, cached: true })
    });
    Ok(Packed {
        image,
        reference,
        unchanged: true,
        layers: layers.collect::<Result<_, Error>>()?,
        skipped_scripts: Vec::new(),
        requests: Vec::new(),
        withheld: Vec::new(),
        lock_written: false,
    })
}

fn name_of(project: &Project) -> Result<ImageRef, Error> {
    project.name.parse().map_err(|error: corral_spec::ImageRefError| Error::Project {
        path: project.dir.clone(),
        reason: format!("{error}: name the image with -t"),
    })
}

/// One packing on its way.
struct Packing<'a> {
    engine: &'a Engine,
    store: &'a Store,
    options: &'a PackOptions,
    progress: &'a dyn Fn(Progress),
    scan: &'a Scan,
    project: &'a Project,
}

impl Packing<'_> {
    fn run(&self) -> Result<Packed, Error> {
        let (project, options) = (self.project, self.options);
        let reference = match &options.tag {
            Some(tag) => tag.clone(),
            None => name_of(project)?,
        };
        // What can be refused without building anything is refused first.
        let entrypoint = entrypoint::of(project, self.scan)?;
        let ignore = crate::files::read_project_file(&options.directory, ".dockerignore", MAX_IGNORE)?;
        let selection = Selection::of(self.scan, &project.settings, ignore.as_deref(), &options.directory)?;
        let old = Lock::read(&options.directory)?;
        let (lock, base, environment) = self.lock(&old)?;
        let build = self.build_base(base.as_ref(), &lock);
        let epoch = options.epoch.or(lock.epoch).unwrap_or(0);
        let mut layers = Layers::new(self.store, self.progress);
        let bottom = match (&base, &lock.base) {
            (Some(base), Some(locked)) => base.push(&mut layers, locked)?,
            _ => base::push_bare(&mut layers)?,
        };
        let mut compiler = None;
        match (&project.kind, &environment) {
            (Kind::Python(_), Some(environment)) => {
                let ground = (bottom, build.as_ref());
                compiler = Some(self.push_python(&mut layers, ground, environment, &lock)?);
            }
            (Kind::Node(node), _) => {
                let build = build
                    .as_ref()
                    .ok_or_else(|| Error::lock(crate::lock::FILE, "section base is missing"))?;
                let suite = lock.base.as_ref().map_or(Suite::Bookworm, |base| base.suite);
                node.push(&mut layers, &lock, &self.tools(suite), build)?;
            }
            _ => {}
        }
        self.push_data(&mut layers, &selection, epoch)?;
        self.push_code(&mut layers, &selection.code, compiler, epoch)?;
        let architecture = lock.base.as_ref().map_or_else(base::host, |base| base.architecture);
        let config = config::of(project, entrypoint, layers.reports(), (architecture, epoch));
        let image = self.store.add_image(&config.to_bytes(), &layers.digests())?;
        self.store.tag(&image, &reference)?;
        let lock_written = lock != old;
        if lock_written {
            lock.write(&options.directory)?;
        }
        unchanged::remember(options, self.scan, &image)?;
        Ok(Packed {
            image,
            reference,
            unchanged: false,
            layers: layers.into_reports(),
            skipped_scripts: base::skipped_scripts(self.store, &bottom),
            requests: Vec::new(),
            withheld: selection.withheld,
            lock_written,
        })
    }

    /// The lock that this image is made of, the base it describes and the interpreter in it.
    fn lock<'s>(&'s self, old: &Lock) -> Result<(Lock, Option<Base<'s>>, Option<Environment>), Error> {
        let mut lock = old.clone();
        if !self.project.needs_base() && self.options.packages.is_empty() {
            (lock.base, lock.build, lock.python, lock.node) = (None, None, None, None);
            if lock.is_empty() {
                lock.epoch = None;
            }
            return Ok((lock, None, None));
        }
        let request = crate::request::of(self.options, self.project, old)?;
        let base = Base { options: self.options, request, progress: self.progress, section: "base" };
        let locked = base.lock(old.base.as_ref())?;
        if lock.epoch.is_none() || old.base.as_ref() != Some(&locked) {
            lock.epoch = locked.sources.iter().filter_map(|source| config::seconds(&source.date)).max();
        }
        let mut environment = None;
        (lock.python, lock.build) = (None, None);
        let build = BuildBase::new(&base, &locked, &self.build_packages(), old.build.clone());
        if let Kind::Python(python) = &self.project.kind {
            let found = python::environment_of(&locked)?;
            python.check_version(&found)?;
            (self.progress)(Progress::Phase("locking Python packages".into()));
            let tools = self.tools(locked.suite);
            let fetcher = self.fetcher(&found, &tools);
            for option in python.ignored_options(&found)? {
                (self.progress)(Progress::Warning(format!(
                    "requirements.txt: {option:?} is not obeyed: your own configuration decides where packages come from"
                )));
            }
            let packages = python.lock(&fetcher, &build, old.python.as_ref(), self.options.upgrade)?;
            if !packages.sdists.is_empty() {
                lock.build = build.section()?;
            }
            lock.python = Some(packages);
            environment = Some(found);
        }
        if let Kind::Node(node) = &self.project.kind {
            lock.node = node.lock(old.node.as_ref(), &locked, self.options)?;
            if node.runs_scripts() {
                lock.build = build.section()?;
            }
        }
        lock.base = Some(locked);
        Ok((lock, Some(base), environment))
    }

    /// What it needs beside the image's packages: install scripts are a shell's.
    fn build_packages(&self) -> Vec<String> {
        let shell = matches!(&self.project.kind, Kind::Node(node) if node.runs_scripts());
        let wanted = self.project.settings.build_packages.iter().cloned();
        wanted.chain(shell.then(|| "dash".to_owned())).collect()
    }

    /// What foreign code is built in, as it is locked, if there is a base to build upon.
    fn build_base<'s>(&self, base: Option<&Base<'s>>, lock: &Lock) -> Option<BuildBase<'s>> {
        let (base, locked) = (base?, lock.base.as_ref()?);
        Some(BuildBase::new(base, locked, &self.build_packages(), None).locked(lock.build.as_ref()))
    }

    fn tools(&self, suite: Suite) -> Tools<'_> {
        Tools {
            engine: self.engine,
            store: self.store,
            options: self.options,
            progress: self.progress,
            suite,
        }
    }

    fn fetcher<'s>(&'s self, environment: &'s Environment, tools: &'s Tools<'s>) -> Fetcher<'s> {
        Fetcher::new(&self.options.cache, &self.options.directory, environment, tools)
    }

    /// Puts the bytecode of the standard library and the wheels on top of the base; gives the compiler for
    /// the project's own code.
    fn push_python<'s>(
        &'s self,
        layers: &mut Layers<'_>,
        (base, build): (Digest, Option<&BuildBase<'s>>),
        environment: &'s Environment,
        lock: &Lock,
    ) -> Result<Compiler<'s>, Error> {
        let packages = lock.base.iter().flat_map(|base| &base.packages);
        let library: String = packages
            .filter(|package| package.name.contains("python"))
            .map(|package| package.sha256.hex())
            .collect();
        let compiler = Compiler {
            engine: self.engine,
            layers: vec![base],
            version: &environment.version,
            jobs: self.options.jobs,
            work: &self.options.cache,
        };
        let tools = self.tools(lock.base.as_ref().map_or(Suite::Bookworm, |base| base.suite));
        let fetcher = self.fetcher(environment, &tools);
        let mut installation = Installation { fetcher, compiler };
        installation.push_stdlib(layers, self.store, &base, &library)?;
        if let Some(python) = &lock.python {
            installation.push_wheels(layers, python)?;
            if let Some(build) = build {
                installation.push_sdists(layers, &python.sdists, build)?;
            }
        }
        Ok(installation.compiler)
    }

    /// Data is looked at by its entries only: an unchanged model is not read again.
    fn push_data(&self, layers: &mut Layers<'_>, selection: &Selection<'_>, time: u64) -> Result<(), Error> {
        for (top, entries) in &selection.data {
            let own = |entry: &Entry| entries.iter().any(|own| std::ptr::eq(*own, entry));
            let print = self.scan.fingerprint(own).to_string();
            let place = self.options.directory.join(top).to_string_lossy().into_owned();
            let name = format!("data {top}");
            let id = LayerId {
                kind: "pack-data",
                key: layers::key(&["data", &self.project.name, &place, &print]),
                name: &name,
                time,
            };
            layers.push(&id, || {
                let (mut tree, _) = code::tree(entries, &self.options.directory)?;
                let mut manifest = Manifest::new(&format!("data-{}", top.replace('/', "-")));
                manifest.add_project(&self.project.name, None, &tree);
                manifest.put(&mut tree);
                Ok(tree)
            })?;
        }
        Ok(())
    }

    fn push_code(
        &self,
        layers: &mut Layers<'_>,
        entries: &[&Entry],
        compiler: Option<Compiler<'_>>,
        time: u64,
    ) -> Result<(), Error> {
        let (mut tree, hash) = code::tree(entries, &self.options.directory)?;
        tree.insert(APP, Node::directory(0o755));
        let mut extra = String::new();
        if let (Some(compiler), Kind::Python(project)) = (&compiler, &self.project.kind) {
            let layout = Layout::new(compiler.version);
            for (path, mode, text) in entrypoint::installed_files(project, self.scan, &layout) {
                extra.push_str(&format!("{path}\0{mode}\0{text}\0"));
                tree.insert(path, Node::file(mode, text.into_bytes()));
            }
        }
        let version = format!("{CODE_VERSION} {}", compiler.as_ref().map_or("", |compiler| compiler.version));
        let own = self.project.version.as_deref().unwrap_or_default();
        let key = layers::key(&["code", &version, &self.project.name, own, &hash, &extra]);
        let id = LayerId { kind: "pack-code", key, name: "code", time };
        layers.push(&id, || self.finished_code(tree, compiler)).map(drop)
    }

    fn finished_code(&self, mut tree: Tree, compiler: Option<Compiler<'_>>) -> Result<Tree, Error> {
        let mut manifest = Manifest::new("code");
        manifest.add_project(&self.project.name, self.project.version.as_deref(), &tree);
        if let Some(compiler) = compiler {
            let kept = self.options.cache.join("bytecode");
            for (path, bytes) in compiler.compile_kept(&python::sources(&tree), &kept)? {
                tree.insert(path, Node::file(0o644, bytes));
            }
        }
        manifest.put(&mut tree);
        Ok(tree)
    }
}
