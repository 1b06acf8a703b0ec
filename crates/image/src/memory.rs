use std::path::Path;

use crate::Error;

/// Room for a million directories or hard links with names of ordinary length.
const HELD: usize = 256 << 20;
/// What a path costs besides its bytes: a place in a list or a map, attributes, the allocation.
const PLACE: usize = 128;

/// A bound for what is held in memory until a later entry needs it. Paths above all: an archive of a few
/// megabytes, or a container, can make millions of them, of 4,095 bytes each.
#[derive(Debug)]
pub(crate) struct Memory {
    left: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self { left: HELD }
    }
}

impl Memory {
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), Error> {
        let limit = Error::Limit { what: "bytes of names and paths to remember", limit: HELD as u64 };
        self.left = self.left.checked_sub(bytes).ok_or(limit)?;
        Ok(())
    }

    /// What was taken is held no more.
    pub(crate) const fn give_back(&mut self, bytes: usize) {
        self.left += bytes;
    }

    /// For a path that is held with something small.
    pub(crate) fn path(&mut self, path: &Path) -> Result<(), Error> {
        self.take(path.as_os_str().len() + PLACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_bounded() {
        let mut memory = Memory::default();
        let path = "p".repeat(4095);
        let held = (0..100_000).take_while(|_| memory.path(Path::new(&path)).is_ok()).count();
        assert!((60_000..66_000).contains(&held), "{held}");
        memory.give_back(4096);
        assert!(memory.take(4096).is_ok() && memory.take(HELD).is_err());
    }
}
