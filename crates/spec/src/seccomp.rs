//! A system call filter as data: what `policy` decides and `runtime::seccomp` compiles.
//!
//! Names, not numbers: one filter serves every architecture, and the compiler refuses a name that no
//! architecture knows.

use std::borrow::Cow;

/// A whole filter. What no rule names is decided by the three defaults; none of them may allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyscallFilter {
    /// At most one rule a name.
    pub rules: Vec<SyscallRule>,
    /// For system calls that the compiler's table knows and no rule names.
    pub unlisted: SyscallAction,
    /// For numbers outside the table: newer than this build, and the x32 range of x86-64.
    pub unknown: SyscallAction,
    /// For entry through another ABI than the native 64-bit one (`int 0x80`, AArch32).
    pub foreign: SyscallAction,
}

/// What happens to one system call: the first case whose tests all hold decides, else `otherwise`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyscallRule {
    /// The kernel's name, such as `openat2`.
    pub name: Cow<'static, str>,
    /// Tried in order; empty for a rule without conditions.
    pub cases: Vec<SyscallCase>,
    /// When no case holds.
    pub otherwise: SyscallAction,
}

/// One case of a [`SyscallRule`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyscallCase {
    /// All must hold; never empty.
    pub tests: Vec<ArgTest>,
    /// What then happens.
    pub action: SyscallAction,
}

/// Holds if `argument & mask == value`. The kernel cuts an `int` argument to its low 32 bits, so a test
/// of one must leave the high half out of the mask, or garbage there walks past it (CVE-2019-10063).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgTest {
    /// 0 to 5.
    pub index: u8,
    /// Bits that count.
    pub mask: u64,
    /// Their value; no bit outside the mask.
    pub value: u64,
}

/// The answer to a system call (seccomp(2), "Filter return values").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyscallAction {
    /// It is made.
    Allow,
    /// It is not made and fails with this errno (1 to 4095).
    Errno(u16),
    /// The whole process is killed as by SIGSYS.
    KillProcess,
    /// The thread gets SIGSYS.
    Trap,
}

impl ArgTest {
    /// The whole of an `int` or `unsigned int` argument has this value.
    pub const fn int(index: u8, value: u32) -> Self {
        Self { index, mask: 0xffff_ffff, value: value as u64 }
    }

    /// Of an `int` argument, the bits in `mask` have this value.
    pub const fn bits(index: u8, mask: u32, value: u32) -> Self {
        Self { index, mask: mask as u64, value: value as u64 }
    }
}
