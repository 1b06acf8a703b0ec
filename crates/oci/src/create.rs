//! `create`, `start` and `run`.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use corral_runtime::bundle::{self, Bundle, Setting};
use corral_spec::Signal;

use crate::config::Config;
use crate::console::Listener;
use crate::state::{self, Container, Record, Status};
use crate::{Error, Runtime, console, foreground, labels, plan, resources};

/// What `create` and `run` are told beside the name.
#[derive(Clone, Debug, Default)]
pub struct Create {
    /// The bundle's directory.
    pub bundle: PathBuf,
    /// Where the terminal's master side is sent.
    pub console_socket: Option<PathBuf>,
    /// Where the first process's number is written.
    pub pid_file: Option<PathBuf>,
    /// Whether chroot(2) replaces pivot_root(2).
    pub no_pivot: bool,
    /// Whether the caller's session keyring is kept.
    pub no_new_keyring: bool,
    /// Descriptors from 3 on that the program keeps.
    pub preserve_fds: u32,
}

impl Runtime {
    /// Makes a container that waits for [`Self::start`].
    ///
    /// # Errors
    /// [`Error`]; nothing is left behind then.
    pub fn create(&self, id: &str, options: &Create) -> Result<(), Error> {
        let made = self.make(id, options)?;
        match (&options.console_socket, made.console) {
            (Some(socket), Some(master)) => console::send(socket, master.as_fd()).inspect_err(|_| {
                // The failure that is told is the first.
                let _ = self.delete(id, true);
            }),
            _ => Ok(()),
        }
    }

    /// Lets a created container run its program.
    ///
    /// # Errors
    /// [`Error::State`] if it is not just created; what kept the program from running.
    pub fn start(&self, id: &str) -> Result<(), Error> {
        let (container, _lock) = Container::find_locked(&self.root, id)?;
        match container.status()? {
            Status::Created => {}
            Status::Stopped => {
                return Err(Error::State("cannot start a container that has stopped".to_owned()));
            }
            Status::Running | Status::Paused => {
                return Err(Error::State("cannot start an already running container".to_owned()));
            }
            Status::Creating => {
                return Err(Error::State("cannot start a container in the creating state".to_owned()));
            }
        }
        let config = container.config()?;
        if config.process.is_none() {
            return Err(Error::Invalid("config.json has no process, and start needs one".to_owned()));
        }
        let released = bundle::release(&container.socket(), container.pid())?;
        if let (Some(listener), Some(seccomp)) = (&released.seccomp, &config.linux.seccomp) {
            let of = Listener { pid: container.pid(), status: "creating" };
            console::send_listener(&container, seccomp, of, listener.as_fd())?;
        }
        released.finish()?;
        let socket = container.socket();
        fs::remove_file(&socket).map_err(Error::file("remove", &socket))?;
        let state = container.record.state(container.pid(), "running").to_string();
        for hook in plan::hooks("poststart", &config.hooks.poststart)? {
            if let Err(error) = hook.run(&state) {
                // The program runs already; runtime.md has it killed no more.
                eprintln!("corral oci: warning: {error}");
            }
        }
        Ok(())
    }

    /// Creates, starts, and unless `detach` waits, forwards signals, and deletes. Gives the exit code.
    ///
    /// # Errors
    /// [`Error`].
    pub fn run(&self, id: &str, options: &Create, detach: bool, keep: bool) -> Result<u8, Error> {
        let made = self.make(id, options)?;
        let pid = made.pid;
        let attempt = || -> Result<u8, Error> {
            let console = match (&options.console_socket, made.console) {
                (Some(socket), Some(master)) => console::send(socket, master.as_fd()).map(|()| None)?,
                (_, console) => console,
            };
            if detach {
                return self.start(id).map(|()| 0);
            }
            let watch = foreground::Watch::new()?;
            self.start(id)?;
            watch.run(pid, console)
        };
        let ended = attempt();
        if ended.is_err() || !(detach || keep) {
            // What cannot be deleted is there for the next `delete`.
            let _ = self.delete(id, true);
        }
        ended
    }

    fn make(&self, id: &str, options: &Create) -> Result<Made, Error> {
        state::check_id(id)?;
        if self.root.join(id).join("state.json").exists() {
            return Err(Error::Exists(id.to_owned()));
        }
        check_preserved(options.preserve_fds)?;
        let dir =
            fs::canonicalize(&options.bundle).map_err(Error::file("find the bundle", &options.bundle))?;
        let path = dir.join("config.json");
        let mut config = state::read_config(&path)?;
        if self.ignore_labels {
            labels::drop_unknown(&mut config);
        }
        let mut bundle = plan::bundle(&config, id, &dir)?;
        bundle.no_pivot = options.no_pivot;
        bundle.process.no_new_keyring = options.no_new_keyring;
        bundle.process.preserve_fds = options.preserve_fds + listen_fds(&mut bundle.process.env)?;
        check_terminal(&bundle, options)?;
        let (home, lock) = state::claim(&self.root, id)?;
        bundle.stage = state::stage(&home);
        let text = fs::read(&path).map_err(Error::file("read", &path))?;
        let made =
            self.build(Parts { config: &config, bundle: &bundle, options, dir, home: &home, text: &text });
        if made.is_err() {
            // Whoever asks next sees a half-made container, and `delete` collects it.
            let _ = self.collect(id);
        }
        drop(lock);
        made
    }

    fn build(&self, parts: Parts<'_>) -> Result<Made, Error> {
        let Parts { config, bundle, options, dir, home, text } = parts;
        state::write(&home.join("config.json"), text)?;
        fs::create_dir(&bundle.stage).map_err(Error::file("create", &bundle.stage))?;
        let group = bundle::locate(config.linux.cgroups_path.as_deref(), &bundle.id)?;
        let mut container =
            Container { dir: home.to_owned(), record: record(config, bundle, dir), locked: true };
        container.record.cgroup2 = group.v2().map(Path::to_owned);
        container.record.cgroup1 = group.v1().to_vec();
        // Before anything is made, so that whoever finds a dead process's record can remove it.
        container.save()?;
        bundle::make(&group)?;
        if let Some(limits) = &config.linux.resources {
            bundle::write(&group, &resources::values(limits)?)?;
            let devices = resources::devices(&limits.devices)?;
            if !devices.is_empty() {
                bundle::enforce_devices(&group, &devices)?;
            }
        }
        let listener = bundle::listen(&container.socket())?;
        let record = container.record.clone();
        let state = move |pid: i32, status: &str| record.state(pid, status).to_string();
        let setting = bundle::create(bundle, &group, listener, &state)?;
        run_hooks(config, &setting, &state)?;
        let ready = setting.finish(bundle.process.terminal.is_some())?;
        container.record.process = Some(ready.name);
        let kept = container.save().and_then(|()| {
            options
                .pid_file
                .as_ref()
                .map_or(Ok(()), |path| state::write(path, ready.name.pid.to_string().as_bytes()))
        });
        if kept.is_err() {
            // It would wait for ever.
            let _ = bundle::signal(&ready.name, Signal::KILL);
        }
        kept.map(|()| Made { pid: ready.name.pid, console: ready.console })
    }
}

/// What a container is built of.
struct Parts<'c> {
    config: &'c Config,
    bundle: &'c Bundle,
    options: &'c Create,
    dir: PathBuf,
    home: &'c Path,
    text: &'c [u8],
}

/// A container that waits.
struct Made {
    pid: i32,
    console: Option<OwnedFd>,
}

fn record(config: &Config, bundle: &Bundle, dir: PathBuf) -> Record {
    Record {
        oci_version: config.oci_version.clone(),
        id: bundle.id.clone(),
        bundle: dir,
        rootfs: bundle.rootfs.clone(),
        created: crate::report::now(),
        annotations: config.annotations.clone(),
        cgroup2: None,
        cgroup1: Vec::new(),
        process: None,
    }
}

/// prestart and createRuntime, in the runtime's namespaces. They come after step 2 of the lifecycle, from which on
/// the status that they are told is "created" (runtime.md, "State").
fn run_hooks(config: &Config, setting: &Setting, state: &dyn Fn(i32, &str) -> String) -> Result<(), Error> {
    let text = state(setting.pid(), "created");
    let hooks = plan::hooks("prestart", &config.hooks.prestart)?
        .into_iter()
        .chain(plan::hooks("createRuntime", &config.hooks.create_runtime)?);
    for hook in hooks {
        hook.run(&text)?;
    }
    Ok(())
}

fn check_terminal(bundle: &Bundle, options: &Create) -> Result<(), Error> {
    match (&options.console_socket, bundle.process.terminal) {
        (Some(_), None) => Err(Error::Invalid(
            "cannot use console socket if runc will not detach or allocate tty".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Numbers 3 and up are the caller's only if each of them is there.
pub(crate) fn check_preserved(count: u32) -> Result<(), Error> {
    for number in 3..u64::from(count) + 3 {
        if !Path::new(&format!("/proc/self/fd/{number}")).exists() {
            return Err(Error::Invalid(format!("--preserve-fds {count}: descriptor {number} is not open")));
        }
    }
    Ok(())
}

/// systemd's socket activation: the descriptors and their number go on to the program.
pub(crate) fn listen_fds(env: &mut Vec<String>) -> Result<u32, Error> {
    let Ok(text) = std::env::var("LISTEN_FDS") else { return Ok(0) };
    let count = text.parse().map_err(|_| Error::Invalid(format!("LISTEN_FDS={text:?} is not a number")))?;
    check_preserved(count)?;
    env.extend([format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()]);
    Ok(count)
}
