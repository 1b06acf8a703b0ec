//! npm packages made by hand, with install scripts: no client is asked.

use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha512};

use crate::wheel::{base64, sha256};
use crate::world::World;

/// What a well-behaved script does, and what it tries beside that.
const INSTALL: &str = r#"
const fs = require('fs');
const socket = require('net').connect(80, '192.0.2.1');
socket.on('error', (error) => {
  const early = fs.readFileSync('early.txt', 'utf8');
  const seen = [process.env.npm_lifecycle_event, process.env.npm_package_version, error.code, early];
  fs.writeFileSync('made.json', JSON.stringify(seen));
  fs.writeFileSync('../other/index.js', 'module.exports = "changed";');
  fs.unlinkSync('gone.txt');
  fs.symlinkSync('/etc/passwd', 'away');
});
"#;

/// Puts a package where downloads are kept, and gives its entry of the lock.
fn entry(world: &World, name: &str, files: &[(&str, &str)]) -> String {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, format!("package/{path}"), text.as_bytes()).expect("appended");
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar.into_inner().expect("tar")).expect("compressed");
    let bytes = gzip.finish().expect("compressed");
    let hash = base64(&Sha512::digest(&bytes)).replace('-', "+").replace('_', "/");
    let integrity = format!("sha512-{hash}==");
    let kept = world.options(Path::new(".")).cache.join("npm");
    std::fs::create_dir_all(&kept).expect("made");
    std::fs::write(kept.join(format!("{}.tgz", sha256(integrity.as_bytes()))), bytes).expect("written");
    format!(
        "\"node_modules/{name}\": {{\"version\": \"1.0.0\", \"integrity\": \"{integrity}\", \"hasInstallScript\": {}}}",
        files.iter().any(|(path, _)| *path == "install.js")
    )
}

fn project(world: &World, name: &str, settings: &str, install: &str) -> PathBuf {
    let scripts = r#"{"name": "lone", "version": "1.0.0", "scripts":
        {"preinstall": "echo -n $npm_lifecycle_event > early.txt && test -x /usr/bin/env", "install": "node install.js"}}"#;
    let lone = [("package.json", scripts), ("install.js", install), ("gone.txt", "")];
    let other = [("package.json", "{}"), ("index.js", "module.exports = 'untouched';")];
    let lock = format!(
        "{{\"lockfileVersion\": 3, \"packages\": {{\"\": {{\"dependencies\": {{\"lone\": \"1\"}}}}, {}, {}}}}}",
        entry(world, "lone", &lone),
        entry(world, "other", &other)
    );
    let manifest =
        format!("{{\"name\": \"x\", \"dependencies\": {{\"lone\": \"1\"}}, \"corral\": {settings}}}");
    let code = b"const fs = require('fs'); const lone = '/app/node_modules/lone';\n\
        console.log(fs.readdirSync(lone).sort().join(), fs.readFileSync(lone + '/made.json', 'utf8'), require('other'));\n";
    world.project(
        name,
        &[("package.json", manifest.as_bytes()), ("package-lock.json", lock.as_bytes()), ("index.js", code)],
    )
}

pub fn scripts(world: &World) {
    let first = project(world, "scripts", "{\"run-scripts\": [\"lone\"]}", INSTALL);
    let packed = world.pack(&first);
    world.says(
        &packed,
        &[],
        "early.txt,install.js,made.json,package.json [\"install\",\"1.0.0\",\"ENETUNREACH\",\"preinstall\"] untouched",
    );
    assert!(
        world.events.borrow().iter().any(|event| event.contains("left \\\"away\\\"")),
        "{:?}",
        world.events
    );
    assert_eq!(world.file(&packed, "usr/bin/sh"), None, "the shell stays in the build base");
    let lock = std::fs::read_to_string(first.join("agent.lock")).expect("agent.lock");
    assert!(lock.contains("[build]"), "{lock}");
    let second = World::new(&world.options(&first).cache);
    let again = second.pack(&project(&second, "scripts", "{\"run-scripts\": [\"lone\"]}", INSTALL));
    assert_eq!(packed.image, again.image);
}

pub fn unnamed_or_failing(world: &World) {
    let check = |name: &str, settings: &str, install: &str, expect: &str| {
        let project = project(world, name, settings, install);
        world.fails(&world.options(&project), expect);
    };
    let named = "{\"run-scripts\": [\"lone\"]}";
    check(
        "unnamed",
        "{}",
        INSTALL,
        "node_modules/lone: has an install script: add \"run-scripts\": [\"lone\"]",
    );
    check(
        "both",
        "{\"run-scripts\": [\"lone\"], \"skip-scripts\": [\"lone\"]}",
        INSTALL,
        "take it out of one",
    );
    check(
        "fails",
        named,
        "console.error('no such thing'); process.exit(3)",
        "lone 1.0.0: its install script failed: no such thing; install: exit code 3; it has no network",
    );
    let skipped = project(world, "skipped", "{\"skip-scripts\": [\"lone\"]}", "process.exit(3)");
    let packed = world.pack(&skipped);
    assert_eq!(world.file(&packed, "app/node_modules/lone/early.txt"), None);
    assert!(world.file(&packed, "app/node_modules/lone/gone.txt").is_some());
}
