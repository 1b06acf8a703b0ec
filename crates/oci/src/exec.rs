//! `exec`: a further process.

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;

use corral_runtime::bundle::Kind;

use crate::config::{self, Process};
use crate::console::Listener;
use crate::create::{check_preserved, listen_fds};
use crate::state::{self, Container, Status};
use crate::{Error, Runtime, console, foreground, memory_policy, plan, process};

/// What `exec` is told beside the name.
#[derive(Clone, Debug, Default)]
pub struct Exec {
    /// A file with the whole process; the fields below change it otherwise.
    pub process: Option<PathBuf>,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// Further variables.
    pub env: Vec<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// `UID[:GID]`.
    pub user: Option<String>,
    /// Further groups.
    pub additional_gids: Vec<u32>,
    /// Further capabilities.
    pub caps: Vec<String>,
    /// no_new_privs.
    pub no_new_privs: bool,
    /// Whether to return as soon as it runs.
    pub detach: bool,
    /// Where its number is written.
    pub pid_file: Option<PathBuf>,
    /// Where the terminal's master side is sent.
    pub console_socket: Option<PathBuf>,
    /// Descriptors from 3 on that the program keeps.
    pub preserve_fds: u32,
    /// Whether a paused container is no error; the process is frozen then.
    pub ignore_paused: bool,
}

impl Runtime {
    /// Runs a process in a running container; its exit code, or 0 if detached.
    ///
    /// # Errors
    /// [`Error::State`] if the container does not run.
    pub fn exec(&self, id: &str, options: &Exec) -> Result<u8, Error> {
        check_preserved(options.preserve_fds)?;
        let container = Container::find(&self.root, id)?;
        match container.status()? {
            Status::Stopped | Status::Creating => {
                return Err(Error::State("cannot exec in a stopped container".to_owned()));
            }
            Status::Paused if !options.ignore_paused => {
                return Err(Error::State(
                    "cannot exec in a paused container (use --ignore-paused to override)".to_owned(),
                ));
            }
            _ => {}
        }
        let config = container.config()?;
        let mut bundle = plan::bundle(&config, id, &container.record.bundle)?;
        let mut asked = asked(&config, options)?;
        let further = listen_fds(&mut asked.env)?;
        bundle.process = process::of(&asked, bundle.namespace(Kind::User).is_some())?;
        bundle.process.memory_policy = memory_policy::of(config.linux.memory_policy.as_ref())?;
        bundle.process.preserve_fds = options.preserve_fds + further;
        if options.console_socket.is_some() && bundle.process.terminal.is_none() {
            return Err(Error::Invalid(
                "a console socket is for a process with a terminal: use --tty".to_owned(),
            ));
        }
        let init =
            container.record.process.ok_or_else(|| Error::State("container not running".to_owned()))?;
        let watch = (!options.detach).then(foreground::Watch::new).transpose()?;
        let mut joined = corral_runtime::bundle::exec(&bundle, &init, &container.record.group())?;
        let pid = joined.pid();
        let mut terminal = joined.console.take();
        if let (Some(socket), Some(master)) = (&options.console_socket, &terminal) {
            console::send(socket, master.as_fd())?;
            terminal = None;
        }
        if let Some(path) = &options.pid_file {
            state::write(path, pid.to_string().as_bytes())?;
        }
        let (running, released) = joined.release()?;
        if let (Some(listener), Some(seccomp)) = (&released.seccomp, &config.linux.seccomp) {
            let of = Listener { pid, status: "running" };
            console::send_listener(&container, seccomp, of, listener.as_fd())?;
        }
        released.finish()?;
        match watch {
            Some(watch) => {
                let code = watch.run(pid, terminal);
                // Reaped just now.
                std::mem::forget(running);
                code
            }
            None => {
                // It lives without this process.
                std::mem::forget(running);
                Ok(0)
            }
        }
    }
}

fn asked(config: &config::Config, options: &Exec) -> Result<Process, Error> {
    if let Some(path) = &options.process {
        let bytes = fs::read(path).map_err(Error::file("read", path))?;
        return serde_json::from_slice(&bytes).map_err(|source| Error::Json { path: path.clone(), source });
    }
    let mut process = config.process.clone().unwrap_or_default();
    process.args = options.args.clone();
    process.terminal = options.tty;
    process.console_size = None;
    if let Some(cwd) = &options.cwd {
        process.cwd = cwd.clone();
    }
    process.env.extend(options.env.iter().cloned());
    process.no_new_privileges |= options.no_new_privs;
    if let Some(user) = &options.user {
        let (uid, gid) = user.split_once(':').unwrap_or((user, ""));
        let number = |text: &str| {
            text.parse::<u32>().map_err(|_| Error::Invalid(format!("--user {user:?} is not UID[:GID]")))
        };
        process.user.uid = number(uid)?;
        if !gid.is_empty() {
            process.user.gid = number(gid)?;
        }
    }
    process.user.additional_gids.extend(&options.additional_gids);
    if !options.caps.is_empty() {
        let caps = process.capabilities.get_or_insert_default();
        for set in [&mut caps.bounding, &mut caps.effective, &mut caps.permitted] {
            set.extend(options.caps.iter().cloned());
        }
    }
    Ok(process)
}
