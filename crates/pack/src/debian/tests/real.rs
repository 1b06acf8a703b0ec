//! Debian itself, from the mirror that this machine is configured with. Needs root (chroot), the network
//! and Debian's keyring; what is missing is said.

use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use crate::debian::*;
use crate::tree::{Content, NodeKind};

fn write(tree: &Tree, root: &Path) {
    for (path, node) in tree.iter() {
        let at = root.join(path);
        match &node.kind {
            NodeKind::Directory => fs::create_dir(&at).expect("directory"),
            NodeKind::Symlink(target) => {
                symlink(target, &at).expect("link");
                continue;
            }
            NodeKind::Hardlink(target) => fs::hard_link(root.join(target), &at).expect("hard link"),
            NodeKind::File(Content::Bytes(bytes)) => fs::write(&at, bytes).expect("file"),
            NodeKind::File(Content::Host { path, offset, size }) => {
                let mut bytes = vec![0; usize::try_from(*size).expect("size")];
                fs::File::open(path)
                    .and_then(|file| file.read_exact_at(&mut bytes, *offset))
                    .expect("content");
                fs::write(&at, bytes).expect("file");
            }
        }
        fs::set_permissions(&at, fs::Permissions::from_mode(node.mode)).expect("mode");
    }
}

/// The keyring, unless this machine lacks what the test needs.
fn ready(test: &str) -> Option<Keyring> {
    let root = rustix::process::geteuid().is_root();
    let keyring =
        if root { Keyring::host().map_err(|error| error.to_string()) } else { Err("needs root".to_owned()) };
    let reachable = keyring.and_then(|keyring| match mirror().client().get::<Error>(&urls(), 1 << 20) {
        Err(error @ Error::Fetch { .. }) => Err(error.to_string()),
        _ => Ok(keyring),
    });
    reachable.map_err(|reason| println!("SKIP: debian::tests::real::{test}: {reason}")).ok()
}

fn mirror() -> Mirror {
    Mirror::configured(None, Suite::Bookworm).expect("mirror")
}

fn urls() -> Vec<String> {
    mirror().bases(suite::Archive::Main).iter().map(|base| base.join("dists/bookworm/InRelease")).collect()
}

/// Builds a base and runs a program in it; answers the base's size in bytes.
fn check(keyring: &Keyring, mut request: Request, program: &[&str], expect: &str) -> u64 {
    let name = format!("{} {:?}", request.suite, program[0]);
    let home = tempfile::tempdir().expect("temp dir");
    let cache = Cache::open(&home.path().join("cache")).expect("cache");
    let mirror = Mirror::configured(None, request.suite).expect("mirror");
    request.architecture = Architecture::host();
    let lock = resolve(&request, &mirror, keyring, &cache, &|_| ()).expect("resolve");
    let debs = fetch(&lock, &mirror, &cache, &|_| ()).expect("fetch");
    let base = assemble(&debs, &request, &cache).expect("assemble");
    let root = home.path().join("root");
    fs::create_dir(&root).expect("root");
    write(&base.tree, &root);
    let output =
        Command::new("/usr/sbin/chroot").arg(&root).args(program).env_clear().output().expect("chroot");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.trim_end().ends_with(expect), "{name}: {out}{err}");
    base.tree.file_bytes()
}

#[test]
fn python_starts() {
    let Some(keyring) = ready("python_starts") else { return };
    for suite in [Suite::Bookworm, Suite::Trixie] {
        let mut request = Request::new(suite);
        request.python = true;
        let code = "import ssl, sqlite3, ctypes, zoneinfo, queue, lzma, bz2, asyncio, uuid, locale; \
                    zoneinfo.ZoneInfo('Europe/Berlin'); locale.setlocale(locale.LC_ALL, 'C.UTF-8'); \
                    assert ssl.create_default_context().cert_store_stats()['x509_ca'] > 100; \
                    print(sqlite3.connect(':memory:').execute('select 6 * 7').fetchone()[0])";
        let bytes = check(&keyring, request, &["/usr/bin/python3", "-c", code], "42");
        assert!(bytes <= 45_000_000, "{suite}: {bytes} bytes");
    }
}

#[test]
fn servers_start() {
    let Some(keyring) = ready("servers_start") else { return };
    for (package, program, expect) in [
        ("nodejs", &["/usr/bin/node", "-p", "6 * 7"][..], "42"),
        ("redis-server", &["/usr/bin/redis-server", "--version"], ""),
    ] {
        let mut request = Request::new(Suite::Bookworm);
        request.packages = vec![package.to_owned()];
        check(&keyring, request, program, expect);
    }
}
