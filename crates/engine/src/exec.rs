use std::os::unix::process::CommandExt;
use std::process::Command;

use corral_runtime::{Exec, Io};
use corral_spec::record::{Launch, Process, Warm};
use corral_spec::{AbsPath, ContainerId, EnvVar, UserNamespace, UserSpec};

use crate::sealed::Sealed;
use crate::{Engine, Error, ExecNote, State};

/// A further process for a running container.
#[derive(Clone, Debug, Default)]
pub struct ExecRequest {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Added to the container's environment; the later wins.
    pub env: Vec<EnvVar>,
    /// Another user than the container's.
    pub user: Option<UserSpec>,
    /// Another working directory than the container's.
    pub workdir: Option<AbsPath>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its standard input is kept open.
    pub stdin: bool,
}

impl Engine {
    /// Starts a process in a running container, under the same confinement. The caller is its parent and pumps
    /// its input and output, and tells its end to [`Engine::record_exec_end`].
    ///
    /// # Errors
    /// [`Error::WrongState`] when the container does not run or is paused; the runtime's when the program cannot be
    /// executed.
    pub fn exec(&self, id: &ContainerId, request: &ExecRequest, io: Io) -> Result<(Exec, ExecNote), Error> {
        let Some(view) = self.view(id)? else { return Err(Error::NoContainer(id.to_string())) };
        let status = match view.state {
            State::Running(status) => status,
            state => {
                return Err(Error::WrongState {
                    name: view.record.name.to_string(),
                    state: state.as_str(),
                    way_out: "exec needs a running container",
                });
            }
        };
        // What ran there would stand above all containers that are forked from it.
        if matches!(view.record.warm, Some(Warm::Template { .. })) {
            return Err(Error::WrongState {
                name: view.record.name.to_string(),
                state: "a template",
                way_out: "nothing else runs in it; exec in a container that was forked from it",
            });
        }
        let launch = self.launch(id)?;
        let process = self.process(&launch, request)?;
        let note = self.record_exec(&view.record, &process.argv)?;
        match corral_runtime::exec(&launch, &status, &process, io) {
            Ok(process) => {
                corral_fault::step!(ExecStarted);
                Ok((process, note))
            }
            Err(error) => {
                self.record_exec_end(note, error.exit_code())?;
                Err(error.into())
            }
        }
    }

    /// Makes this process run from a sealed copy of its program if the container is one that could reach
    /// it ([`Sealed`]); then it does not return, and begins again with the same words.
    ///
    /// # Errors
    /// When the copy cannot be made or executed.
    pub fn seal_for(&self, id: &ContainerId) -> Result<(), Error> {
        let host_ids = self.view(id)?.is_some_and(|view| view.record.spec.userns == UserNamespace::Host);
        let program = std::fs::read_link("/proc/self/exe").map_err(Error::io("read /proc/self/exe"))?;
        if !host_ids || program.as_os_str().as_encoded_bytes().starts_with(b"/memfd:") {
            return Ok(());
        }
        let sealed = Sealed::copy()?;
        let failed = Command::new(sealed.path()).args(std::env::args_os().skip(1)).exec();
        Err(Error::io("execute a sealed copy of this program")(failed))
    }

    fn process(&self, launch: &Launch, request: &ExecRequest) -> Result<Process, Error> {
        if request.argv.is_empty() {
            return Err(Error::Invalid("exec needs a command".into()));
        }
        let mut process = launch.process.clone();
        process.argv.clone_from(&request.argv);
        process.tty = request.tty;
        process.stdin = request.stdin;
        process.init = false;
        if let Some(workdir) = &request.workdir {
            process.workdir = workdir.clone();
        }
        if let Some(user) = &request.user {
            let mut layers = vec![launch.root.writable.join("upper")];
            layers.extend(launch.root.lowers.iter().cloned());
            let user = crate::create::resolve_user(Some(user), &layers)?;
            (process.uid, process.gid, process.groups) = (user.uid, user.gid, user.groups);
            set(&mut process.env, "HOME", &user.home);
        }
        if request.tty {
            set(&mut process.env, "TERM", "xterm");
        }
        for EnvVar { name, value } in &request.env {
            set(&mut process.env, name, value);
        }
        Ok(process)
    }
}

/// Sets a variable, replacing the one of that name.
pub(crate) fn set(env: &mut Vec<String>, name: &str, value: &str) {
    env.retain(|entry| entry.split_once('=').map_or(entry.as_str(), |(known, _)| known) != name);
    env.push(format!("{name}={value}"));
}
