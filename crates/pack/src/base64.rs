//! Base64 (RFC 4648): the standard alphabet of npm's integrity and of HTTP, the URL-safe one of RECORD.

/// Which characters stand for 62 and 63.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Alphabet {
    /// `+` and `/` (section 4).
    Standard,
    /// `-` and `_` (section 5).
    UrlSafe,
}

impl Alphabet {
    fn characters(self) -> [u8; 64] {
        let mut all = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        if let Self::UrlSafe = self {
            (all[62], all[63]) = (b'-', b'_');
        }
        all
    }
}

/// The text of the bytes, without padding.
pub(crate) fn encode(bytes: &[u8], alphabet: Alphabet) -> String {
    let characters = alphabet.characters();
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut word = [0; 4];
        word[1..=chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes(word);
        for digit in 0..=chunk.len() {
            out.push(characters[(word >> (18 - 6 * digit) & 63) as usize] as char);
        }
    }
    out
}

/// The `N` bytes that the text stands for, with or without padding; none if it stands for anything else.
pub(crate) fn decode<const N: usize>(text: &str, alphabet: Alphabet) -> Option<[u8; N]> {
    let text = text.trim_end_matches('=');
    if text.len() != (N * 8).div_ceil(6) {
        return None;
    }
    let characters = alphabet.characters();
    let (mut out, mut word, mut bits) = (Vec::with_capacity(N), 0_u32, 0);
    for b in text.bytes() {
        let digit = characters.iter().position(|character| *character == b)?;
        word = (word << 6 | digit as u32) & 0xff_ffff;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits & 0xff) as u8);
        }
    }
    out.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_itself_and_the_rfc() {
        for (bytes, expect) in [("foobar", "Zm9vYmFy"), ("fo", "Zm8"), ("f", "Zg"), ("", "")] {
            assert_eq!(encode(bytes.as_bytes(), Alphabet::Standard), expect);
        }
        for alphabet in [Alphabet::Standard, Alphabet::UrlSafe] {
            let bytes: [u8; 32] = std::array::from_fn(|at| (at * 37 + 200) as u8);
            assert_eq!(decode(&encode(&bytes, alphabet), alphabet), Some(bytes));
            assert_eq!(decode::<32>("short", alphabet), None);
            assert_eq!(decode::<32>(&"!".repeat(43), alphabet), None);
        }
        assert_eq!(decode("_-8=", Alphabet::UrlSafe), Some([0xff, 0xef]));
        assert_eq!(decode::<2>("_-8=", Alphabet::Standard), None);
    }
}
