//! What reads brought, cut into lines for the drivers that keep lines.

use super::Stream;

/// A longer line is kept in pieces of this many bytes, as Docker keeps it.
pub(super) const LONGEST: usize = 16 * 1024;

/// The lines that the streams have begun.
#[derive(Debug, Default)]
pub(super) struct Lines([Vec<u8>; 2]);

impl Lines {
    /// Calls `each` with every line, its newline included; a piece of a longer one has none.
    pub fn feed(&mut self, stream: Stream, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        let begun = &mut self.0[stream as usize];
        while !bytes.is_empty() {
            let head = &bytes[..bytes.len().min(LONGEST - begun.len())];
            let len = newline(head).map_or(head.len(), |at| at + 1);
            let whole = begun.len() + len == LONGEST || head[len - 1] == b'\n';
            match whole {
                true if begun.is_empty() => each(&head[..len]),
                true => {
                    begun.extend_from_slice(&head[..len]);
                    each(begun);
                    begun.clear();
                }
                false => begun.extend_from_slice(&head[..len]),
            }
            bytes = &bytes[len..];
        }
    }

    /// Calls `each` with what ends without a newline.
    pub fn finish(&mut self, mut each: impl FnMut(Stream, &[u8])) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let begun = std::mem::take(&mut self.0[stream as usize]);
            if !begun.is_empty() {
                each(stream, &begun);
            }
        }
    }
}

/// Where the first newline is.
pub(super) fn newline(bytes: &[u8]) -> Option<usize> {
    // The standard library's own memchr, by its only door.
    let read = std::io::BufRead::skip_until(&mut &bytes[..], b'\n').unwrap_or_default();
    (read > 0 && bytes[read - 1] == b'\n').then(|| read - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_long_ones_in_pieces() {
        fn check(reads: &[&[u8]], expect: &[usize]) {
            let (mut lines, mut found) = (Lines::default(), Vec::new());
            reads.iter().for_each(|read| lines.feed(Stream::Stdout, read, |line| found.push(line.to_vec())));
            lines.finish(|_, line| found.push(line.to_vec()));
            assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), expect);
            assert_eq!(found.concat(), reads.concat());
        }
        check(&[b"a\nbc\n"], &[2, 3]);
        check(&[b"a", b"b\n\n", b"c"], &[3, 1, 1]);
        let long = vec![b'x'; LONGEST];
        check(&[&long, b"\n"], &[LONGEST, 1]);
        check(&[&long[1..], b"\ny"], &[LONGEST, 1]);
        check(&[&long, &long, b"tail\n"], &[LONGEST, LONGEST, 5]);
        check(&[&long[..10], &long, b"\n"], &[LONGEST, 11]);
    }
}
