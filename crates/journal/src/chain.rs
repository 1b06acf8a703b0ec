//! The keyed hash that ties each record to the one before it: HMAC-SHA-256 (RFC 2104).

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

const BLOCK: usize = 64;

/// A key; it has no `Debug` output.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key(pub [u8; 32]);

/// The end of a chain: what the record that follows is tied to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mac(pub [u8; 32]);

impl Mac {
    /// Before the first record.
    pub const NONE: Self = Self([0; 32]);
}

impl Key {
    /// The keyed hash of these parts, one after the other.
    pub fn mac(&self, parts: &[&[u8]]) -> Mac {
        let mut pad = [0x36; BLOCK];
        pad.iter_mut().zip(self.0).for_each(|(byte, key)| *byte ^= key);
        let mut inner = Sha256::new_with_prefix(pad);
        parts.iter().for_each(|part| inner.update(part));
        pad.iter_mut().for_each(|byte| *byte ^= 0x36 ^ 0x5c);
        let outer = Sha256::new_with_prefix(pad).chain_update(inner.finalize());
        Mac(outer.finalize().into())
    }

    /// The key of one segment.
    pub fn of_segment(&self, lane: u32, number: u64) -> Self {
        Self(self.mac(&[b"corral journal segment", &lane.to_le_bytes(), &number.to_le_bytes()]).0)
    }

    /// The key of the document of anchors.
    pub fn of_anchors(&self) -> Self {
        Self(self.mac(&[b"corral journal anchors"]).0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Mac {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(()),
        };
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(()) };
        let mut mac = [0; 32];
        if pairs.len() != mac.len() {
            return Err(());
        }
        for (byte, [high, low]) in mac.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(mac))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As HMAC pads a short key.
    fn key(bytes: &[u8]) -> Key {
        let mut padded = [0; 32];
        padded[..bytes.len()].copy_from_slice(bytes);
        Key(padded)
    }

    /// RFC 4231, test cases 1 and 2.
    #[test]
    fn published_vectors() {
        for (with, text, expect) in [
            (
                &[0x0b; 20][..],
                &b"Hi There"[..],
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
        ] {
            assert_eq!(key(with).mac(&[text]).to_string(), expect);
            assert_eq!(key(with).mac(&[&text[..3], &text[3..]]).to_string(), expect);
            assert_eq!(expect.parse(), Ok(key(with).mac(&[text])));
        }
        for bad in ["", "b0", &"g".repeat(64), &"0".repeat(66)] {
            assert_eq!(bad.parse::<Mac>(), Err(()), "{bad}");
        }
    }
}
