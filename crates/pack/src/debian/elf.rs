//! The little of ELF that a linker cache needs: whether a file is a 64-bit little-endian shared object of
//! an architecture, and its DT_SONAME (System V gABI, chapters 4 and 5).

use super::Architecture;
use super::content::Bytes;

const ET_DYN: u64 = 3;
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;
/// Program headers and dynamic entries of real libraries are far fewer.
const ENTRIES_LIMIT: u64 = 4096;
const NAME_LIMIT: u64 = 256;

/// The soname of a shared object; `None` for everything else, malformed files among it.
pub(super) fn soname(file: &Bytes, architecture: Architecture) -> Option<String> {
    let header = file.range(0, 64)?;
    let machine = match architecture {
        Architecture::Amd64 => 62,
        Architecture::Arm64 => 183,
    };
    // Class 64, little-endian, version 1.
    if !header.starts_with(b"\x7fELF\x02\x01\x01")
        || number(&header, 16, 2)? != ET_DYN
        || number(&header, 18, 2)? != machine
    {
        return None;
    }
    let (offset, size, count) = (number(&header, 32, 8)?, number(&header, 54, 2)?, number(&header, 56, 2)?);
    if size != 56 || count > ENTRIES_LIMIT {
        return None;
    }
    let table = file.range(offset, size * count)?;
    // Type, file offset, address, length in the file.
    let segments: Vec<[u64; 4]> = table
        .chunks_exact(56)
        .filter_map(|entry| {
            Some([number(entry, 0, 4)?, number(entry, 8, 8)?, number(entry, 16, 8)?, number(entry, 32, 8)?])
        })
        .collect();
    let [_, offset, _, length] = segments.iter().find(|segment| segment[0] == PT_DYNAMIC)?;
    let dynamic = file.range(*offset, (*length).min(ENTRIES_LIMIT * 16))?;
    let value = |tag: u64| {
        dynamic
            .chunks_exact(16)
            .take_while(|entry| number(entry, 0, 8) != Some(0))
            .find_map(|entry| (number(entry, 0, 8)? == tag).then(|| number(entry, 8, 8)).flatten())
    };
    let address = value(DT_STRTAB)?.checked_add(value(DT_SONAME)?)?;
    let load = segments.iter().find(|[kind, _, start, length]| {
        *kind == PT_LOAD && address >= *start && address - start < *length
    })?;
    let at = load[1].checked_add(address - load[2])?;
    let bytes = file.range(at, NAME_LIMIT.min(file.len().checked_sub(at)?))?;
    let name = &bytes[..bytes.iter().position(|b| *b == 0)?];
    let plain = !name.is_empty() && name.iter().all(|b| b.is_ascii_graphic() && *b != b'/');
    plain.then(|| String::from_utf8_lossy(name).into_owned())
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + length)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shared object with one segment, which is also its dynamic table's.
    fn library(name: &[u8]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(64, 0);
        file[16..20].copy_from_slice(&[3, 0, 62, 0]);
        file[32] = 64;
        file[54..58].copy_from_slice(&[56, 0, 2, 0]);
        for (kind, offset, length) in [(1_u32, 0_u64, 400_u64), (2, 176, 48)] {
            file.extend_from_slice(&kind.to_le_bytes());
            file.extend_from_slice(&[0; 4]);
            for word in [offset, offset + 0x1000, 0, length, length, 1] {
                file.extend_from_slice(&word.to_le_bytes());
            }
        }
        for (tag, value) in [(DT_STRTAB, 0x1000 + 224_u64), (DT_SONAME, 1), (0, 0)] {
            file.extend_from_slice(&tag.to_le_bytes());
            file.extend_from_slice(&value.to_le_bytes());
        }
        file.push(0);
        file.extend_from_slice(name);
        file.push(0);
        file
    }

    #[test]
    fn finds_the_soname() {
        let good = library(b"libx.so.1");
        let ask = |bytes: &[u8]| soname(&Bytes::Memory(bytes), Architecture::Amd64);
        assert_eq!(ask(&good).as_deref(), Some("libx.so.1"));
        assert_eq!(soname(&Bytes::Memory(&good), Architecture::Arm64), None);
        assert_eq!(ask(&library(b"../../etc/x")), None);
        for length in 0..good.len() {
            assert_eq!(ask(&good[..length]), None, "cut at {length}");
        }
        let mut odd = good.clone();
        for at in 16..176 {
            odd[at] ^= 0xff;
            let _any_answer_but_a_panic = ask(&odd);
            odd[at] ^= 0xff;
        }
    }
}
