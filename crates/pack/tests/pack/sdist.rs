//! Source distributions made by hand, whose build back end lies in them: no client is asked.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::wheel::sha256;
use crate::world::World;

const PYPROJECT: &[u8] =
    b"[build-system]\nrequires = []\nbuild-backend = \"own.backend\"\nbackend-path = [\"tools\"]\n";

/// What a well-behaved back end does: it writes down what it sees around it.
const BACKEND: &str = r#"
import base64, hashlib, os, socket, zipfile

def seen():
    try:
        socket.create_connection(("192.0.2.1", 80), 5)
        return "a network"
    except OSError as error:
        wall = error.strerror
    return [wall, os.environ["SOURCE_DATE_EPOCH"], os.environ["PYTHONHASHSEED"], os.path.exists("VERSION")]

def build_wheel(out, config_settings=None, metadata_directory=None, version="1.0"):
    info = f"lone-{version}.dist-info"
    files = {
        "lone.py": f"SEEN = {seen()!r}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: lone\nVersion: {version}\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text)}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    name = f"lone-{version}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(out, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(zipfile.ZipInfo(path), text)
    return name
"#;

pub fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, *bytes).expect("appended");
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar.into_inner().expect("tar")).expect("compressed");
    gzip.finish().expect("compressed")
}

/// A project that needs it; the file lies where downloads are kept.
fn project(world: &World, name: &str, backend: &str) -> PathBuf {
    let bytes = archive(&[
        ("lone-1.0/pyproject.toml", PYPROJECT),
        ("lone-1.0/VERSION", b"1.0\n"),
        ("lone-1.0/tools/own/__init__.py", b""),
        ("lone-1.0/tools/own/backend.py", backend.as_bytes()),
    ]);
    let hash = sha256(&bytes);
    let stored = world.options(Path::new(".")).cache.join("sdists").join(&hash);
    std::fs::create_dir_all(&stored).expect("made");
    std::fs::write(stored.join("lone-1.0.tar.gz"), bytes).expect("written");
    let lock = format!(
        "lock-version = \"1.0\"\n[[packages]]\nname = \"lone\"\nversion = \"1.0\"\n[packages.sdist]\n\
         name = \"lone-1.0.tar.gz\"\nhashes = {{sha256 = \"{hash}\"}}\n"
    );
    world.project(name, &[("main.py", b"import lone\nprint(lone.SEEN)\n"), ("pylock.toml", lock.as_bytes())])
}

pub fn built(world: &World) {
    let first = project(world, "built", BACKEND);
    let packed = world.pack(&first);
    world.says(&packed, &[], "['Network is unreachable', '315532800', '0', True]");
    let name = "wheel lone 1.0, built from source";
    assert!(world.written(&packed).iter().any(|layer| layer == name), "{:?}", world.written(&packed));
    let list = world.file(&packed, "usr/share/corral/files/wheel-lone.json").expect("the list of files");
    assert!(String::from_utf8_lossy(&list).contains("lone-1.0.tar.gz"));
    let lock = std::fs::read_to_string(first.join("agent.lock")).expect("agent.lock");
    assert!(lock.contains("[[python.sdists]]") && !lock.contains("[build]"), "{lock}");
    // Another store takes the kept wheel; without it, the build gives the same again.
    let cache = world.options(&first).cache;
    let builds = |world: &World| world.events.borrow().iter().any(|event| event.contains("building lone"));
    let (second, third) = (World::new(&cache), World::new(&cache));
    let again = second.pack(&project(&second, "kept", BACKEND));
    assert!(!builds(&second) && again.layers.iter().any(|layer| layer.name == name && !layer.cached));
    std::fs::remove_dir_all(cache.join("built")).expect("removed");
    let anew = third.pack(&project(&third, "anew", BACKEND));
    assert!(builds(&third));
    let digest = |packed: &corral_pack::Packed| {
        packed.layers.iter().find(|layer| layer.name == name).map(|layer| layer.diff_id)
    };
    assert_eq!((digest(&packed), digest(&packed)), (digest(&again), digest(&anew)));
    assert!(digest(&packed).is_some());
}

pub fn hostile(world: &World) {
    let check = |name: &str, code: &str, expect: &str| {
        let project = project(world, name, &format!("{BACKEND}\n{code}\n"));
        world.fails(&world.options(&project), expect);
        assert!(!project.join("agent.lock").exists(), "{name}");
    };
    check("raises", "build_wheel = lambda *a: 1 / 0", "lone 1.0: building its wheel from source failed: ");
    check(
        "lies",
        "honest = build_wheel\nbuild_wheel = lambda out, s: honest(out, version='2.0')",
        "the lock says lone 1.0",
    );
    check("nothing", "build_wheel = lambda *a: 'lone-1.0-py3-none-any.whl'", "gave no wheel");
    check(
        "link",
        "build_wheel = lambda out, s: os.symlink('/etc/passwd', out + '/lone-1.0-py3-none-any.whl')",
        "cannot read",
    );
    check(
        "foreign",
        "build_wheel = lambda out, s: open(out + '/other-1.0-py3-none-any.whl', 'w').close()",
        "is not a wheel of it",
    );
    check(
        "asks",
        "get_requires_for_build_wheel = lambda s: ['evil @ https://192.0.2.1/evil-1-py3-none-any.whl']",
        "which is not of an index",
    );
    check(
        "options",
        "get_requires_for_build_wheel = lambda s: ['--index-url=https://192.0.2.1/']",
        "its build requires",
    );
    let project = project(
        world,
        "flood",
        &format!("{BACKEND}\nget_requires_for_build_wheel = lambda s: ['x' * 2_000_000]\n"),
    );
    world.fails(&world.options(&project), "bounded size");
}
