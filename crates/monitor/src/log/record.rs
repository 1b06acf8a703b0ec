//! One record: header in, header out.

/// Which of the container's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The longest record's bytes.
pub(super) const MAX_BYTES: usize = 64 * 1024;
/// Length of the header.
pub(super) const HEADER: usize = 14;
const UNFINISHED: u8 = 1;

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Nanoseconds since the epoch; never 0.
    pub time_ns: u64,
    /// Where the bytes came from.
    pub stream: Stream,
    /// How many bytes follow.
    pub len: usize,
}

impl Header {
    /// The header of these bytes, of which there are at most [`MAX_BYTES`].
    pub fn of(time_ns: u64, stream: Stream, bytes: &[u8]) -> [u8; HEADER] {
        let mut head = [0; HEADER];
        head[..8].copy_from_slice(&time_ns.max(1).to_le_bytes());
        head[8] = match stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        };
        head[9] = if bytes.last() == Some(&b'\n') { 0 } else { UNFINISHED };
        head[10..].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        head
    }

    /// None for what no writer of ours wrote, e.g. the zeros that a power failure leaves.
    pub fn parse(head: &[u8; HEADER]) -> Option<Self> {
        let [t0, t1, t2, t3, t4, t5, t6, t7, stream, flags, l0, l1, l2, l3] = *head;
        let time_ns = u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let stream = match stream {
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            _ => return None,
        };
        let valid = time_ns != 0 && flags <= UNFINISHED && (1..=MAX_BYTES).contains(&len);
        valid.then_some(Self { time_ns, stream, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_come_back() {
        for (time_ns, stream, bytes) in
            [(1, Stream::Stdout, &b"a\n"[..]), (u64::MAX, Stream::Stderr, &[0; MAX_BYTES])]
        {
            let head = Header::of(time_ns, stream, bytes);
            assert_eq!(Header::parse(&head), Some(Header { time_ns, stream, len: bytes.len() }));
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let good = Header::of(7, Stream::Stdout, b"a");
        for (at, byte) in [(0, 0), (8, 0), (8, 3), (9, 2), (10, 0), (12, 2), (13, 1)] {
            let mut bad = good;
            bad[at] = byte;
            assert_eq!(Header::parse(&bad), None, "byte {at} = {byte}");
        }
        assert_eq!(Header::parse(&[0; HEADER]), None);
    }
}
