//! What the benchmarks run on: compiled programs, a root file system, an image of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The image's name.
pub const IMAGE: &str = "corral-bench";

/// Paths of everything that was prepared.
pub struct Fixture {
    /// The binary under test.
    pub corral: PathBuf,
    /// target/bench.
    pub scratch: PathBuf,
    /// A root file system with /true, /pause, /lines and the directories to mount on.
    pub root: PathBuf,
    /// The cgroup2 directory of this process: where the floor may make a child.
    pub cgroup: PathBuf,
}

impl Fixture {
    /// Compiles the programs and makes the root and the image.
    pub fn prepare() -> Result<Fixture> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let repository = here.parent().context("bench/ stands in the repository")?;
        let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        let built = repository.join("target").join(target).join("release/corral");
        let corral = std::env::var_os("CORRAL_BIN").map_or(built, PathBuf::from);
        if !corral.exists() {
            bail!("{} is not there: `cargo xtask bench` builds it", corral.display());
        }
        let scratch = repository.join("target/bench");
        fs::create_dir_all(scratch.join("scratch"))?;
        let root = scratch.join("fixture");
        compile(&here.join("programs"), &scratch)?;
        make_root(&scratch, &root)?;
        let fixture = Fixture { corral, scratch, root, cgroup: cgroup2()? };
        if let Err(error) = fixture.import() {
            // The floor and the peers can still be measured.
            eprintln!("bench: no image: {error:#}");
        }
        Ok(fixture)
    }

    /// Points a command at the benchmarks' own store and run directory.
    pub fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("CORRAL_ROOT", self.scratch.join("corral")).env("CORRAL_RUN", "/run/corral-bench")
    }

    /// The words of a corral command line.
    pub fn words(&self, words: &[&str]) -> Vec<String> {
        let program = self.corral.display().to_string();
        std::iter::once(program).chain(words.iter().map(|word| (*word).to_owned())).collect()
    }

    /// Runs corral and returns what it wrote, or an error with what it said.
    pub fn corral(&self, words: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.corral);
        let output = self.environment(command.args(words)).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            bail!("corral {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// The process id of the first process of a running container.
    pub fn pid(&self, container: &str) -> Result<u32> {
        let all: serde_json::Value = serde_json::from_str(&self.corral(&["inspect", container])?)?;
        let pid = all[0]["State"]["Pid"].as_u64().filter(|&pid| pid > 0);
        pid.and_then(|pid| u32::try_from(pid).ok())
            .context("inspect names no process: the container does not run")
    }

    fn import(&self) -> Result<()> {
        let archive = self.scratch.join("fixture.tar");
        run(Command::new("tar").arg("-C").arg(&self.root).arg("-cf").arg(&archive).arg("."))?;
        let archive = archive.display().to_string();
        self.corral(&["import", &archive, IMAGE]).map(drop)
    }
}

/// Compiles programs/: `true` without a C library, the others static.
fn compile(programs: &Path, to: &Path) -> Result<()> {
    let bare = [
        "-Os",
        "-static",
        "-nostdlib",
        "-ffreestanding",
        "-fno-stack-protector",
        "-fno-pie",
        "-no-pie",
        "-s",
    ];
    run(Command::new("cc").args(bare).arg("-o").arg(to.join("true")).arg(programs.join("true.c")))?;
    for name in ["floor", "confined", "measure", "lines"] {
        let source = programs.join(name).with_extension("c");
        run(Command::new("musl-gcc").args(["-O2", "-static", "-s", "-o"]).arg(to.join(name)).arg(source))?;
    }
    Ok(())
}

fn make_root(scratch: &Path, root: &Path) -> Result<()> {
    for directory in ["proc", "sys", "dev", "etc", "tmp"] {
        fs::create_dir_all(root.join(directory))?;
    }
    // Images have these; without them each container would make mount points for its own.
    for file in ["hostname", "hosts", "resolv.conf"] {
        fs::write(root.join("etc").join(file), "")?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    for name in ["true", "pause"] {
        fs::copy(scratch.join("true"), root.join(name))?;
    }
    fs::copy(scratch.join("lines"), root.join("lines"))?;
    Ok(())
}

/// Where this process stands in the cgroup2 hierarchy.
fn cgroup2() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mount =
        mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(|line| line.split(' ').nth(4));
    let own = fs::read_to_string("/proc/self/cgroup")?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"));
    match (mount, path) {
        (Some(mount), Some(path)) => Ok(Path::new(mount).join(path)),
        _ => bail!("the floor needs a cgroup2 mount, and this machine has none"),
    }
}

/// Runs a command quietly; an error has what it said.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!("{:?}: {}", command.get_program(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
