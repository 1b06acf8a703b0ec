use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Error;
use crate::files::open_plain;

const PT_INTERP: u32 = 3;

/// Refuses a program that needs a loader or another machine: its image holds nothing but itself.
///
/// # Errors
/// [`Error::Project`] naming what it needs.
pub(crate) fn require_static(path: &Path) -> Result<(), Error> {
    let fail = |reason: &str| Error::Project { path: path.to_owned(), reason: reason.to_owned() };
    let file = open_plain(path)?;
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0).map_err(|_| fail("is a cut-off ELF file"))?;
    if head[4] != 2 || head[5] != 1 {
        return Err(fail("is not a 64-bit little-endian program"));
    }
    let machine = u16::from_le_bytes([head[18], head[19]]);
    let own = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    if machine != own {
        return Err(fail("is a program for another architecture"));
    }
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| head[at + i]));
    let (offset, count) = (word(32), u16::from_le_bytes([head[56], head[57]]));
    for index in 0..u64::from(count) {
        let mut kind = [0; 4];
        let at = offset.checked_add(index * 56).ok_or_else(|| fail("is a damaged ELF file"))?;
        file.read_exact_at(&mut kind, at).map_err(|_| fail("is a cut-off ELF file"))?;
        if u32::from_le_bytes(kind) == PT_INTERP {
            return Err(fail(
                "is dynamically linked: link it statically, or name the Debian packages of its libraries in [tool.corral] packages and its entrypoint",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_programs() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().canonicalize().expect("canonical").join("x");
        let check = |bytes: &[u8], expect: &str| {
            std::fs::write(&path, bytes).expect("written");
            let shown = require_static(&path).map_or_else(|error| error.to_string(), |()| "static".into());
            assert!(shown.contains(expect), "{shown}");
        };
        let mut elf = vec![0; 120];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18] = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
        (elf[32], elf[56]) = (64, 1);
        check(&elf, "static");
        elf[64] = 3;
        check(&elf, "dynamically linked");
        elf[32..40].fill(0xff);
        check(&elf, "cut-off");
        elf[18] = 8;
        check(&elf, "another architecture");
        elf[4] = 1;
        check(&elf, "64-bit");
        check(b"\x7fELF", "cut-off");
    }
}
