use std::os::fd::OwnedFd;

use corral_engine::ExecRequest;
use corral_runtime::Io;
use corral_spec::{AbsPath, UserSpec};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::app::Globals;
use crate::failure::{ENGINE, Failure};
use crate::relay::{self, Ends};
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
    /// Container
    container: String,
    /// Command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

/// `corral exec`.
pub(super) fn exec(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<Flags>("exec", words)? else { return Ok(0) };
    let engine = globals.engine()?;
    let id = engine.find(&flags.container)?;
    let request = ExecRequest {
        argv: flags.command.clone(),
        env: run_flags::env(&flags.env_file, &flags.env)?,
        user: flags.user.clone(),
        workdir: flags
            .workdir
            .as_ref()
            .map(AbsPath::new)
            .transpose()
            .map_err(|error| Failure::with_code(ENGINE, error))?,
        tty: flags.tty && !flags.detach,
        stdin: flags.interactive && !flags.detach,
        detach: flags.detach,
    };
    if flags.detach {
        let null = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").map(OwnedFd::from);
        engine.exec(&id, &request, Io::Pipes { stdin: null()?, stdout: null()?, stderr: null()? })?;
        return Ok(0);
    }
    if flags.tty {
        let mut process = engine.exec(&id, &request, Io::Terminal)?;
        let console = process.console.take().ok_or_else(|| Failure::new("the container gave no terminal"))?;
        let input = if flags.interactive { Some(console.try_clone()?) } else { None };
        return relay::run(process, Ends { input, output: console, errors: None, tty: true });
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from);
    let (output, output_inside) = pipe()?;
    let (errors, errors_inside) = pipe()?;
    let (stdin, input) = if flags.interactive {
        let (inside, ours) = pipe()?;
        (inside, Some(ours))
    } else {
        (std::fs::File::open("/dev/null")?.into(), None)
    };
    let io = Io::Pipes { stdin, stdout: output_inside, stderr: errors_inside };
    let process = engine.exec(&id, &request, io)?;
    relay::run(process, Ends { input, output, errors: Some(errors), tty: false })
}
