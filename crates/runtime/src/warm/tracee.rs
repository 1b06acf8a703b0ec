//! A stopped process that does the system calls it is told to, one at a time, and nothing of its own.
//!
//! ```text
//! tracer ── registers of a call ──▶ stops before it: is it this call, of this architecture, with these arguments?
//!                                    no: killed            yes: goes on ──▶ stops after it, the result is read
//! ```
//!
//! So it does not matter what the process's memory holds: whatever would be executed, no other call than the tracer's
//! is ever done. Its filters are out of force meanwhile (PTRACE_O_SUSPEND_SECCOMP, which wants the host's
//! CAP_SYS_ADMIN), signals are blocked, and it dies with its tracer (PTRACE_O_EXITKILL).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::Error;
use crate::sys::ptrace::{self, Call, Registers, Rseq, Stop};

/// How often a process is looked at that is about to wait for its first byte, a millisecond apart.
const TRIES: u32 = 2_000;

/// A traced process at rest.
pub(super) struct Tracee {
    pub(super) pid: i32,
    /// As it was interrupted: in read(2) on standard input.
    at_rest: Registers,
    /// The signals that it blocks by itself.
    mask: u64,
    /// Whether it ends when this is dropped.
    ours: bool,
}

impl Tracee {
    /// Stops a child of ours that waits for a byte on its standard input, for good.
    pub(super) fn seize(pid: i32) -> Result<Self, Error> {
        let fail = |act: &'static str| move |source: io::Error| Error::Process { pid, act, source };
        ptrace::seize(pid).map_err(fail(
            "trace it with its filters suspended (which wants the host's root and CONFIG_CHECKPOINT_RESTORE)",
        ))?;
        for _ in 0..TRIES {
            let stop = ptrace::interrupt(pid).and_then(|()| ptrace::wait_for_stop(pid));
            match stop.map_err(fail("stop it"))? {
                Stop::Interrupted => {}
                Stop::Ended => return Err(Error::Died { act: "the imports" }),
                _ => return Err(Error::Template("a signal came while it was stopped".into())),
            }
            let at_rest = Registers::of(pid).map_err(fail("read its registers"))?;
            if at_rest.interrupted_call() == Some((libc::SYS_read as u64, 0)) {
                let mask = ptrace::signal_mask(pid).map_err(fail("read its signal mask"))?;
                ptrace::set_signal_mask(pid, u64::MAX).map_err(fail("block its signals"))?;
                return Ok(Self { pid, at_rest, mask, ours: false });
            }
            ptrace::resume(pid).map_err(fail("let it go on"))?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(Error::Template("it does not wait for a byte on its standard input".into()))
    }

    /// Where its next call's instruction is.
    pub(super) fn instruction(&self) -> u64 {
        self.at_rest.instruction()
    }

    /// Its restartable sequences.
    pub(super) fn rseq(&self) -> Option<Rseq> {
        ptrace::rseq(self.pid)
    }

    /// Does one call.
    pub(super) fn call(
        &self,
        act: &'static str,
        number: libc::c_long,
        arguments: &[u64],
    ) -> Result<u64, Error> {
        self.call_with_child(act, number, arguments).map(|(value, _)| value)
    }

    /// Makes a child that is at rest too; it ends when it is dropped.
    pub(super) fn fork(&self, act: &'static str, flags: libc::c_int) -> Result<Self, Error> {
        let flags = (flags | libc::SIGCHLD) as u64;
        let (_, child) = self.call_with_child(act, libc::SYS_clone, &[flags])?;
        let pid = child.ok_or_else(|| Error::inside(act, io::ErrorKind::InvalidData))?;
        let child = Self { pid, ours: true, ..*self };
        match ptrace::wait_for_stop(pid).map_err(|error| Error::inside(act, error))? {
            Stop::Interrupted => Ok(child),
            _ => Err(Error::inside(act, io::ErrorKind::Interrupted)),
        }
    }

    /// Lets it go on by itself: with its own filters and signals, about to read from `fd` what it waited for.
    pub(super) fn release(mut self, fd: u64) -> Result<(), Error> {
        let go = || {
            self.at_rest.again(fd).set(self.pid)?;
            ptrace::set_signal_mask(self.pid, self.mask)?;
            ptrace::detach(self.pid)
        };
        go().map_err(|source| Error::Process { pid: self.pid, act: "let it go", source })?;
        self.ours = false;
        Ok(())
    }

    fn call_with_child(
        &self,
        act: &'static str,
        number: libc::c_long,
        arguments: &[u64],
    ) -> Result<(u64, Option<i32>), Error> {
        let fail = |error: io::Error| Error::inside(act, error);
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        let number = number as u64;
        self.at_rest.with_call(number, all).set(self.pid).map_err(fail)?;
        self.to_next_stop(&mut None).map_err(fail)?;
        let wanted = Call::Entry { arch: Registers::ARCH, number, arguments: all };
        if ptrace::call_info(self.pid).map_err(fail)? != wanted {
            // Nothing that it is about to do may be done.
            kill(self.pid);
            return Err(Error::Template(format!("its memory changed under it, while it was to {act}")));
        }
        let mut child = None;
        self.to_next_stop(&mut child).map_err(fail)?;
        match ptrace::call_info(self.pid).map_err(fail)? {
            Call::Exit(value) if value >= 0 => Ok((value as u64, child)),
            Call::Exit(errno) => Err(fail(io::Error::from_raw_os_error(-errno as i32))),
            _ => Err(fail(io::ErrorKind::InvalidData.into())),
        }
    }

    fn to_next_stop(&self, child: &mut Option<i32>) -> io::Result<()> {
        loop {
            ptrace::resume_to_call(self.pid)?;
            match ptrace::wait_for_stop(self.pid)? {
                Stop::Call => return Ok(()),
                Stop::Child => *child = Some(ptrace::new_child(self.pid)?),
                Stop::Interrupted => {}
                Stop::Ended => return Err(io::Error::from_raw_os_error(libc::ESRCH)),
                Stop::Signal => {
                    kill(self.pid);
                    return Err(io::ErrorKind::Interrupted.into());
                }
            }
        }
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        if self.ours {
            kill(self.pid);
            // Traced by us and not reaped: the number cannot be another's.
            let _ = Pid::from_raw(self.pid).map(|pid| waitpid(Some(pid), WaitOptions::empty()));
        }
    }
}

/// It may have ended by itself meanwhile, which is as good.
fn kill(pid: i32) {
    let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
}

/// The memory of a stopped process.
pub(super) struct Memory(File);

impl Memory {
    pub(super) fn of(pid: i32) -> Result<Self, Error> {
        let open = File::options().read(true).write(true).open(format!("/proc/{pid}/mem"));
        open.map(Self).map_err(|source| Error::Process { pid, act: "open its memory", source })
    }

    pub(super) fn read<const N: usize>(&self, address: u64) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.0
            .read_exact_at(&mut bytes, address)
            .map_err(|error| Error::inside("read a template's memory", error))?;
        Ok(bytes)
    }

    pub(super) fn write(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        self.0.write_all_at(bytes, address).map_err(|error| Error::inside("write a template's memory", error))
    }
}
