//! The key sequence that lets go of a container without ending it.

use std::str::FromStr;

/// A `--detach-keys` value: Docker's grammar, keys separated by commas, each a single character, `DEL`, or
/// `ctrl-` and one of `a`–`z`, `@`, `[`, `\`, `]`, `^`, `_`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

/// A text that is no key sequence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid detach keys: {0:?} is no key; expected for example ctrl-p,ctrl-q or a")]
pub struct DetachKeysError(String);

impl Default for DetachKeys {
    /// `ctrl-p,ctrl-q`.
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

impl FromStr for DetachKeys {
    type Err = DetachKeysError;

    fn from_str(text: &str) -> Result<Self, DetachKeysError> {
        let key = |key: &str| match (key.as_bytes(), key.strip_prefix("ctrl-").map(str::as_bytes)) {
            ([single], _) => Some(*single),
            (b"DEL", _) => Some(127),
            (_, Some([letter @ b'a'..=b'z'])) => Some(letter - b'a' + 1),
            (_, Some([sign @ (b'@' | b'['..=b'_')])) => Some(sign & 0x1f),
            _ => None,
        };
        text.split(',')
            .map(|word| key(word).ok_or_else(|| DetachKeysError(word.chars().take(40).collect())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Finds the sequence in what is typed. A beginning of it is held back until it is clear that it is
/// not the whole, so the container never sees half of it.
#[derive(Debug)]
pub struct KeyWatch {
    keys: DetachKeys,
    matched: usize,
}

impl KeyWatch {
    /// Watches for these keys.
    pub fn new(keys: DetachKeys) -> Self {
        Self { keys, matched: 0 }
    }

    /// Appends to `pass` what the container may see of `typed`; true when the sequence was completed
    /// (what was typed behind it is dropped).
    pub fn feed(&mut self, typed: &[u8], pass: &mut Vec<u8>) -> bool {
        let keys = &self.keys.0;
        for byte in typed {
            while self.matched > 0 && keys[self.matched] != *byte {
                // The held bytes are keys[..matched]: the longest end of them that is also a beginning of
                // the sequence stays held, the rest goes out.
                let keep =
                    (0..self.matched).rev().find(|n| keys[..*n] == keys[self.matched - n..self.matched]);
                let keep = keep.unwrap_or(0);
                pass.extend_from_slice(&keys[..self.matched - keep]);
                self.matched = keep;
            }
            if keys[self.matched] != *byte {
                pass.push(*byte);
                continue;
            }
            self.matched += 1;
            if self.matched == keys.len() {
                self.matched = 0;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar_is_dockers() {
        for (text, keys) in [
            ("ctrl-p,ctrl-q", &[16, 17][..]),
            ("a", b"a"),
            ("ctrl-a,a,DEL", &[1, b'a', 127]),
            ("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", &[0, 27, 28, 29, 30, 31]),
        ] {
            assert_eq!(text.parse(), Ok(DetachKeys(keys.to_vec())), "{text}");
        }
        for bad in ["", ",", "ctrl-", "ctrl-A", "ctrl-1", "ctrl-pq", "CTRL-p", "ab", "a,", "é"] {
            assert!(bad.parse::<DetachKeys>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_whole_sequence_detaches() {
        fn check(keys: &str, typed: &[u8], pass: &[u8], detached: bool) {
            for step in [1, 2, typed.len().max(1)] {
                let mut watch = KeyWatch::new(keys.parse().unwrap());
                let mut seen = Vec::new();
                let found = typed.chunks(step).any(|part| watch.feed(part, &mut seen));
                assert_eq!((seen.as_slice(), found), (pass, detached), "{keys} {typed:?} by {step}");
            }
        }
        check("ctrl-p,ctrl-q", b"ls\n", b"ls\n", false);
        check("ctrl-p,ctrl-q", b"a\x10\x11", b"a", true);
        check("ctrl-p,ctrl-q", b"a\x10b", b"a\x10b", false);
        check("ctrl-p,ctrl-q", b"\x10\x10\x11", b"\x10", true);
        check("ctrl-p,ctrl-q", b"\x10", b"", false);
        check("a,a,b", b"aaab", b"a", true);
        check("a,b,a,c", b"ababac", b"ab", true);
        check("x", b"yx", b"y", true);
    }
}
