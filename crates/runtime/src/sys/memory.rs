//! What a process that mostly sleeps does with its memory.

use std::io;

use crate::kernel_file;

/// Gives the pages of this program's code and constants back: the kernel maps sixteen around each that is touched, so
/// that a process which has done its work once and then waits for days holds megabytes that it never looks at. They
/// stay in the page cache and are mapped again when they are touched.
///
/// # Errors
/// When /proc cannot be read; nothing depends on it.
pub fn give_back_program() -> io::Result<()> {
    let mut ranges = [(0, 0); MAPPINGS];
    {
        let maps = kernel_file::read("/proc/self/maps")?;
        let found = maps.lines().filter_map(read_only_file);
        ranges.iter_mut().zip(found).for_each(|(range, found)| *range = found);
    }
    // From here on as little as possible runs: it is mapped again with its surroundings.
    for (start, end) in ranges {
        // SAFETY: the range is empty, or a mapping of this process that is private, never written, and backed by a file
        // that cannot change while it is executed (ETXTBSY): the next access reads the same bytes. A failure leaves it.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
    Ok(())
}

/// Overwrites the words and the environment that this process was started with, which whoever sees it in /proc could
/// read: `--env` and paths of the host. The process goes by the name of `corral` from then on.
///
/// # Errors
/// When /proc does not say where they are.
pub(crate) fn hide_words() -> io::Result<()> {
    let stat = kernel_file::read_single("/proc/self/stat")?;
    let [arguments, environment] = words(&stat).ok_or(io::ErrorKind::InvalidData)?;
    for range in [&arguments, &environment] {
        // SAFETY: the kernel wrote these strings to the top of this process's stack, below no frame of it, and maps it
        // for writing; std keeps pointers into them, which still lead to terminated strings, if empty ones.
        unsafe { std::ptr::write_bytes(range.start as *mut u8, 0, range.len()) };
    }
    if arguments.len() > NAME.len() {
        // SAFETY: as above; a byte for the end is left.
        unsafe { std::ptr::copy_nonoverlapping(NAME.as_ptr(), arguments.start as *mut u8, NAME.len()) };
    }
    Ok(())
}

const NAME: &[u8] = b"corral";

/// Where words and environment are (proc_pid_stat(5), fields 48 to 51).
fn words(stat: &str) -> Option<[std::ops::Range<usize>; 2]> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(45).map(|field| field.parse::<usize>().ok());
    let mut range = || {
        let (start, end) = (fields.next()??, fields.next()??);
        (start != 0 && start <= end).then_some(start..end)
    };
    Some([range()?, range()?])
}

/// A static program has two or three.
const MAPPINGS: usize = 4;

/// The bounds of a mapping that a file backs and nobody can write (proc_pid_maps(5)).
fn read_only_file(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (range, flags, inode) = (fields.next()?, fields.next()?, fields.nth(2)?);
    if !flags.starts_with('r') || flags.contains('w') || !flags.ends_with('p') || inode == "0" {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_file_can_give_again() {
        let check =
            |line: &str, expect: Option<(usize, usize)>| assert_eq!(read_only_file(line), expect, "{line}");
        check("00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/x", Some((0x40_0000, 0x45_2000)));
        check("00452000-00453000 r--p 00052000 08:02 173521      /usr/bin/x", Some((0x45_2000, 0x45_3000)));
        check("00453000-00454000 rw-p 00053000 08:02 173521      /usr/bin/x", None);
        check("00454000-00455000 r--s 00053000 08:02 173521      /usr/bin/x", None);
        check("7ffc0000-7ffc2000 r-xp 00000000 00:00 0           [vdso]", None);
        check("nonsense", None);
    }

    #[test]
    fn a_program_goes_on_without_its_pages() {
        give_back_program().unwrap();
        assert_eq!(format!("{:?}", [1, 2].iter().sum::<i32>()), "3");
    }
}
