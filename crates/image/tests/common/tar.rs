//! Tars as an attacker writes them: no library between the test and the bytes.

pub struct Entry {
    name: Vec<u8>,
    flag: u8,
    link: Vec<u8>,
    data: Vec<u8>,
    mode: u32,
    device: (u32, u32),
}

impl Entry {
    fn new(name: &str, flag: u8) -> Self {
        Self { name: name.into(), flag, link: Vec::new(), data: Vec::new(), mode: 0o644, device: (0, 0) }
    }

    pub fn of_type(name: &str, flag: u8) -> Self {
        Self::new(name, flag)
    }

    pub fn file(name: &str, data: &[u8]) -> Self {
        Self { data: data.to_vec(), ..Self::new(name, b'0') }
    }

    pub fn dir(name: &str) -> Self {
        Self { mode: 0o755, ..Self::new(name, b'5') }
    }

    pub fn symlink(name: &str, to: &str) -> Self {
        Self { link: to.into(), ..Self::new(name, b'2') }
    }

    pub fn hardlink(name: &str, to: &str) -> Self {
        Self { link: to.into(), ..Self::new(name, b'1') }
    }

    pub fn device(name: &str, major: u32, minor: u32) -> Self {
        Self { device: (major, minor), ..Self::new(name, b'3') }
    }

    pub fn long_name(name: &str) -> Self {
        Self { data: [name.as_bytes(), b"\0"].concat(), ..Self::new("././@LongLink", b'L') }
    }

    pub fn pax(records: &[(&str, &[u8])]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let length = (rest + 1..).find(|length| *length == rest + length.to_string().len());
            data.extend_from_slice(format!("{} {key}=", length.expect("finite")).as_bytes());
            data.extend_from_slice(value);
            data.push(b'\n');
        }
        Self { data, ..Self::new("pax", b'x') }
    }

    /// A pax header for all that follows.
    pub fn global(records: &[(&str, &[u8])]) -> Self {
        Self { flag: b'g', ..Self::pax(records) }
    }

    pub fn with_mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub fn header(&self) -> [u8; 512] {
        let mut block = [0; 512];
        block[..self.name.len()].copy_from_slice(&self.name);
        let mut put = |at: usize, text: String| block[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(100, format!("{:07o}", self.mode));
        put(108, "0000000".into());
        put(116, "0000000".into());
        put(124, format!("{:011o}", self.data.len()));
        put(136, "00000000000".into());
        put(329, format!("{:07o}", self.device.0));
        put(337, format!("{:07o}", self.device.1));
        block[156] = self.flag;
        block[157..157 + self.link.len()].copy_from_slice(&self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        seal(&mut block);
        block
    }
}

pub fn set_size(block: &mut [u8; 512], size: u64) {
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    seal(block);
}

pub fn seal(block: &mut [u8; 512]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut tar = part(entries);
    tar.resize(tar.len() + 1024, 0);
    tar
}

/// Entries without the end of an archive.
pub fn part(entries: &[Entry]) -> Vec<u8> {
    let mut tar = Vec::new();
    for entry in entries {
        tar.extend_from_slice(&entry.header());
        tar.extend_from_slice(&entry.data);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar
}
