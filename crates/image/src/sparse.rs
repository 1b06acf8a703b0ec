use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The page of most machines, and the block of most file systems.
const BLOCK: usize = 4096;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Writes a new file from its beginning to its end and leaves holes where it is zero: a container pays nothing for
/// a file of terabytes without contents, so its copy must not cost any either.
pub(crate) struct SparseFile<'f> {
    file: &'f File,
    /// Bytes that were told.
    length: u64,
    /// End of what was written.
    written: u64,
}

impl<'f> SparseFile<'f> {
    pub(crate) const fn new(file: &'f File) -> Self {
        Self { file, length: 0, written: 0 }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        // Up to the next block of the file, then block by block; what lies between zeros is written as one.
        let mut run = 0;
        while run < rest.len() {
            let inside = ((self.length + run as u64) % BLOCK as u64) as usize;
            let piece = (BLOCK - inside).min(rest.len() - run);
            if rest[run..run + piece] != ZEROS[..piece] {
                run += piece;
                continue;
            }
            self.data(&rest[..run])?;
            self.length += piece as u64;
            rest = &rest[run + piece..];
            run = 0;
        }
        self.data(rest)
    }

    /// Gives the file its length, if it ends in a hole.
    pub(crate) fn finish(self) -> io::Result<()> {
        if self.written == self.length { Ok(()) } else { self.file.set_len(self.length) }
    }

    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(bytes, self.length)?;
        self.length += bytes.len() as u64;
        self.written = self.length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn zeros_become_holes_and_nothing_else_does() {
        let path = std::env::temp_dir().join(format!("corral-sparse-{}", std::process::id()));
        let check = |whole: &[u8], chunk: usize, blocks: u64| {
            let file = File::create(&path).expect("file");
            let mut sparse = SparseFile::new(&file);
            for chunk in whole.chunks(chunk) {
                sparse.write(chunk).expect("written");
            }
            sparse.finish().expect("finished");
            let mut read = Vec::new();
            File::open(&path).and_then(|mut file| file.read_to_end(&mut read)).expect("read");
            assert!(read == whole, "{} bytes by {chunk}", whole.len());
            let taken = file.metadata().expect("metadata").blocks() * 512;
            assert!(taken <= blocks * BLOCK as u64, "{} bytes by {chunk} take {taken}", whole.len());
        };
        let at = |length: usize, places: &[usize]| {
            let mut whole = vec![0; length];
            for place in places {
                whole[*place] = 1;
            }
            whole
        };
        for chunk in [1 << 20, 4096, 4095, 512, 7] {
            check(&[], chunk, 0);
            check(&at(100_000, &[]), chunk, 0);
            check(&at(100_000, &[0]), chunk, 1);
            check(&at(100_000, &[99_999]), chunk, 1);
            check(&at(100_000, &[5_000, 50_000, 50_001]), chunk, 2);
            check(&at(4_096, &[0]), chunk, 1);
            check(&[1; 10_000], chunk, 3);
        }
        std::fs::remove_file(path).expect("removed");
    }
}
