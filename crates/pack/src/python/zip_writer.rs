//! Test input: zip files and wheels made by hand, so that the hostile ones can be made too.

use std::io::Write;

use flate2::{Compression, Crc, write::DeflateEncoder};

/// One member to write.
pub struct ZipFile<'a> {
    pub name: &'a str,
    pub bytes: &'a [u8],
    pub deflate: bool,
    pub mode: u32,
}

impl<'a> ZipFile<'a> {
    pub fn stored(name: &'a str, bytes: &'a [u8]) -> Self {
        Self { name, bytes, deflate: false, mode: 0o100_644 }
    }

    pub fn deflated(name: &'a str, bytes: &'a [u8]) -> Self {
        Self { name, bytes, deflate: true, mode: 0o100_644 }
    }
}

/// The archive's bytes.
pub fn write(files: &[ZipFile]) -> Vec<u8> {
    let (mut out, mut central) = (Vec::new(), Vec::new());
    for file in files {
        let mut crc = Crc::new();
        crc.update(file.bytes);
        let data = if file.deflate {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(file.bytes).expect("in memory");
            encoder.finish().expect("in memory")
        } else {
            file.bytes.to_vec()
        };
        let offset = out.len() as u32;
        let mut common = vec![20, 0, 0, 8, if file.deflate { 8 } else { 0 }, 0, 0, 0, 0x21, 0x50];
        common.extend(crc.sum().to_le_bytes());
        common.extend((data.len() as u32).to_le_bytes());
        common.extend((file.bytes.len() as u32).to_le_bytes());
        common.extend((file.name.len() as u16).to_le_bytes());
        common.extend([0, 0]);
        out.extend(0x0403_4b50_u32.to_le_bytes());
        out.extend(&common);
        out.extend(file.name.as_bytes());
        out.extend(&data);
        central.extend(0x0201_4b50_u32.to_le_bytes());
        central.extend([20, 3]);
        central.extend(&common);
        central.extend([0; 6]);
        central.extend((file.mode << 16).to_le_bytes());
        central.extend(offset.to_le_bytes());
        central.extend(file.name.as_bytes());
    }
    let (offset, size, count) = (out.len() as u32, central.len() as u32, files.len() as u16);
    out.extend(central);
    out.extend(0x0605_4b50_u32.to_le_bytes());
    out.extend([0; 4]);
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(size.to_le_bytes());
    out.extend(offset.to_le_bytes());
    out.extend([0, 0]);
    out
}
