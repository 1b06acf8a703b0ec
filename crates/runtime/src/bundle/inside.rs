//! The first process, from clone3 to the moment where it waits to be started.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{DumpableBehavior, chroot, set_dumpable_behavior};

use super::privileges::{self, LastStep};
use super::{Bundle, Hook, Kind, Process, devices, mounts, wait};
use crate::channel::{Channel, Message, Word};
use crate::program::Program;
use crate::sys::{exit, join_session_keyring, keep_open, loopback_up, personality};
use crate::terminal::Terminal;
use crate::tree::{Point, Tree};
use crate::{Error, Io, attach, confine, kernel_file, terminal};

/// What the child knows.
pub(super) struct Inside<'b> {
    pub(super) bundle: &'b Bundle,
    pub(super) channel: Channel,
    pub(super) listener: OwnedFd,
    pub(super) ignored_signals: u64,
    pub(super) has_userns: bool,
    pub(super) views: mounts::Views,
    pub(super) state: &'b dyn Fn(i32, &str) -> String,
}

/// All that is left to do, once somebody says so.
pub(super) struct Step {
    pub(super) program: Option<Program>,
    pub(super) last: LastStep,
}

impl Step {
    /// Becomes the program; comes back only with the reason why not.
    pub(super) fn execute(&self) -> Error {
        match &self.program {
            Some(program) => program.execute(),
            None => Error::Launch("there is no process to start".to_owned()),
        }
    }
}

impl Inside<'_> {
    /// Becomes the container's first process, or tells the parent why not.
    pub(super) fn run(self) -> ! {
        let (step, state) = match self.set_up() {
            Ok(done) => done,
            Err(error) => {
                self.channel.send_failure(&error);
                exit(1)
            }
        };
        let preserved = self.bundle.process.preserve_fds;
        let waiting = wait::Waiting {
            step: &step,
            hooks: &self.bundle.start_container,
            state,
            ignored_signals: self.ignored_signals,
        };
        // The parent hears the end of file.
        waiting.run(self.listener, preserved)
    }

    fn set_up(&self) -> Result<(Step, String), Error> {
        let bundle = self.bundle;
        let talk = |error| Error::inside("talk to the runtime", error);
        let Some(Message { word: Word::Go, body, .. }) = self.channel.receive().map_err(talk)? else {
            exit(1)
        };
        let pid = body.try_into().map(i32::from_ne_bytes).unwrap_or(0);
        let sources = self.channel.receive_mounts(mounts::count(bundle)).map_err(talk)?;
        // All descriptors are closed together before the program starts.
        let sources = ManuallyDrop::new(sources);
        if self.has_userns {
            confine::become_bundle_root()?;
        }
        self.tell_kernel()?;
        if !bundle.is_staged() {
            attach::cut_propagation()?;
        }
        let root = mounts::attach_all(bundle, &self.views, &sources)?;
        devices::make(bundle, root, &sources)?;
        // Whoever writes configurations relies on it: an image need not have its working directory.
        if bundle.process.cwd.as_path() != Path::new("/") {
            Tree(root).find_or_make(&bundle.process.cwd, Point::Directory)?;
        }
        self.step(|| Ok(()))?;
        run_hooks(&bundle.create_container, &(self.state)(pid, "created"))?;
        let terminal = open_terminal(&bundle.process, || mounts::devpts(root))?;
        if let Some(Terminal { slave, .. }) = &terminal {
            devices::bind_console(root, slave.as_fd())?;
        }
        mounts::restrict(bundle, root)?;
        if bundle.no_pivot || bundle.is_staged() {
            if !bundle.is_staged() {
                mounts::drop_bare_kernel_files()?;
            }
            change_root(root)?;
        } else {
            mounts::pivot(root)?;
        }
        mounts::finish_root(bundle, root)?;
        let step = ready_process(bundle, terminal.as_ref())?;
        self.report(terminal)?;
        Ok((step, (self.state)(pid, "created")))
    }

    /// Tells the parent that this half is done and waits until it is told to go on.
    fn step(&self, done: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        done()?;
        let talk = |error| Error::inside("talk to the runtime", error);
        self.channel.send(Word::Ready, &[], &[]).map_err(talk)?;
        match self.channel.receive().map_err(talk)? {
            Some(Message { word: Word::Go, .. }) => Ok(()),
            // The runtime died or changed its mind.
            _ => exit(1),
        }
    }

    fn report(&self, terminal: Option<Terminal>) -> Result<(), Error> {
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .map_err(|errno| Error::inside("hide the memory from other processes", errno))?;
        let fds: Vec<_> = terminal.iter().map(|terminal| terminal.master.as_fd()).collect();
        let sent = self.channel.send(Word::Ready, &[], &fds);
        std::mem::forget(terminal);
        sent.map_err(|error| Error::inside("talk to the runtime", error))
    }

    /// What is the container's namespaces' own, whichever /proc it is written through.
    fn tell_kernel(&self) -> Result<(), Error> {
        let bundle = self.bundle;
        if let Some(name) = &bundle.hostname {
            rustix::system::sethostname(name.as_bytes())
                .map_err(|errno| Error::inside(format!("set the host name {name:?}"), errno))?;
        }
        if let Some(name) = &bundle.domainname {
            rustix::system::setdomainname(name.as_bytes())
                .map_err(|errno| Error::inside(format!("set the domain name {name:?}"), errno))?;
        }
        if bundle.is_new(Kind::Network) {
            socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
                .map_err(Into::into)
                .and_then(|socket| loopback_up(keep_open(socket)))
                .map_err(|error| Error::inside("bring up the loopback device", error))?;
        }
        for (path, value) in &bundle.sysctls {
            kernel_file::write(format!("/proc/sys/{path}"), value)
                .map_err(|error| Error::inside(format!("set the sysctl {path} to {value:?}"), error))?;
        }
        if let Some(persona) = bundle.personality {
            personality(persona).map_err(|error| Error::inside("set the personality", error))?;
        }
        if !bundle.process.no_new_keyring {
            new_keyring(&bundle.id)?;
        }
        Ok(())
    }
}

/// chroot(2) to a descriptor.
pub(super) fn change_root(root: BorrowedFd<'_>) -> Result<(), Error> {
    rustix::process::fchdir(root)
        .and_then(|()| chroot("."))
        .map_err(|errno| Error::inside("change the root directory", errno))
}

/// The streams, the ids and the directory of a process that is in all its namespaces.
fn ready_process(bundle: &Bundle, terminal: Option<&Terminal>) -> Result<Step, Error> {
    let process = &bundle.process;
    take_streams(process, terminal)?;
    let last = privileges::drop_all_in_cwd(process, bundle.seccomp.as_ref())?;
    // Without a program it waits all the same; `start` refuses.
    let program =
        (!process.argv.is_empty()).then(|| Program::new(&process.argv, &process.env)).transpose()?;
    program.as_ref().map_or(Ok(()), Program::look)?;
    Ok(Step { program, last })
}

/// The streams are the caller's own, or a terminal.
pub(super) fn take_streams(process: &Process, slave: Option<&Terminal>) -> Result<(), Error> {
    match slave {
        Some(found) => {
            terminal::take_streams(&Io::Terminal, Some(found))?;
            if let Some(Some((columns, rows))) = process.terminal {
                let size =
                    rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
                rustix::termios::tcsetwinsize(&found.slave, size)
                    .map_err(|errno| Error::inside("set the terminal's size", errno))?;
            }
            Ok(())
        }
        None => {
            rustix::process::setsid().map_err(|errno| Error::inside("start a session", errno))?;
            privileges::give_streams(process.uid)
        }
    }
}

/// A terminal of the devpts that `find` gives, if the process has one.
pub(super) fn open_terminal<F: AsFd>(
    process: &Process,
    find: impl FnOnce() -> Result<F, Error>,
) -> Result<Option<Terminal>, Error> {
    match process.terminal {
        Some(_) => Terminal::open(find()?.as_fd(), process.uid).map(Some),
        None => Ok(None),
    }
}

/// Kernels without keyrings have none to share.
pub(super) fn new_keyring(id: &str) -> Result<(), Error> {
    match join_session_keyring(&format!("_ses.{id}")) {
        Err(error) if error.raw_os_error() != Some(libc::ENOSYS) => {
            Err(Error::inside("make a session keyring", error))
        }
        _ => Ok(()),
    }
}

pub(super) fn run_hooks(hooks: &[Hook], state: &str) -> Result<(), Error> {
    hooks.iter().try_for_each(|hook| hook.run(state))
}
