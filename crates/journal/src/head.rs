//! A lane's head: where its next record goes. In memory, so that it costs no disk and says nothing after a reboot.
//!
//! ```text
//!  0        8        16       24      32      40     72     104       112
//! ┌────────┬────────┬────────┬───────┬───────┬──────┬──────┬─────────┐
//! │ magic  │segment │ offset │  seq  │ time  │ mac  │ key  │ hash[8] │
//! └────────┴────────┴────────┴───────┴───────┴──────┴──────┴─────────┘
//!           numbers are u64 LE                 key of the segment
//! ```

use std::os::fd::AsFd;

use sha2::{Digest, Sha256};

use crate::chain::{Key, Mac};
use crate::line::Link;

const MAGIC: &[u8; 8] = b"corraljh";
const SIZE: usize = 112;

/// Where the next record of a lane goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The segment's number.
    pub number: u64,
    /// Its size.
    pub offset: u64,
    /// Its last record.
    pub link: Link,
    /// Its key.
    pub key: Key,
}

impl Head {
    /// What the file says; none if it says nothing that is ours.
    pub fn read(file: impl AsFd) -> rustix::io::Result<Option<Self>> {
        let mut bytes = [0; SIZE];
        let read = rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut bytes, 0))?;
        Ok(if read == SIZE { Self::parse(&bytes) } else { None })
    }

    /// Puts this in its place.
    pub fn write(&self, file: impl AsFd) -> rustix::io::Result<()> {
        let bytes = self.bytes();
        rustix::io::retry_on_intr(|| rustix::io::pwrite(&file, &bytes, 0)).map(drop)
    }

    fn bytes(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(MAGIC);
        let numbers = [self.number, self.offset, self.link.seq, self.link.time_ns];
        for (at, number) in numbers.into_iter().enumerate() {
            bytes[8 + 8 * at..16 + 8 * at].copy_from_slice(&number.to_le_bytes());
        }
        bytes[40..72].copy_from_slice(&self.link.mac.0);
        bytes[72..104].copy_from_slice(&self.key.0);
        let hash = Sha256::digest(&bytes[..104]);
        bytes[104..].copy_from_slice(&hash[..8]);
        bytes
    }

    fn parse(bytes: &[u8; SIZE]) -> Option<Self> {
        let number = |at: usize| bytes[at..].first_chunk().map(|chunk| u64::from_le_bytes(*chunk));
        let long = |at: usize| bytes[at..].first_chunk::<32>().copied();
        let head = Self {
            number: number(8)?,
            offset: number(16)?,
            link: Link { seq: number(24)?, time_ns: number(32)?, mac: Mac(long(40)?) },
            key: Key(long(72)?),
        };
        (head.bytes() == *bytes).then_some(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back_and_nothing_else_does() {
        let link = Link { seq: 7, time_ns: 1_795_303_325_000_000_007, mac: Mac([3; 32]) };
        let head = Head { number: 2, offset: 4096, link, key: Key([9; 32]) };
        let bytes = head.bytes();
        assert_eq!(Head::parse(&bytes), Some(head));
        for at in 0..SIZE {
            let mut bad = bytes;
            bad[at] ^= 1;
            assert_eq!(Head::parse(&bad), None, "byte {at}");
        }
    }
}
