//! What the machine boots from: a memory disk that finds the real one, and the real one with the tests.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::kernel::{Kernel, remove};
use crate::cargo;

/// Not on the path of a user without privilege, who may use it all the same.
pub const MKE2FS: &str = "/sbin/mke2fs";

/// Room for the stores and containers of every test. The file is sparse.
const SIZE: &str = "2G";

const BUSYBOX: &str = "/bin/busybox";

/// What tests start and busybox lacks.
const UTIL_LINUX: [&str; 2] = ["/usr/bin/script", "/usr/bin/flock"];

/// The packages whose tests run on the machine: those that make containers.
const TESTED: [&str; 4] = ["--package", "corral-runtime", "--package", "corral-tests"];

/// Thousands of commands each: minutes here, and an hour on an emulated processor.
const TOO_LONG: [&str; 2] = ["fault", "crowd"];

/// The two files.
pub struct Media {
    /// The memory disk.
    pub first: PathBuf,
    /// The root file system, which no machine writes to.
    pub disk: PathBuf,
}

/// Builds what is tested, and both files below `dir`.
pub fn make(dir: &Path, kernel: &Kernel) -> Result<Media> {
    let corral = cargo::build_corral(false)?;
    let programs = test_programs()?;
    let media = Media { first: dir.join("first.cpio"), disk: dir.join("disk.img") };
    first(&dir.join("first"), kernel, &media.first)?;

    let root = dir.join("root");
    remove(&root)?;
    for empty in ["proc", "sys", "dev", "run", "root", "tmp", "var/tmp", "usr/bin"] {
        create_dir(&root.join(empty))?;
    }
    write_script(&root.join("init"), include_str!("init.sh"))?;
    // Tests take it for a file that every host has.
    write(&root.join("etc/passwd"), b"root:x:0:0:root:/root:/bin/sh\n")?;
    copy(Path::new(BUSYBOX), &root.join("bin/busybox"))?;
    symlink("busybox", &root.join("bin/sh"))?;
    strip(&corral, &root.join("usr/bin/corral"))?;
    for program in programs {
        strip(&program.built, &root.join("tests").join(&program.place))?;
    }
    for program in UTIL_LINUX {
        with_libraries(Path::new(program), &root)?;
    }
    let mut make = Command::new(MKE2FS);
    // With quotas of projects, which first.sh has enforced: bounds on disk are the file system's there.
    make.args(["-q", "-F", "-t", "ext4", "-O", "quota,project", "-E", "root_owner=0:0,quotatype=prjquota"]);
    make.arg("-d").arg(&root);
    cargo::run(make.arg(&media.disk).arg(SIZE))?;
    Ok(media)
}

/// The memory disk: busybox, the modules by number, and first.sh.
fn first(tree: &Path, kernel: &Kernel, archive: &Path) -> Result<()> {
    remove(tree)?;
    let mut names: Vec<String> =
        ["bin", "dev", "modules", "root", "init", "bin/busybox", "bin/sh"].map(str::to_owned).into();
    for empty in ["bin", "dev", "modules", "root"] {
        create_dir(&tree.join(empty))?;
    }
    write_script(&tree.join("init"), include_str!("first.sh"))?;
    copy(Path::new(BUSYBOX), &tree.join("bin/busybox"))?;
    symlink("busybox", &tree.join("bin/sh"))?;
    for (number, module) in kernel.modules.iter().enumerate() {
        let name = format!("modules/{number:02}.ko");
        copy(module, &tree.join(&name))?;
        names.push(name);
    }
    let list = tree.with_extension("list");
    write(&list, (names.join("\n") + "\n").as_bytes())?;
    let opened = |file: std::io::Result<File>, path: &Path| {
        file.with_context(|| format!("cannot open {}", path.display()))
    };
    let mut pack = Command::new(BUSYBOX);
    pack.args(["cpio", "-o", "-H", "newc"]).current_dir(tree);
    pack.stdin(opened(File::open(&list), &list)?).stdout(opened(File::create(archive), archive)?);
    cargo::run(&mut pack)
}

/// A program of the tests.
struct Program {
    built: PathBuf,
    /// Beside the others as cargo puts them, without the hash: tests look for examples there.
    place: String,
}

/// Builds the tests of [`TESTED`] and the examples that they start.
fn test_programs() -> Result<Vec<Program>> {
    let target = cargo::target();
    let mut build = cargo::cargo(&["test", "--no-run", "--message-format", "json-render-diagnostics"]);
    build.args(TESTED).args(["--target", &target]);
    let typed = cargo::typed(&build);
    eprintln!("xtask: {typed}");
    let built = build.stderr(std::process::Stdio::inherit()).output()?;
    if !built.status.success() {
        bail!("{}: {typed}", built.status);
    }
    let programs: Vec<Program> = String::from_utf8_lossy(&built.stdout).lines().filter_map(program).collect();
    if programs.is_empty() {
        bail!("no test program was built by: {typed}");
    }
    Ok(programs)
}

/// The program that one of cargo's messages tells of.
fn program(message: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    let built = PathBuf::from(message["executable"].as_str()?);
    let target = &message["target"];
    let (kind, name) = (target["kind"][0].as_str()?, target["name"].as_str()?);
    let package = message["package_id"].as_str()?.rsplit(['/', '#']).find(|part| !part.contains('@'))?;
    let place = match kind {
        "example" => format!("examples/{name}"),
        _ if message["profile"]["test"] == true && !TOO_LONG.contains(&name) => {
            format!("deps/{package}-{name}")
        }
        _ => return None,
    };
    Some(Program { built, place })
}

/// A dynamic program of the host and what its loader asks for, at the same paths.
fn with_libraries(program: &Path, root: &Path) -> Result<()> {
    let said = Command::new("ldd").arg(program).output().context("cannot start ldd")?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let libraries = said.split_whitespace().filter(|word| word.starts_with('/')).map(Path::new);
    for file in libraries.chain([program]) {
        copy(file, &root.join(file.strip_prefix("/").unwrap_or(file)))?;
    }
    Ok(())
}

/// Copies without what only a debugger reads, which is most of a test program.
fn strip(from: &Path, to: &Path) -> Result<()> {
    to.parent().map_or(Ok(()), create_dir)?;
    let mut command = Command::new("strip");
    let status = command.arg("-o").arg(to).arg(from).status().context("cannot start strip (binutils)")?;
    if !status.success() {
        bail!("{status}: {}", cargo::typed(&command));
    }
    Ok(())
}

fn create_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    to.parent().map_or(Ok(()), create_dir)?;
    fs::copy(from, to).map(drop).with_context(|| format!("cannot copy {}", from.display()))
}

fn symlink(target: &str, path: &Path) -> Result<()> {
    std::os::unix::fs::symlink(target, path).with_context(|| format!("cannot link {}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    path.parent().map_or(Ok(()), create_dir)?;
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

fn write_script(path: &Path, text: &str) -> Result<()> {
    write(path, text.as_bytes())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot change {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_where_they_go() {
        let check = |message: &str, expect: Option<&str>| {
            assert_eq!(program(message).map(|program| program.place).as_deref(), expect, "{message}");
        };
        let message = |kind: &str, name: &str, test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///x/tests#corral-tests@0.1.0",
                "target":{{"kind":["{kind}"],"name":"{name}"}},"profile":{{"test":{test}}},"executable":"/t/a"}}"#
            )
        };
        check(&message("test", "crash", true), Some("deps/tests-crash"));
        check(&message("test", "crowd", true), None);
        check(&message("example", "probe", false), Some("examples/probe"));
        check(&message("bin", "corral", false), None);
        check(r#"{"reason":"build-finished","success":true}"#, None);
        check("no JSON", None);
    }
}
