use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use corral_image::{Image, ImageConfig};
use corral_journal::{Action, Event};
use corral_runtime::Io;
use corral_spec::record::{BindIds, GENERATION, Launch, Mount, MountKind, ProcessName, Status};
use corral_spec::{AbsPath, ContainerSpec, Digest, Entrypoint, EnvVar, NetworkMode, ProfileName};
use corral_state::{Life, write_record};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::{Engine, Error, Wanted, Warmth, Watch, host};

/// What a step may print before the rest is dropped.
const OUTPUT_LIMIT: u64 = 16 << 20;

/// One command over image layers, in the `build` profile, without network unless it asks: how packing runs
/// code that is not ours.
#[derive(Clone, Debug, Default)]
pub struct Step {
    /// The root file system, bottom first.
    pub layers: Vec<Digest>,
    /// The command.
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Host directories to see inside, owned there by root.
    pub mounts: Vec<StepMount>,
    /// Working directory inside.
    pub workdir: String,
    /// The host's network. Only for a package client of the distribution that fetches and runs nothing it fetched.
    pub host_network: bool,
}

/// A host directory inside a [`Step`]. It belongs to the engine's user; what the step writes there does too.
#[derive(Clone, Debug)]
pub struct StepMount {
    /// On the host.
    pub source: PathBuf,
    /// Inside.
    pub target: String,
    /// Whether writing is refused.
    pub read_only: bool,
}

/// How a [`Step`] ended.
#[derive(Clone, Debug)]
pub struct StepOutcome {
    /// Exit code, 128 + n for a signal.
    pub code: u8,
    /// What it wrote, at most 16 MiB of it.
    pub stdout: Vec<u8>,
    /// What it complained, likewise.
    pub stderr: Vec<u8>,
}

impl Engine {
    /// Runs a step to its end. This process is its parent: if it is killed, so is the step.
    ///
    /// # Errors
    /// When the container cannot be made; a command that fails is an outcome, not an error.
    pub fn run_step(&self, step: &Step) -> Result<StepOutcome, Error> {
        let image = Image {
            id: Digest::from_bytes([0; 32]),
            config: ImageConfig {
                architecture: host::architecture().into(),
                os: "linux".into(),
                ..Default::default()
            },
            layers: step.layers.clone(),
            manifest: None,
        };
        let prepared = self.create_with(
            Wanted {
                image: &image,
                image_name: "step",
                spec: spec(step)?,
                life: Life::Passing,
                watch: Watch::Nobody,
                typed: None,
                warmth: Warmth::Cold,
            },
            mounts(step)?,
        )?;
        let outcome = self.run_here(&prepared.launch);
        let discarded = self.discard_own(prepared, Vec::new());
        let outcome = outcome?;
        discarded?;
        Ok(outcome)
    }

    fn run_here(&self, launch: &Launch) -> Result<StepOutcome, Error> {
        let (out, out_inside) = pipe()?;
        let (err, err_inside) = pipe()?;
        let stdin = std::fs::File::open("/dev/null").map_err(Error::io("open /dev/null"))?;
        let io = Io::Pipes { stdin: stdin.into(), stdout: out_inside, stderr: err_inside };
        let created = corral_runtime::create(launch, io)?;
        let status = Status {
            generation: GENERATION,
            monitor: ProcessName { pid: 0, start_ticks: 0 },
            init: created.name(),
            started_ns: host::now_ns(),
            paused: false,
            restarting: false,
            restarts: 0,
            health: None,
            cgroup2: created.cgroup().v2().map(std::path::Path::to_path_buf),
            cgroup1: created.cgroup().v1().to_vec(),
        };
        write_record(&self.layout().run(&launch.id).join("status.json"), &status, false)?;
        let event = |action| {
            let known = launch.journal.iter().flat_map(|known| &known.attributes);
            Event::new(action, launch.id.as_str()).with_all(known)
        };
        let mut running = created.start()?;
        if let Err(error) = self.record_work(&[event(Action::Start)]) {
            running.cleanup().into_iter().for_each(drop);
            return Err(error);
        }
        let output = drain(out.into(), err.into());
        let ended = running.wait();
        let errors = running.cleanup();
        let (stdout, stderr) = output?;
        let outcome = StepOutcome { code: ended?.code(), stdout, stderr };
        self.record_end(event(Action::Die).with("exitCode", outcome.code.to_string()))?;
        match errors.into_iter().next() {
            Some(error) => Err(error.into()),
            None => Ok(outcome),
        }
    }
}

fn spec(step: &Step) -> Result<ContainerSpec, Error> {
    let workdir = AbsPath::new(if step.workdir.is_empty() { "/" } else { &step.workdir });
    Ok(ContainerSpec {
        entrypoint: Entrypoint::Reset,
        command: step.argv.clone(),
        env: step
            .env
            .iter()
            .map(|(name, value)| EnvVar { name: name.clone(), value: value.clone() })
            .collect(),
        workdir: Some(workdir.map_err(|error| Error::Invalid(error.to_string()))?),
        profile: Some(ProfileName::Build),
        network: step.host_network.then_some(NetworkMode::Host),
        remove: true,
        ..ContainerSpec::default()
    })
}

fn mounts(step: &Step) -> Result<Vec<Mount>, Error> {
    let mount = |mount: &StepMount| {
        Ok(Mount {
            target: AbsPath::new(&mount.target).map_err(|error| Error::Invalid(error.to_string()))?,
            kind: MountKind::Bind { source: mount.source.clone(), ids: BindIds::Container, subpath: None },
            read_only: mount.read_only,
            no_exec: false,
        })
    };
    step.mounts.iter().map(mount).collect()
}

fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|errno| Error::io("make a pipe")(errno.into()))
}

/// Reads both until their ends; what goes past the limit is read and dropped, so that the step does not block.
fn drain(out: std::fs::File, err: std::fs::File) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let mut sources = [(out, Vec::new(), true), (err, Vec::new(), true)];
    let mut chunk = vec![0; 64 << 10];
    while sources.iter().any(|(_, _, open)| *open) {
        let ready: Vec<usize> = {
            let open: Vec<usize> = (0..2).filter(|at| sources[*at].2).collect();
            let mut fds: Vec<PollFd<'_>> =
                open.iter().map(|at| PollFd::new(&sources[*at].0, PollFlags::IN)).collect();
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::io("wait for a step's output")(error.into())),
            }
            open.into_iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty()).map(|(at, _)| at).collect()
        };
        for at in ready {
            let (file, kept, open) = &mut sources[at];
            let read = file.read(&mut chunk).map_err(Error::io("read a step's output"))?;
            *open = read > 0;
            let room = (OUTPUT_LIMIT as usize).saturating_sub(kept.len());
            kept.extend_from_slice(&chunk[..read.min(room)]);
        }
    }
    let [(_, out, _), (_, err, _)] = sources;
    Ok((out, err))
}
