//! Takes out of a stream what would act on the terminal that shows it.
//!
//! A log is text of a stranger. Sent to a terminal as it is, it can write the clipboard (OSC 52), set titles,
//! and make the terminal *type*: reports of status, title, colours or mouse arrive as input of the shell that
//! comes after. So this lists what may pass, colours and the movements of progress bars, and drops the rest:
//! a sequence that no one thought of is dropped too.
//!
//! ```text
//!            ESC                   [
//! Ground ──────────▶ Escape ──────────────▶ Csi ── final byte: pass if listed ──▶ Ground
//!   ▲  C2 9B ─────────────────────────────▶  │
//!   │                  │ ] P X ^ _           └── a byte that cannot be there: dropped ──▶ Ground
//!   │                  ▼
//!   └── BEL, ST, LF, CAN, 4096 bytes ── String (OSC, DCS, SOS, PM, APC: nothing of it passes)
//! ```

/// The state between two pieces of a stream. Pieces may be cut anywhere: what is let out is never an
/// unfinished sequence or character.
#[derive(Clone, Debug, Default)]
pub struct TerminalFilter {
    state: State,
    /// The sequence or character begun and not yet judged.
    held: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    /// Inside a UTF-8 character that lacks this many bytes.
    Character(u8),
    Escape,
    /// Between ESC and the final byte of a sequence such as `ESC ( B`.
    EscapeIntermediate,
    Csi,
    /// Inside a string of which this many bytes went by.
    String(u16),
    /// After ESC in a string.
    StringEscape(u16),
}

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
/// Cancel and substitute: end any sequence.
const CANCEL: [u8; 2] = [0x18, 0x1a];
const LONGEST_CSI: usize = 64;
const LONGEST_STRING: u16 = 4096;
/// Cursor up, down, forward, back, next and previous line, column, position, line; erase; insert and delete;
/// scroll; colours.
const HARMLESS: &[u8] = b"ABCDEFGHJKLMPSTX@`adefm";

impl TerminalFilter {
    /// Appends what may be shown of `input` to `out`.
    pub fn feed(&mut self, input: &[u8], out: &mut Vec<u8>) {
        let mut rest = input;
        while let Some(byte) = rest.first() {
            if self.state == State::Ground {
                let plain = rest.iter().take_while(|byte| is_plain(**byte)).count();
                out.extend_from_slice(&rest[..plain]);
                rest = &rest[plain..];
                if let Some(byte) = rest.first() {
                    self.begin(*byte);
                    rest = &rest[1..];
                }
            } else if self.step(*byte, out) {
                rest = &rest[1..];
            }
        }
    }

    /// Outside any sequence, a byte that is not plain.
    fn begin(&mut self, byte: u8) {
        self.state = match byte {
            ESC => State::Escape,
            0xc2..=0xdf => State::Character(1),
            0xe0..=0xef => State::Character(2),
            0xf0..=0xf4 => State::Character(3),
            // Other control characters, and bytes that are C1 controls to a terminal not in UTF-8 mode.
            _ => return,
        };
        self.held.clear();
        self.held.push(byte);
    }

    /// Inside a sequence. False: the byte does not belong to it and is to be looked at again.
    fn step(&mut self, byte: u8, out: &mut Vec<u8>) -> bool {
        match self.state {
            State::Ground => false,
            State::Character(missing) => self.character(missing, byte, out),
            State::Escape => {
                self.state = match byte {
                    b'[' => {
                        self.held.push(byte);
                        State::Csi
                    }
                    b']' | b'P' | b'X' | b'^' | b'_' => State::String(0),
                    0x20..=0x2f => State::EscapeIntermediate,
                    _ => State::Ground,
                };
                // ESC and a printable are one sequence; a control character is not part of it.
                (0x20..0x7f).contains(&byte)
            }
            State::EscapeIntermediate => {
                if !(0x20..=0x2f).contains(&byte) {
                    self.state = State::Ground;
                }
                (0x20..0x7f).contains(&byte)
            }
            State::Csi => self.csi(byte, out),
            State::String(length) => {
                self.state = match byte {
                    ESC => State::StringEscape(length),
                    BEL | b'\n' => State::Ground,
                    _ if CANCEL.contains(&byte) || length >= LONGEST_STRING => State::Ground,
                    // ST as UTF-8 is C2 9C; the byte 9C alone may be the end of a character such as U+201C.
                    0xc2 => {
                        self.held.clear();
                        self.held.push(byte);
                        State::String(length + 1)
                    }
                    0x9c if self.held == [0xc2] => State::Ground,
                    _ => {
                        self.held.clear();
                        State::String(length + 1)
                    }
                };
                byte != b'\n'
            }
            State::StringEscape(_) => {
                // ESC \ is ST. Any other ESC ends the string as well and begins a sequence of its own.
                self.state = if byte == b'\\' { State::Ground } else { State::Escape };
                byte == b'\\'
            }
        }
    }

    fn character(&mut self, missing: u8, byte: u8, out: &mut Vec<u8>) -> bool {
        if !(0x80..0xc0).contains(&byte) {
            self.state = State::Ground;
            return false;
        }
        if self.held == [0xc2] && byte < 0xa0 {
            // A C1 control in UTF-8: U+0080 to U+009F.
            self.state = match byte {
                0x9b => {
                    self.held.clear();
                    self.held.extend_from_slice(b"\x1b[");
                    State::Csi
                }
                0x90 | 0x98 | 0x9d..=0x9f => State::String(0),
                _ => State::Ground,
            };
            return true;
        }
        self.held.push(byte);
        self.state = match missing {
            1 => {
                // Overlong forms and surrogates are no characters, though a terminal may read a control in them.
                if std::str::from_utf8(&self.held).is_ok() {
                    out.extend_from_slice(&self.held);
                }
                State::Ground
            }
            more => State::Character(more - 1),
        };
        true
    }

    fn csi(&mut self, byte: u8, out: &mut Vec<u8>) -> bool {
        match byte {
            0x20..=0x3f => {
                // One that is too long to be meant stays at the limit, and its final byte makes it too long.
                if self.held.len() < LONGEST_CSI {
                    self.held.push(byte);
                }
                true
            }
            0x40..=0x7e => {
                self.held.push(byte);
                // Private markers (< = > ?) and intermediates give a final byte another meaning.
                let ordinary = self.held[2..self.held.len() - 1]
                    .iter()
                    .all(|byte| matches!(byte, b'0'..=b'9' | b';' | b':'));
                if ordinary && self.held.len() <= LONGEST_CSI && HARMLESS.contains(&byte) {
                    out.extend_from_slice(&self.held);
                }
                self.state = State::Ground;
                true
            }
            _ => {
                self.state = State::Ground;
                CANCEL.contains(&byte)
            }
        }
    }
}

/// Printable ASCII, and the controls that only move: backspace, tab, line feed, carriage return.
fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e | 0x08..=0x0a | b'\r')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &[u8], expect: &[u8]) {
        for step in [1, 2, 3, 5, input.len().max(1)] {
            let mut filter = TerminalFilter::default();
            let mut out = Vec::new();
            input.chunks(step).for_each(|part| filter.feed(part, &mut out));
            assert_eq!(
                String::from_utf8_lossy(&out),
                String::from_utf8_lossy(expect),
                "{:?} in pieces of {step}",
                String::from_utf8_lossy(input)
            );
        }
    }

    #[test]
    fn text_colours_and_progress_bars_pass() {
        for text in [
            "plain\ttext\r\n",
            "naïve — 漢字 🐴",
            "\x1b[31mred\x1b[0m",
            "\x1b[1;38;2;1;2;3mtrue\x1b[m",
            "\x1b[4:3mcurly",
            "\x1b[2K\r\x1b[1A 50 %\x08",
            "\x1b[12;40Hx",
        ] {
            check(text.as_bytes(), text.as_bytes());
        }
    }

    #[test]
    fn what_acts_on_the_terminal_is_removed() {
        for (input, expect) in [
            ("a\x1b]52;c;cm0gLXJmIH4=\x07b", "ab"),
            ("a\x1b]52;c;cm0gLXJmIH4=\x1b\\b", "ab"),
            ("a\x1b]0;title\x07b", "ab"),
            ("a\u{9d}52;c;x\u{9c}b", "ab"),
            ("a\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "alink"),
            ("a\x1b[6nb", "ab"),
            ("a\x1b[cb\x1b[>cc\x1b[=c", "abc"),
            ("a\x1b[21tb", "ab"),
            ("a\x1b[?1000hb\x1b[?2004hc", "abc"),
            ("a\x1b[?1049hb", "ab"),
            ("a\x1b[>4;2mb", "ab"),
            ("a\x1b[?6$pb", "ab"),
            ("a\x1b[5ib", "ab"),
            ("a\u{9b}6nb", "ab"),
            ("a\u{9b}31mb", "a\x1b[31mb"),
            ("a\x1bP$qm\x1b\\b", "ab"),
            ("a\x1b_Gi=31;AAAA\x1b\\b", "ab"),
            ("a\x1b^pm\x1b\\b\x1bXsos\x1b\\c", "abc"),
            ("a\x1bcb\x1bZc\x1b7d\x1b(0e", "abcde"),
            ("a\x05b\x0ec\x0fd\x00e\x7ff\x0bg", "abcdefg"),
            ("a\x1b\x1b]52;c;x\x07b", "ab"),
            ("a\x1b[3\x1b]52;c;x\x07b", "ab"),
            ("a\x1b]x\x1b]52;c;x\x07b", "ab"),
            ("a\x1b[3\nb", "a\nb"),
            ("a\x1b[3\x18b", "ab"),
            ("a\x1b]never ended\nb", "a\nb"),
            ("a\x1b", "a"),
            ("“quoted” \x1b]0;“x”\x07b", "“quoted” b"),
        ] {
            check(input.as_bytes(), expect.as_bytes());
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_removed() {
        for (input, expect) in [
            (&b"a\x9b6nb"[..], &b"a6nb"[..]),
            (b"a\x9d52;c;x\x9cb", b"a52;c;xb"),
            (b"a\xc0\x9bb", b"ab"),
            (b"a\xe0\x82\x9b6nb", b"a6nb"),
            (b"a\xff\xfeb", b"ab"),
            (b"a\xe2\x82b", b"ab"),
            (b"a\xc2\x1b]52;c;x\x07b", b"ab"),
            (b"a\xed\xa0\x80b", b"ab"),
        ] {
            check(input, expect);
        }
    }

    #[test]
    fn unfinished_sequences_do_not_grow() {
        let mut filter = TerminalFilter::default();
        let mut out = Vec::new();
        filter.feed(b"\x1b[", &mut out);
        filter.feed(&[b'1'; 100_000], &mut out);
        assert!(filter.held.len() <= LONGEST_CSI + 1);
        filter.feed(b"mX", &mut out);
        assert_eq!(out, b"X");
        filter.feed(b"\x1b]", &mut out);
        filter.feed(&[b'y'; 5000], &mut out);
        assert_eq!(
            out.len(),
            1 + 5000 - 1 - usize::from(LONGEST_STRING),
            "the tail of a runaway string shows"
        );
    }
}
