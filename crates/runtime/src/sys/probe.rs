use std::io;

use super::check;

/// Any system call with numbers and null pointers only, to see whether a filter lets it through. The
/// caller chooses arguments under which the kernel would refuse or do nothing.
#[cfg(test)]
pub(crate) fn attempt(number: i64, args: [u64; 3]) -> io::Result<i64> {
    // SAFETY: no argument points into this process's memory, by the caller's choice of numbers.
    check(unsafe { libc::syscall(number, args[0], args[1], args[2], 0_u64, 0_u64, 0_u64) })
}
