//! Walks over the records of one file without making lines of them.

use std::io;
use std::os::fd::AsFd;

use super::record::{HEADER, Header, MAX_BYTES};

/// Read at once: a few records of the longest kind.
pub(super) const BLOCK: usize = 256 * 1024;

/// Calls `each` with every whole record's header and bytes up to offset `end`; returns the offset behind the
/// last one.
pub(super) fn walk(file: impl AsFd, end: u64, mut each: impl FnMut(Header, &[u8])) -> io::Result<u64> {
    let mut block = Vec::new();
    let mut at = 0;
    while at < end {
        block.resize(BLOCK.min((end - at) as usize), 0);
        let read = rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut block[..], at))?;
        let mut rest = &block[..read];
        while let Some((head, behind)) = rest.split_first_chunk::<HEADER>() {
            let Some(header) = Header::parse(head) else { return Ok(at) };
            let Some((bytes, behind)) = behind.split_at_checked(header.len) else { break };
            each(header, bytes);
            at += (HEADER + header.len) as u64;
            rest = behind;
        }
        // A block holds several of the longest records: no progress means that the last one is torn.
        if rest.len() == read {
            return Ok(at);
        }
    }
    Ok(at)
}

const _: () = assert!(BLOCK > 2 * (HEADER + MAX_BYTES));

/// The offset behind the last whole record before `end`.
pub(super) fn whole_records(file: impl AsFd, end: u64) -> io::Result<u64> {
    if end == 0 { Ok(0) } else { walk(file, end, |_, _| {}) }
}

/// How many times `\n` occurs.
pub(super) fn newlines(bytes: &[u8]) -> u64 {
    // In parts whose count fits a byte, which the compiler turns into vectors.
    let count = |part: &[u8]| u64::from(part.iter().map(|byte| u8::from(*byte == b'\n')).sum::<u8>());
    bytes.chunks(255).map(count).sum()
}
