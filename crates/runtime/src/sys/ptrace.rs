//! ptrace(2): a stopped process that is made to do single system calls.

use std::io;
use std::ptr;

use super::check;

/// Trace system calls apart from traps; follow fork and clone; kill the traced when the tracer ends; no filter while
/// traced (linux/ptrace.h).
const OPTIONS: libc::c_long = 1 | 1 << 1 | 1 << 3 | 1 << 20 | 1 << 21;
const SEIZE: libc::c_int = 0x4206;
const INTERRUPT: libc::c_int = 0x4207;
const GET_SIGMASK: libc::c_int = 0x420a;
const SET_SIGMASK: libc::c_int = 0x420b;
const GET_SYSCALL_INFO: libc::c_int = 0x420e;
const GET_RSEQ: libc::c_int = 0x420f;
const GET_EVENT_MESSAGE: libc::c_int = 0x4201;

/// Why a traced process stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Before or after a system call.
    Call,
    /// It has made a child, which is traced too.
    Child,
    /// It was interrupted, or has just begun.
    Interrupted,
    /// A signal, which is not delivered.
    Signal,
    /// It is gone, and reaped.
    Ended,
}

/// `struct ptrace_syscall_info`, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct CallInfo {
    op: u8,
    pad: [u8; 3],
    arch: u32,
    instruction: u64,
    stack: u64,
    words: [u64; 7],
}

/// A system call that is about to be done, or its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// Number and arguments, of this architecture (AUDIT_ARCH_*).
    Entry { arch: u32, number: u64, arguments: [u64; 6] },
    /// What it gave.
    Exit(i64),
    /// Neither.
    None,
}

/// `struct ptrace_rseq_configuration`: where a process has registered its restartable sequences (rseq(2)).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rseq {
    pub(crate) address: u64,
    pub(crate) size: u32,
    pub(crate) signature: u32,
    flags: u32,
    pad: u32,
}

fn request(request: libc::c_int, pid: i32, address: u64, data: u64) -> io::Result<libc::c_long> {
    // SAFETY: the callers pass numbers, or pointers to memory of the size that the request fills or reads, which lives
    // across the call. Nothing of this process's own memory is otherwise affected.
    check(unsafe { libc::syscall(libc::SYS_ptrace, request, pid, address, data) })
}

/// PTRACE_SEIZE, with [`OPTIONS`].
pub(crate) fn seize(pid: i32) -> io::Result<()> {
    request(SEIZE, pid, 0, OPTIONS as u64).map(drop)
}

/// PTRACE_INTERRUPT.
pub(crate) fn interrupt(pid: i32) -> io::Result<()> {
    request(INTERRUPT, pid, 0, 0).map(drop)
}

/// PTRACE_CONT.
pub(crate) fn resume(pid: i32) -> io::Result<()> {
    request(libc::PTRACE_CONT as _, pid, 0, 0).map(drop)
}

/// PTRACE_SYSCALL: until the next system call begins or ends.
pub(crate) fn resume_to_call(pid: i32) -> io::Result<()> {
    request(libc::PTRACE_SYSCALL as _, pid, 0, 0).map(drop)
}

/// PTRACE_DETACH, without a signal: filters hold again.
pub(crate) fn detach(pid: i32) -> io::Result<()> {
    request(libc::PTRACE_DETACH as _, pid, 0, 0).map(drop)
}

/// Which child [`Stop::Child`] tells of.
pub(crate) fn new_child(pid: i32) -> io::Result<i32> {
    let mut message = 0_u64;
    request(GET_EVENT_MESSAGE, pid, 0, &raw mut message as u64)?;
    i32::try_from(message).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// PTRACE_GET_SYSCALL_INFO (Linux 5.3).
pub(crate) fn call_info(pid: i32) -> io::Result<Call> {
    let mut info = CallInfo::default();
    request(GET_SYSCALL_INFO, pid, size_of::<CallInfo>() as u64, &raw mut info as u64)?;
    let [first, arguments @ ..] = info.words;
    Ok(match info.op {
        1 => Call::Entry { arch: info.arch, number: first, arguments },
        2 => Call::Exit(first as i64),
        _ => Call::None,
    })
}

/// PTRACE_GETSIGMASK.
pub(crate) fn signal_mask(pid: i32) -> io::Result<u64> {
    let mut mask = 0_u64;
    request(GET_SIGMASK, pid, size_of::<u64>() as u64, &raw mut mask as u64)?;
    Ok(mask)
}

/// PTRACE_SETSIGMASK.
pub(crate) fn set_signal_mask(pid: i32, mask: u64) -> io::Result<()> {
    request(SET_SIGMASK, pid, size_of::<u64>() as u64, &raw const mask as u64).map(drop)
}

/// PTRACE_GET_RSEQ_CONFIGURATION (Linux 5.13); none if nothing is registered.
pub(crate) fn rseq(pid: i32) -> Option<Rseq> {
    let mut found = Rseq::default();
    request(GET_RSEQ, pid, size_of::<Rseq>() as u64, &raw mut found as u64).ok()?;
    (found.address != 0).then_some(found)
}

/// Waits until a traced process stops. One that has ended is left to be reaped.
pub(crate) fn wait_for_stop(pid: i32) -> io::Result<Stop> {
    let mut status = 0;
    loop {
        // SAFETY: all-zero is a valid value of plain numbers.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WSTOPPED | libc::WEXITED | libc::WNOWAIT | libc::__WALL;
        // SAFETY: the kernel writes one siginfo_t.
        match check(unsafe { libc::waitid(libc::P_PID, pid as _, &raw mut info, flags) }.into()) {
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
            Err(error) => return Err(error),
            Ok(_) if info.si_code != libc::CLD_TRAPPED && info.si_code != libc::CLD_STOPPED => {
                return Ok(Stop::Ended);
            }
            Ok(_) => {}
        }
        // SAFETY: the kernel writes one int.
        match check(unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL | libc::WUNTRACED) }.into()) {
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            Err(error) => return Err(error),
            Ok(_) if libc::WIFSTOPPED(status) => break,
            // It was killed between the two looks.
            Ok(_) => return Ok(Stop::Ended),
        }
    }
    Ok(match (libc::WSTOPSIG(status), status >> 16) {
        (signal, 0) if signal == libc::SIGTRAP | 0x80 => Stop::Call,
        (libc::SIGTRAP, libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_CLONE) => Stop::Child,
        (libc::SIGTRAP, 128) => Stop::Interrupted,
        _ => Stop::Signal,
    })
}

/// The registers of a stopped process.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(crate) struct Registers(libc::user_regs_struct);

#[cfg(target_arch = "x86_64")]
impl Registers {
    /// AUDIT_ARCH_X86_64 (linux/audit.h).
    pub(crate) const ARCH: u32 = 0xc000_003e;
    /// The instruction that a system call is done with.
    pub(crate) const INSTRUCTION: [u8; 2] = [0x0f, 0x05];

    /// PTRACE_GETREGS.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        // SAFETY: all-zero is a valid value of plain numbers.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        request(libc::PTRACE_GETREGS as _, pid, 0, &raw mut registers as u64)?;
        Ok(Self(registers))
    }

    /// PTRACE_SETREGS.
    pub(crate) fn set(&self, pid: i32) -> io::Result<()> {
        request(libc::PTRACE_SETREGS as _, pid, 0, ptr::from_ref(&self.0) as u64).map(drop)
    }

    /// The system call that was interrupted, with its first argument, in 64-bit code.
    pub(crate) fn interrupted_call(&self) -> Option<(u64, u64)> {
        const USER_CODE: u64 = 0x33;
        (self.0.cs == USER_CODE && self.0.orig_rax as i64 >= 0).then_some((self.0.orig_rax, self.0.rdi))
    }

    /// Where the instruction of that call is.
    pub(crate) fn instruction(&self) -> u64 {
        self.0.rip.wrapping_sub(Self::INSTRUCTION.len() as u64)
    }

    /// The same, about to do another call with that instruction.
    pub(crate) fn with_call(&self, number: u64, arguments: [u64; 6]) -> Self {
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        let rip = self.instruction();
        Self(libc::user_regs_struct {
            rax: number,
            orig_rax: u64::MAX,
            rip,
            rdi,
            rsi,
            rdx,
            r10,
            r8,
            r9,
            ..self.0
        })
    }

    /// The same, about to begin its call again with another first argument.
    pub(crate) fn again(&self, first: u64) -> Self {
        let Self(old) = *self;
        self.with_call(old.orig_rax, [first, old.rsi, old.rdx, old.r10, old.r8, old.r9])
    }
}

/// Not known how on this processor yet.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy)]
pub(crate) struct Registers;

#[cfg(not(target_arch = "x86_64"))]
impl Registers {
    pub(crate) const ARCH: u32 = 0;
    pub(crate) const INSTRUCTION: [u8; 2] = [0; 2];

    pub(crate) fn of(_: i32) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn set(&self, _: i32) -> io::Result<()> {
        let _: *const () = ptr::null();
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn interrupted_call(&self) -> Option<(u64, u64)> {
        None
    }

    pub(crate) fn instruction(&self) -> u64 {
        0
    }

    pub(crate) fn with_call(&self, _: u64, _: [u64; 6]) -> Self {
        Self
    }

    pub(crate) fn again(&self, _: u64) -> Self {
        Self
    }
}
