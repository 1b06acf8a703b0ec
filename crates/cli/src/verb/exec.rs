use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use corral_engine::{Engine, ExecNote, ExecRequest};
use corral_runtime::{Exec, Io};
use corral_spec::{AbsPath, UserSpec};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::app::Globals;
use crate::failure::{ENGINE, Failure};
use crate::relay::{self, Ends};
use crate::words::FlagsEnd;
use crate::{Words, run_flags};

#[derive(Debug, clap::Args)]
struct Flags {
    /// Detached mode: run command in the background
    #[arg(short, long)]
    detach: bool,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    env_file: Vec<std::path::PathBuf>,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short, long)]
    user: Option<UserSpec>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<std::path::PathBuf>,
    /// Container, then the command and its arguments: flags end where the container begins
    #[arg(required = true, value_names = ["CONTAINER", "COMMAND"], num_args = 2..)]
    words: Vec<String>,
}

/// `corral exec`.
pub(super) fn exec(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = parse(&words)? else { return Ok(0) };
    if flags.detach {
        return in_background(globals, &words);
    }
    let engine = globals.engine()?;
    let (process, ends, note) = start(&engine, &flags)?;
    let code = relay::run(process, ends)?;
    corral_fault::step!(ExecEnded);
    engine.record_exec_end(note, code)?;
    Ok(code)
}

fn parse(words: &Words) -> Result<Option<Flags>, Failure> {
    super::parse_until(FlagsEnd::AtName, "exec", words)
}

/// A process in a container needs a parent that outlives it, and dies with that parent: the detached form is
/// this program once more, in a session of its own, which says on a pipe how the start went.
fn in_background(globals: &Globals, words: &Words) -> Result<u8, Failure> {
    let layout = globals.layout()?;
    let mut child = Command::new("/proc/self/exe")
        .arg("__exec")
        .args(words)
        .env("CORRAL_ROOT", layout.root())
        .env("CORRAL_RUN", layout.run_root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut said = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut said)?;
    }
    match said.strip_suffix(STARTED) {
        Some(_) => Ok(0),
        None => {
            let code = child.wait()?.code().and_then(|code| u8::try_from(code).ok());
            Err(Failure::with_code(code.unwrap_or(ENGINE), said.trim_end()))
        }
    }
}

const STARTED: &str = "started\n";

/// `__exec`: the parent of a detached process. Its standard output is the pipe to who asked.
pub(crate) fn background(words: Words) -> Result<u8, Failure> {
    rustix::process::setsid().map_err(std::io::Error::from)?;
    let start = || {
        let flags = parse(&words)?.ok_or_else(|| Failure::new("nothing to execute"))?;
        let engine = Globals::default().engine()?;
        let (process, _, note) = start(&engine, &flags)?;
        Ok::<_, Failure>((engine, process, note))
    };
    let (engine, mut process, note) = match start() {
        Ok(started) => started,
        Err(failure) => {
            crate::output::print(failure.message())?;
            return Ok(failure.code());
        }
    };
    crate::output::print(STARTED)?;
    rustix::stdio::dup2_stdout(null()?).map_err(std::io::Error::from)?;
    let code = process.wait().map_err(Failure::new)?.code();
    corral_fault::step!(ExecEnded);
    engine.record_exec_end(note, code)?;
    Ok(code)
}

/// Docker's code for a program that could not be run where it was to: a directory that is not there, say.
fn cannot_run(error: corral_engine::Error) -> Failure {
    let inside = matches!(&error, corral_engine::Error::Runtime(corral_runtime::Error::Inside { .. }));
    if inside { Failure::with_code(126, error) } else { error.into() }
}

/// Starts the process, with our ends of its streams.
fn start(engine: &Engine, flags: &Flags) -> Result<(Exec, Ends, ExecNote), Failure> {
    let (container, command) =
        flags.words.split_first().ok_or_else(|| Failure::new("exec needs a container"))?;
    let id = engine.find(container)?;
    engine.seal_for(&id)?;
    let workdir = flags.workdir.as_ref().map(AbsPath::new).transpose();
    let request = ExecRequest {
        argv: command.to_vec(),
        env: run_flags::env(&flags.env_file, &flags.env)?,
        user: flags.user.clone(),
        workdir: workdir.map_err(|error| Failure::with_code(ENGINE, error))?,
        tty: flags.tty,
        stdin: flags.interactive && !flags.detach,
    };
    if flags.tty {
        let (mut process, note) = engine.exec(&id, &request, Io::Terminal).map_err(cannot_run)?;
        let console = process.console.take().ok_or_else(|| Failure::new("the container gave no terminal"))?;
        let input = if request.stdin { Some(console.try_clone()?) } else { None };
        return Ok((process, Ends { input, output: console, errors: None, tty: true }, note));
    }
    if flags.detach {
        let io = Io::Pipes { stdin: null()?, stdout: null()?, stderr: null()? };
        let ends = Ends { input: None, output: null()?, errors: None, tty: false };
        let (process, note) = engine.exec(&id, &request, io).map_err(cannot_run)?;
        return Ok((process, ends, note));
    }
    let (output, output_inside) = pipe()?;
    let (errors, errors_inside) = pipe()?;
    let (stdin, input) = if request.stdin {
        let (inside, ours) = pipe()?;
        (inside, Some(ours))
    } else {
        (null()?, None)
    };
    let io = Io::Pipes { stdin, stdout: output_inside, stderr: errors_inside };
    let (process, note) = engine.exec(&id, &request, io).map_err(cannot_run)?;
    Ok((process, Ends { input, output, errors: Some(errors), tty: false }, note))
}

fn pipe() -> std::io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC)?)
}

fn null() -> std::io::Result<OwnedFd> {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").map(OwnedFd::from)
}
