//! Whole projects through `pack`: real Debian packages, real wheels, a real store and real build steps.
//!
//! Its own harness, since build steps are started by a process with one thread. Without root or without a
//! package mirror the cases that need them are skipped, each with its reason, and counted.

mod npm;
mod sdist;
mod wheel;
mod world;

use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use world::World;

/// What a case may need of the machine.
#[derive(Clone, Copy, PartialEq)]
enum Needs {
    Nothing,
    Mirror,
}

type Case = (&'static str, Needs, fn(&World));

const CASES: [Case; 18] = [
    ("a plain directory", Needs::Nothing, plain_directory),
    ("a static program", Needs::Nothing, static_program),
    ("bad input", Needs::Nothing, bad_input),
    ("a python project", Needs::Mirror, python_project),
    ("only what changed is written", Needs::Mirror, only_what_changed),
    ("the same input gives the same image", Needs::Mirror, same_image),
    ("a wheel that is not the locked one", Needs::Mirror, wrong_wheel),
    ("wheels through the client", Needs::Mirror, through_the_client),
    ("a package built from source", Needs::Mirror, sdist::built),
    ("builds that lie", Needs::Mirror, sdist::hostile),
    ("a source distribution of an index", Needs::Mirror, without_wheel),
    ("dependencies without lock", Needs::Mirror, resolved),
    ("a dependency's build is not run", Needs::Mirror, unbuilt),
    ("Debian's own client", Needs::Mirror, confined_client),
    ("a node project", Needs::Mirror, node_project),
    ("install scripts", Needs::Mirror, npm::scripts),
    ("install scripts unnamed or failing", Needs::Mirror, npm::unnamed_or_failing),
    ("a node newer than the suite's", Needs::Mirror, newer_node),
];

fn main() {
    // The cache can be kept between runs, to spare the mirror.
    let own = tempfile::tempdir().expect("temporary directory");
    let cache = std::env::var_os("CORRAL_TEST_CACHE").map_or(own.path().join("cache"), PathBuf::from);
    let filter = std::env::args().nth(1).filter(|word| !word.starts_with('-')).unwrap_or_default();
    let root = rustix::process::geteuid().is_root();
    let cases: Vec<&Case> = CASES.iter().filter(|case| case.0.contains(&filter)).collect();
    let mirror = root && cases.iter().any(|case| case.1 == Needs::Mirror) && has_mirror(&cache);
    println!("\nrunning {} tests", cases.len());
    let (mut passed, mut failed) = (0, 0);
    for (name, needs, case) in cases {
        if !root || (*needs == Needs::Mirror && !mirror) {
            println!("SKIP: {name}: needs {}", if root { "a Debian mirror" } else { "root" });
            passed += 1;
            continue;
        }
        let ok = catch_unwind(AssertUnwindSafe(|| case(&World::new(&cache)))).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        if ok { passed += 1 } else { failed += 1 }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out\n"
    );
    std::process::exit(if failed == 0 { 0 } else { 101 });
}

fn has_mirror(cache: &Path) -> bool {
    let world = World::new(cache);
    let project = world.project("probe", &[("pyproject.toml", b"[tool.corral]\npackages = [\"tzdata\"]\n")]);
    match world.try_pack(&world.options(&project)) {
        Ok(_) => true,
        Err(error) => {
            println!("no mirror: {error}");
            false
        }
    }
}

fn plain_directory(world: &World) {
    let files: [(&str, &[u8]); 4] =
        [("a.txt", b"a"), (".env", b"KEY=1"), ("run*", b"x"), (".dockerignore", b"b*\n")];
    let project = world.project("Plain Files", &files);
    std::fs::write(project.join("b.txt"), "b").expect("written");
    let packed = world.pack(&project);
    assert_eq!(packed.reference.to_string(), "plain-files:latest");
    assert_eq!(packed.withheld, [".env"]);
    assert_eq!(world.file(&packed, "app/a.txt").as_deref(), Some(&b"a"[..]));
    assert_eq!(world.file(&packed, "app/b.txt"), None);
    assert_eq!(world.file(&packed, "app/.env"), None);
    assert!(!project.join("agent.lock").exists() && !packed.lock_written);
}

fn static_program(world: &World) {
    let own = std::fs::read("/proc/self/exe").expect("this program");
    let project = world.project("tool", &[("tool*", &own[..])]);
    let packed = world.pack(&project);
    let image = world.engine.store().resolve(&packed.image.to_string()).expect("the image");
    assert_eq!(image.config.config.entrypoint, ["/app/tool"]);
    assert_eq!(image.config.config.labels["dev.corral.profile"], "agent");
    assert_ne!(image.config.config.user.split(':').next(), Some("0"));
    // The program is this test: with a filter that nothing matches it says so.
    world.says(&packed, &["no such case"], "test result: ok. 0 passed; 0 failed");
}

fn bad_input(world: &World) {
    let check = |name: &str, files: &[(&str, &[u8])], expect: &str| {
        let project = world.project(name, files);
        world.fails(&world.options(&project), expect);
        let left = std::fs::read_dir(world.engine.layout().root().join("store/staging"));
        assert_eq!(left.map_or(0, Iterator::count), 0, "{name}: staging is not empty");
    };
    std::fs::create_dir(world.project("empty", &[("x", b"")]).join("nothing")).expect("made");
    world.fails(&world.options(&world.project("empty", &[]).join("nothing")), "is empty: expected");
    check("no-entry", &[("pyproject.toml", b"[project]\nname = \"x\"\n")], "has no entrypoint");
    check("typo", &[("pyproject.toml", b"[tool.corral]\nentrypont = []\n")], "did you mean entrypoint?");
    check("suite", &[("main.py", b""), ("pyproject.toml", b"[tool.corral]\nsuite = \"sid\"\n")], "sid");
    check("lock", &[("main.py", b""), ("agent.lock", b"version = 9\n")], "agent.lock: its version");
    check(
        "data",
        &[("x", b""), ("pyproject.toml", b"[tool.corral]\ndata = [\"m\"]\n")],
        "is declared as data",
    );
    let project = world.project("link", &[("x", b"")]);
    std::os::unix::fs::symlink("/etc/passwd", project.join("y")).expect("linked");
    world.fails(&world.options(&project), "symbolic link out of the project");
    let mut missing = world.options(&project);
    missing.directory = project.join("none");
    world.fails(&missing, "cannot read");
}

fn demo_wheel() -> (String, Vec<u8>) {
    let bytes = wheel::wheel(
        "demo",
        "1.0",
        &[
            ("demo/__init__.py", b"import sys\ndef main():\n    print('demo says', sys.argv[1:])\n"),
            ("demo/broken.py", b"def (:\n"),
            ("demo-1.0.dist-info/entry_points.txt", b"[console_scripts]\ndemo = demo:main\n"),
        ],
    );
    (wheel::sha256(&bytes), bytes)
}

/// A project with a hand-made wheel, which is put where downloads are kept: no client is asked.
fn demo_project(world: &World, name: &str) -> PathBuf {
    let (hash, bytes) = demo_wheel();
    let stored = world.options(Path::new(".")).cache.join("wheels").join(&hash);
    std::fs::create_dir_all(&stored).expect("made");
    std::fs::write(stored.join("demo-1.0-py3-none-any.whl"), bytes).expect("written");
    let requirements = format!("demo==1.0 --hash=sha256:{hash}\n");
    let wheels = format!(
        "lock-version = \"1.0\"\n[[packages]]\nname = \"demo\"\nversion = \"1.0\"\n[[packages.wheels]]\n\
         name = \"demo-1.0-py3-none-any.whl\"\nhashes = {{sha256 = \"{hash}\"}}\n"
    );
    world.project(name, &[
        ("pyproject.toml", b"[project]\nname = \"hello\"\nversion = \"2.0\"\ndependencies = [\"demo\"]\n[project.scripts]\nhello = \"hello.cli:main\"\n"),
        ("requirements.txt", requirements.as_bytes()),
        ("pylock.toml", wheels.as_bytes()),
        ("src/hello/__init__.py", b""),
        ("src/hello/cli.py", b"import demo, importlib.metadata, os, sys\ndef main():\n    demo.main()\n    print(importlib.metadata.version('hello'), importlib.metadata.version('demo'), demo.__cached__, __file__, os.getuid())\n"),
        ("models/m.bin", &[7; 100_000]),
        ("notes.txt*", b"n"),
    ])
}

fn python_project(world: &World) {
    let project = demo_project(world, "hello");
    let packed = world.pack(&project);
    assert!(packed.lock_written && !packed.skipped_scripts.is_empty());
    let names: Vec<&str> = packed.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["base", "bytecode of the standard library", "1 small wheels", "code"]);
    world.says(&packed, &["x", "y"], "demo says ['x', 'y']");
    world.says(&packed, &[], "2.0 1.0 /usr/local/lib/python3.11/dist-packages/demo/__pycache__/__init__.cpython-311.pyc /app/src/hello/cli.py");
    assert_eq!(world.file(&packed, "usr/bin/sh"), None);
    assert_eq!(world.file(&packed, "usr/bin/apt"), None);
    assert_eq!(world.file(&packed, "usr/bin/dpkg"), None);
    let list = world.file(&packed, "usr/share/corral/files/wheels.json").expect("the list of files");
    assert!(String::from_utf8_lossy(&list).contains(&demo_wheel().0));
    let base = world.file(&packed, "usr/share/corral/files/base.json").expect("the list of files");
    assert!(String::from_utf8_lossy(&base).contains("\"name\":\"libc6\""));
    let record = world.file(&packed, "usr/local/lib/python3.11/dist-packages/demo-1.0.dist-info/RECORD");
    let record = String::from_utf8(record.expect("RECORD")).expect("text");
    assert!(record.contains("demo/__pycache__/__init__.cpython-311.pyc,,\n"), "{record}");
    let lock = std::fs::read_to_string(project.join("agent.lock")).expect("agent.lock");
    assert!(lock.contains("[[python.wheels]]") && lock.contains("suite = \"bookworm\""), "{lock}");
}

fn only_what_changed(world: &World) {
    let project = demo_project(world, "changing");
    world.pack(&project);
    sleep(Duration::from_millis(60));
    let again = world.pack(&project);
    assert_eq!(world.written(&again), Vec::<String>::new());
    let begin = Instant::now();
    assert!(world.pack(&project).unchanged);
    println!("  unchanged: {:?}", begin.elapsed());
    let text = format!("x = {:?}\n", std::time::SystemTime::now());
    std::fs::write(project.join("src/hello/new.py"), format!("# {text}")).expect("written");
    let begin = Instant::now();
    let changed = world.pack(&project);
    println!("  after a change of code: {:?}", begin.elapsed());
    assert_eq!(world.written(&changed), ["code"]);
    assert_ne!(changed.image, again.image);
    std::fs::remove_file(project.join("src/hello/new.py")).expect("removed");
    sleep(Duration::from_millis(60));
    assert_eq!(world.pack(&project).image, again.image);
    // A name is given even if nothing else is to be done.
    let mut named = world.options(&project);
    named.tag = Some("other:1".parse().expect("a name"));
    let other = world.try_pack(&named).expect("packs");
    assert_eq!(world.engine.store().resolve("other:1").expect("named").id, other.image);
    // A lock without section is filled again; one that was changed by hand is noticed.
    let lock = std::fs::read_to_string(project.join("agent.lock")).expect("agent.lock");
    std::fs::write(project.join("agent.lock"), lock.replace("requested = [", "requested = [\"bash\", "))
        .expect("written");
    world.fails(&world.options(&project), "--upgrade");
}

/// Other store, path, umask, time zone, language, working directory, owner, modes and number of jobs.
fn same_image(world: &World) {
    let first = world.pack(&demo_project(world, "first"));
    let other = World::new(&world.options(Path::new(".")).cache);
    let project = demo_project(&other, "second/deeper");
    for (path, mode) in
        [("src/hello/cli.py", 0o600), ("notes.txt", 0o700), ("models/m.bin", 0o666), ("src", 0o711)]
    {
        std::fs::set_permissions(project.join(path), PermissionsExt::from_mode(mode)).expect("mode set");
        std::os::unix::fs::chown(project.join(path), Some(1234), Some(5678)).expect("owned");
    }
    let cwd = std::env::current_dir().expect("working directory");
    let mask = rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    std::env::set_current_dir("/").expect("changed");
    let mut options = other.options(&project);
    options.jobs = 5;
    let second = other.try_pack(&options);
    rustix::process::umask(mask);
    std::env::set_current_dir(cwd).expect("changed back");
    let second = second.expect("packs");
    let layers =
        |packed: &corral_pack::Packed| packed.layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>();
    assert_eq!(layers(&first), layers(&second));
    assert_eq!(first.image, second.image);
    options.epoch = Some(1_000_000_000);
    let dated = other.try_pack(&options).expect("packs");
    assert_ne!(dated.image, first.image);
    let config = other.engine.store().resolve(&dated.image.to_string()).expect("the image").config;
    assert_eq!(config.created.as_deref(), Some("2001-09-09T01:46:40Z"));
}

fn wrong_wheel(world: &World) {
    let project = demo_project(world, "wrong");
    let stored = world.options(&project).cache.join("wheels").join(demo_wheel().0);
    std::fs::write(stored.join("demo-1.0-py3-none-any.whl"), b"evil").expect("written");
    world.fails(&world.options(&project), "demo-1.0-py3-none-any.whl: sha256 is");
    std::fs::write(stored.join("demo-1.0-py3-none-any.whl"), demo_wheel().1).expect("written");
    world.pack(&project);
}

fn through_the_client(world: &World) {
    let project = world.project("client", &[
        ("main.py", b"import idna\nprint(idna.encode('b\xc3\xbccher.example'))\n"),
        ("requirements.txt", b"--index-url https://127.0.0.1:1/\nidna==3.10 \\\n  --hash=sha256:12f65c9b470abda6dc35cf8e63cc574b1c52b11df2c86030af0ac09b01b13ea9 \\\n  --hash=sha256:946d195a0d259cbba61165e88e65941f16e9b36ea6ddb97f00452bae8b1287d3\n"),
    ]);
    let packed = world.pack(&project);
    world.says(&packed, &[], "b'xn--bcher-kva.example'");
    let lock = std::fs::read_to_string(project.join("agent.lock")).expect("agent.lock");
    assert!(lock.contains("idna-3.10-py3-none-any.whl"), "{lock}");
    let wrong = world.project(
        "client-wrong",
        &[
            ("main.py", b""),
            ("requirements.txt", format!("idna==3.10 --hash=sha256:{}\n", "0".repeat(64)).as_bytes()),
        ],
    );
    world.fails(&world.options(&wrong), "pip");
}

/// Pinned by hash, without file names: pip finds no wheel, so that the user's own index is asked.
fn without_wheel(world: &World) {
    let project = world.project("without-wheel", &[
        ("main.py", b"import docopt\nprint('docopt', docopt.__version__, docopt.__cached__)\n"),
        ("requirements.txt", b"docopt==0.6.2 --hash=sha256:49b3a825280bd66b3aa83585ef59c4a8c82f2c8a522dbe754a8bc8d08c85c491\n"),
    ]);
    let packed = world.pack(&project);
    world.says(&packed, &[], "docopt 0.6.2 /usr/local/lib/python3.11/dist-packages/__pycache__/docopt");
    let lock = std::fs::read_to_string(project.join("agent.lock")).expect("agent.lock");
    assert!(lock.contains("[[python.sdists.requires]]") && lock.contains("\"setuptools\""), "{lock}");
}

fn resolved(world: &World) {
    let project = world.project(
        "resolved",
        &[
            ("app.py", b"import idna\nprint('idna', idna.__version__)\n"),
            (
                "pyproject.toml",
                b"[project]\nname = \"r\"\ndependencies = [\"idna<3.8\", \"nope ; os_name == 'nt'\"]\n",
            ),
        ],
    );
    let packed = world.pack(&project);
    world.says(&packed, &[], "idna 3.7");
    let text = std::fs::read_to_string(project.join("pyproject.toml")).expect("read");
    std::fs::write(project.join("pyproject.toml"), text.replace("3.8", "3.7")).expect("written");
    world.fails(&world.options(&project), "does not cover");
    let mut upgrade = world.options(&project);
    upgrade.upgrade = true;
    let packed = world.try_pack(&upgrade).expect("packs");
    world.says(&packed, &[], "idna 3.6");
}

/// A wheel may depend on an address, and pip would run what is there to learn of its dependencies.
fn unbuilt(world: &World) {
    let Some(links) = std::env::var_os("CORRAL_TEST_LINKS").map(PathBuf::from) else {
        let links = world.project("links", &[("x", b"")]);
        let evil = links.join("evil-1.tar.gz");
        let setup = format!("open({:?}, 'w').close()\n", links.join("ran"));
        std::fs::write(&evil, sdist::archive(&[("evil-1/setup.py", setup.as_bytes())])).expect("written");
        let needs = format!("Requires-Dist: evil @ file://{}\n", evil.display());
        let checkout = format!("Requires-Dist: evil @ git+file://localhost{}\n", links.display());
        for (name, needs) in [("front", needs), ("checkout", checkout)] {
            let wheel = wheel::wheel_that(&needs, name, "1", &[]);
            std::fs::write(links.join(format!("{name}-1-py3-none-any.whl")), wheel).expect("written");
        }
        let output = std::process::Command::new("/proc/self/exe")
            .arg("a dependency's build is not run")
            .env("CORRAL_TEST_LINKS", &links)
            .env("PIP_FIND_LINKS", &links)
            .env("CORRAL_TEST_CACHE", world.options(Path::new(".")).cache)
            .output()
            .expect("this program");
        let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && text.contains("1 passed; 0 failed"), "{text}{said}");
        return;
    };
    let way_out = "a dependency is given by address and is no wheel";
    // pip must not have the last word, which would be to install git.
    let of_git = format!("(subprocess.Popen of git): {way_out}");
    for (name, expect) in [("front", way_out), ("checkout", &of_git)] {
        let manifest = format!("[project]\nname = \"u\"\ndependencies = [\"{name}\"]\n");
        let project = world.project(name, &[("main.py", b""), ("pyproject.toml", manifest.as_bytes())]);
        world.fails(&world.options(&project), expect);
    }
    assert!(!links.join("ran").exists());
}

/// On a host without any client, pip comes from Debian and runs in a container.
fn confined_client(world: &World) {
    let nothing = world.project("nothing", &[("x", b"")]);
    let output = std::process::Command::new("/proc/self/exe")
        .arg("wheels through the client")
        .env("PATH", nothing)
        .env("CORRAL_TEST_CACHE", world.options(Path::new(".")).cache)
        .output()
        .expect("this program");
    let (text, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed; 0 failed"), "{text}{said}");
    assert!(!text.contains("SKIP"), "{text}");
}

const NODE_LOCK: &str = r#"{"lockfileVersion": 3, "packages": {"": {"dependencies": {"ms": "2.1.3"}},
 "node_modules/ms": {"version": "2.1.3", "resolved": "https://registry.example/ms/-/ms-2.1.3.tgz",
 "integrity": "sha512-6FlzubTLZG3J2a/NVCAleEhjzq5oxgHyaCU9yYXvcLsvoVaHJq/s5xXI6/XXP6tz7R9xAOtHnSO/tXtF3WRTlA=="}}}"#;

fn node_project(world: &World) {
    let project = world.project("node", &[
        ("package.json", br#"{"name": "@me/clock", "version": "1.2.3", "main": "clock.js", "dependencies": {"ms": "2.1.3"}}"#),
        ("package-lock.json", NODE_LOCK.as_bytes()),
        ("clock.js", b"console.log('ms', require('ms')('2 days'), process.version)\n"),
    ]);
    let packed = world.pack(&project);
    assert_eq!(packed.reference.to_string(), "clock:latest");
    world.says(&packed, &[], "ms 172800000 v18.");
    let tampered = NODE_LOCK.replace("sha512-6Fl", "sha512-7Fl");
    std::fs::write(project.join("package-lock.json"), tampered).expect("written");
    world.fails(&world.options(&project), "ms@2.1.3");
    std::fs::write(
        project.join("package-lock.json"),
        NODE_LOCK.replace("\"ms\": \"2.1.3\"", "\"ms\": \"1\""),
    )
    .expect("written");
    world.fails(&world.options(&project), "does not cover ms 2.1.3");
}

fn newer_node(world: &World) {
    let project = world.project("newer", &[
        ("package.json", br#"{"name": "newer", "engines": {"node": ">=22 <23"}, "scripts": {"start": "node index.js"}}"#),
        ("index.js", b"console.log('node', process.version)\n"),
    ]);
    let packed = world.pack(&project);
    world.says(&packed, &[], "node v22.");
    let lock = std::fs::read_to_string(project.join("agent.lock")).expect("agent.lock");
    assert!(lock.contains("[node]\n"), "{lock}");
}
