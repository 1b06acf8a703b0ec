//! Compiles a [`SyscallFilter`] to the classic BPF that seccomp(2) loads.
//!
//! ```text
//! ld  arch            another ABI? ──▶ foreign
//! ld  nr
//! jge 219 ─┬─ jge 96 ─┬─ …  a balanced tree over the ranges of numbers with one answer
//!          │          └─ …
//!          └─ jge 330 …     leaf: ret, or for a rule with cases
//!                                 ld arg.high · and · jeq · ld arg.low · and · jeq · ret
//! past the last number: unknown (on x86-64 this includes every x32 number, 0x4000_0000 and up)
//! ```
//!
//! Only the instructions that the kernel's own emulator knows (kernel/seccomp.c,
//! `seccomp_is_const_allow`) lead to an unconditional answer. So since Linux 5.11 the kernel caches
//! "allow" a number at load time and runs no filter at all for those calls.
//!
//! Nothing is decided here: rules come from `policy`, and whatever could leave a hole (a default that
//! allows, a name no kernel has, a test that can never hold) is an error instead of a program.

mod aarch64;
mod emit;
mod i386;
#[cfg(test)]
mod tests;
mod x32;
mod x86_64;

use corral_spec::ErrorKind;
use corral_spec::record::BpfInstruction;
use corral_spec::seccomp::{SyscallAction, SyscallFilter, SyscallRule};

/// A processor architecture whose system calls can be filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// AMD64 without x32.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
    /// i386, whose programs an x86-64 kernel runs too.
    I386,
}

/// Why a filter does not become a program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// No table has the name: a typing error must not become a hole.
    #[error("seccomp rule {0:?}: no such system call on any architecture")]
    UnknownSyscall(String),
    /// Two rules for one name.
    #[error("seccomp rule {0:?} is given twice")]
    Duplicate(String),
    /// A test that can never hold, or of an argument that does not exist.
    #[error("seccomp rule {name:?}: {reason}")]
    Test {
        /// System call.
        name: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A default answer of the filter would allow.
    #[error("seccomp filter: the default for {0} calls allows them; a filter must be an allow list")]
    OpenDefault(&'static str),
    /// An errno outside 1 to 4095.
    #[error("seccomp filter: errno {0} is outside 1..=4095")]
    Errno(u16),
    /// More than BPF_MAXINSNS (4096) instructions, or one rule beyond a jump's reach.
    #[error("seccomp filter: the program is too long ({0} instructions)")]
    TooLong(usize),
}

impl CompileError {
    /// Always [`ErrorKind::Invalid`]: the rules are wrong, whatever the host.
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// Most instructions that the kernel takes (BPF_MAXINSNS, linux/bpf_common.h).
const MAX_INSTRUCTIONS: usize = 4096;

impl Arch {
    /// The architecture of this build; none where filters are not supported.
    pub const NATIVE: Option<Self> = if cfg!(target_arch = "x86_64") {
        Some(Self::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Self::Aarch64)
    } else {
        None
    };

    /// `AUDIT_ARCH_*` (linux/audit.h).
    pub(crate) const fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::Aarch64 => 0xc000_00b7,
            Self::I386 => 0x4000_0003,
        }
    }

    fn table(self) -> &'static [(&'static str, u16)] {
        match self {
            Self::X86_64 => &x86_64::SYSCALLS,
            Self::Aarch64 => &aarch64::SYSCALLS,
            Self::I386 => &i386::SYSCALLS,
        }
    }

    /// The number of a system call; none if this architecture does not have it.
    pub fn number(self, name: &str) -> Option<u32> {
        find(self.table(), name)
    }

    /// The number of a system call under x32, with the bit that marks it.
    pub fn x32(name: &str) -> Option<u32> {
        find(&x32::SYSCALLS, name).or_else(|| Self::X86_64.number(name)).map(|number| number | x32::BIT)
    }
}

fn find(table: &[(&str, u16)], name: &str) -> Option<u32> {
    table.binary_search_by(|(known, _)| (*known).cmp(name)).ok().map(|at| u32::from(table[at].1))
}

/// Compiles the filter for one architecture. A rule for a call that only another architecture has is
/// left out.
///
/// # Errors
/// [`CompileError`]; nothing of the host is looked at.
pub fn compile(filter: &SyscallFilter, arch: Arch) -> Result<Vec<BpfInstruction>, CompileError> {
    check(filter)?;
    let answers = answers(filter, arch)?;
    let program = emit::program(arch.audit(), filter.foreign, &ranges(&answers, filter.unknown))?;
    if program.len() > MAX_INSTRUCTIONS {
        return Err(CompileError::TooLong(program.len()));
    }
    Ok(program)
}

/// What to do from a number on, until the next range begins.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Range<'a> {
    first: u32,
    answer: Answer<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer<'a> {
    Always(SyscallAction),
    Cases(&'a SyscallRule),
}

fn check(filter: &SyscallFilter) -> Result<(), CompileError> {
    for (default, of) in
        [(filter.unlisted, "unlisted"), (filter.unknown, "unknown"), (filter.foreign, "foreign")]
    {
        if default == SyscallAction::Allow {
            return Err(CompileError::OpenDefault(of));
        }
        check_action(default)?;
    }
    for rule in &filter.rules {
        check_action(rule.otherwise)?;
        for case in &rule.cases {
            check_action(case.action)?;
            let fail = |reason| Err(CompileError::Test { name: rule.name.to_string(), reason });
            if case.tests.is_empty() {
                return fail("a case without a test");
            }
            for test in &case.tests {
                match test {
                    test if test.index > 5 => return fail("a system call has six arguments, 0 to 5"),
                    test if test.mask == 0 => return fail("a test with an empty mask always holds"),
                    test if test.value & !test.mask != 0 => {
                        return fail("a value with bits outside its mask never matches");
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

fn check_action(action: SyscallAction) -> Result<(), CompileError> {
    match action {
        SyscallAction::Errno(errno) if !(1..=4095).contains(&errno) => Err(CompileError::Errno(errno)),
        _ => Ok(()),
    }
}

/// The answer for each number of the table's span; gaps in it have none.
fn answers<'a>(filter: &'a SyscallFilter, arch: Arch) -> Result<Vec<Option<Answer<'a>>>, CompileError> {
    let last = arch.table().iter().map(|(_, number)| *number).max().unwrap_or(0);
    let mut answers = vec![None; usize::from(last) + 1];
    for (_, number) in arch.table() {
        answers[usize::from(*number)] = Some(Answer::Always(filter.unlisted));
    }
    // By number, and the few names that only another architecture has: no hash of three hundred names.
    let mut ruled = vec![false; answers.len()];
    let mut elsewhere: Vec<&str> = Vec::new();
    for rule in &filter.rules {
        let twice = match arch.number(&rule.name) {
            Some(number) => {
                answers[number as usize] = Some(match rule.cases.is_empty() {
                    true => Answer::Always(rule.otherwise),
                    false => Answer::Cases(rule),
                });
                std::mem::replace(&mut ruled[number as usize], true)
            }
            None if [Arch::X86_64, Arch::Aarch64].iter().any(|arch| arch.number(&rule.name).is_some()) => {
                let twice = elsewhere.contains(&rule.name.as_ref());
                elsewhere.push(&rule.name);
                twice
            }
            None => return Err(CompileError::UnknownSyscall(rule.name.to_string())),
        };
        if twice {
            return Err(CompileError::Duplicate(rule.name.to_string()));
        }
    }
    Ok(answers)
}

fn ranges<'a>(answers: &[Option<Answer<'a>>], unknown: SyscallAction) -> Vec<Range<'a>> {
    let unknown = Answer::Always(unknown);
    let mut ranges: Vec<Range<'a>> = Vec::with_capacity(160);
    for (first, answer) in
        (0u32..).zip(answers.iter().map(|answer| answer.unwrap_or(unknown)).chain([unknown]))
    {
        if ranges.last().is_none_or(|before| before.answer != answer) {
            ranges.push(Range { first, answer });
        }
    }
    ranges
}
