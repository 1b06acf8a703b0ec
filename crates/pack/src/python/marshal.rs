//! Puts compiled Python into its one normal form.
//!
//! ```text
//! .pyc = magic(4) flags(4) source hash(8) marshalled code
//! object = type byte, top bit FLAG_REF: "the next number of the reference table is this object"
//! ```
//!
//! The compiler is deterministic but its serialiser is not: whether an object that nobody refers to gets a
//! number depends on reference counts, and whether a short string is marked as interned on what else
//! the process did. Here unused numbers are dropped, the rest counted anew, and strings are marked by
//! their text alone, as the compiler does for constants. The meaning does not change. Format: CPython 3.11
//! to 3.14, `Python/marshal.c`.

const FLAG_REF: u8 = 0x80;
/// CPython's own bound.
const MAX_DEPTH: u32 = 2000;
/// Length of a .pyc header.
const HEADER: usize = 16;

/// Normalises a whole .pyc; none if it is malformed.
pub fn normalize_pyc(pyc: &[u8]) -> Option<Vec<u8>> {
    let (header, body) = pyc.split_at_checked(HEADER)?;
    let mut out = header.to_vec();
    out.extend(normalize(body)?);
    Some(out)
}

fn normalize(body: &[u8]) -> Option<Vec<u8>> {
    let mut count = Walk { input: body, at: 0, flagged: 0, used: Vec::new(), out: None };
    count.object(0)?;
    if count.at != body.len() {
        return None;
    }
    let mut number = 0;
    let numbers = count
        .used
        .iter()
        .map(|used| {
            let own = used.then_some(number);
            number += u32::from(*used);
            own
        })
        .collect();
    let mut rewrite =
        Walk { input: body, at: 0, flagged: 0, used: Vec::new(), out: Some((Vec::new(), numbers)) };
    rewrite.object(0)?;
    rewrite.out.map(|(out, _)| out)
}

/// One pass over the stream: the first counts references, the second writes.
struct Walk<'a> {
    input: &'a [u8],
    at: usize,
    /// Flagged objects so far: the size of the reader's reference table.
    flagged: usize,
    /// For each of them whether it is referred to.
    used: Vec<bool>,
    /// What is written, and the new number of each flagged object.
    out: Option<(Vec<u8>, Vec<Option<u32>>)>,
}

impl Walk<'_> {
    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let bytes = self.input.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(bytes)
    }

    /// Copies bytes through.
    fn copy(&mut self, length: usize) -> Option<&[u8]> {
        let from = self.at;
        self.take(length)?;
        let bytes = &self.input[from..from + length];
        if let Some((out, _)) = &mut self.out {
            out.extend_from_slice(bytes);
        }
        Some(bytes)
    }

    fn put(&mut self, byte: u8) {
        if let Some((out, _)) = &mut self.out {
            out.push(byte);
        }
    }

    fn length(&mut self) -> Option<usize> {
        let bytes = self.copy(4)?;
        usize::try_from(i32::from_le_bytes(bytes.try_into().ok()?)).ok()
    }

    /// Walks one object; gives whether it was the NULL that ends a dictionary.
    fn object(&mut self, depth: u32) -> Option<bool> {
        if depth > MAX_DEPTH {
            return None;
        }
        let byte = self.take(1)?[0];
        let (kind, flagged) = (byte & !FLAG_REF, byte & FLAG_REF != 0);
        let kind = self.string_kind(kind);
        let mut flag = 0;
        if flagged {
            if let Some((_, numbers)) = &self.out {
                flag = numbers.get(self.flagged)?.map_or(0, |_| FLAG_REF);
            }
            self.flagged += 1;
            self.used.push(false);
        }
        if kind != b'r' {
            self.put(kind | flag);
        }
        match kind {
            b'0' => return Some(true),
            b'N' | b'F' | b'T' | b'S' | b'.' => {}
            b'i' => drop(self.copy(4)?),
            b'g' => drop(self.copy(8)?),
            b'y' => drop(self.copy(16)?),
            b'l' => {
                let digits = i32::from_le_bytes(self.copy(4)?.try_into().ok()?).unsigned_abs();
                self.copy(digits as usize * 2)?;
            }
            b's' | b't' | b'u' | b'a' | b'A' => {
                let length = self.length()?;
                self.copy(length)?;
            }
            b'z' | b'Z' => {
                let length = self.copy(1)?[0];
                self.copy(length.into())?;
            }
            b')' => {
                let count = self.copy(1)?[0];
                self.objects(count.into(), depth)?;
            }
            b'(' | b'[' | b'<' | b'>' => {
                let count = self.length()?;
                self.objects(count, depth)?;
            }
            b'{' => while !self.object(depth + 1)? {},
            b':' => self.objects(3, depth)?,
            b'c' => self.code(depth)?,
            b'r' => self.reference()?,
            _ => return None,
        }
        Some(false)
    }

    fn objects(&mut self, count: usize, depth: u32) -> Option<()> {
        (0..count).try_for_each(|_| self.object(depth + 1).filter(|null| !null).map(|_| ()))
    }

    /// argcount, posonlyargcount, kwonlyargcount, stacksize, flags; code, consts, names, localsplusnames,
    /// localspluskinds, filename, name, qualname; firstlineno; linetable, exceptiontable.
    fn code(&mut self, depth: u32) -> Option<()> {
        self.copy(20)?;
        self.objects(8, depth)?;
        self.copy(4)?;
        self.objects(2, depth)
    }

    fn reference(&mut self) -> Option<()> {
        let old = u32::from_le_bytes(self.take(4)?.try_into().ok()?) as usize;
        *self.used.get_mut(old)? = true;
        if let Some((out, numbers)) = &mut self.out {
            out.push(b'r');
            out.extend((*numbers.get(old)?)?.to_le_bytes());
        }
        Some(())
    }

    /// Whether a string is interned follows from its text; other kinds stay.
    fn string_kind(&self, kind: u8) -> u8 {
        let rest = &self.input[self.at..];
        let text = match kind {
            b'z' | b'Z' => rest.split_first().and_then(|(length, rest)| rest.get(..usize::from(*length))),
            b'a' | b'A' => rest
                .split_first_chunk::<4>()
                .and_then(|(length, rest)| rest.get(..u32::from_le_bytes(*length) as usize)),
            b't' => return b'u',
            _ => return kind,
        };
        let name = text.is_some_and(|text| text.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_'));
        match (kind.to_ascii_lowercase(), name) {
            (b'z', true) => b'Z',
            (b'a', true) => b'A',
            (lower, _) => lower,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &[u8], expect: Option<&[u8]>) {
        assert_eq!(normalize(input).as_deref(), expect, "{input:?}");
    }

    #[test]
    fn references_are_counted_anew() {
        // (flagged unused 7, flagged used "a b", reference to it)
        let input = b"\xa9\x03\xe9\x07\0\0\0\xda\x03a br\x02\0\0\0";
        check(input, Some(b")\x03i\x07\0\0\0\xfa\x03a br\0\0\0\0"));
        // The same without the needless flags.
        check(b")\x03i\x07\0\0\0\xfa\x03a br\0\0\0\0", Some(b")\x03i\x07\0\0\0\xfa\x03a br\0\0\0\0"));
    }

    #[test]
    fn strings_are_marked_by_their_text() {
        check(b"z\x03abc", Some(b"Z\x03abc"));
        check(b"Z\x03a.c", Some(b"z\x03a.c"));
        check(b"A\x01\0\0\0-", Some(b"a\x01\0\0\0-"));
        check(b"t\x02\0\0\0\xc3\xbc", Some(b"u\x02\0\0\0\xc3\xbc"));
    }

    #[test]
    fn hostile_input_is_refused() {
        for bad in [
            &b""[..],
            b"r\0\0\0\0",
            b"(\xff\xff\xff\xff",
            b"(\xff\xff\xff\x7f",
            b"s\xff\xff\xff\x7f",
            b"l\0\0\0\x80",
            b"Nx",
            b"x",
            b"{NN",
            b")\x020N",
            b"z\x05ab",
        ] {
            check(bad, None);
        }
        check(&b")\x01".repeat(5000), None);
    }
}
