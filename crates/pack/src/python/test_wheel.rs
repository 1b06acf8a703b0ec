//! Test input: wheels made by hand.

use sha2::{Digest as _, Sha256};

use crate::base64::{Alphabet, encode};

use super::zip_writer::{ZipFile, write};

/// A wheel under construction.
pub struct TestWheel {
    stem: String,
    files: Vec<(String, Vec<u8>)>,
    record: String,
}

impl TestWheel {
    pub fn new(name: &str, version: &str) -> Self {
        let stem = format!("{name}-{version}");
        let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nbody\n");
        Self { stem: stem.clone(), files: Vec::new(), record: String::new() }
            .file(
                &format!("{stem}.dist-info/WHEEL"),
                b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            )
            .file(&format!("{stem}.dist-info/METADATA"), metadata.as_bytes())
    }

    pub fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        self.list(name, bytes);
        self.unlisted(name, bytes)
    }

    pub fn unlisted(mut self, name: &str, bytes: &[u8]) -> Self {
        self.files.push((name.to_owned(), bytes.to_vec()));
        self
    }

    pub fn falsified(mut self, name: &str, bytes: &[u8]) -> Self {
        self.list(name, b"good");
        self.unlisted(name, bytes)
    }

    fn list(&mut self, name: &str, bytes: &[u8]) {
        let hash = encode(&Sha256::digest(bytes), Alphabet::UrlSafe);
        self.record.push_str(&format!("{name},sha256={hash},{}\n", bytes.len()));
    }

    pub fn bytes(&self) -> Vec<u8> {
        let record_name = format!("{}.dist-info/RECORD", self.stem);
        let record = format!("{}{record_name},,\n", self.record);
        let mut files: Vec<_> =
            self.files.iter().map(|(name, bytes)| ZipFile::deflated(name, bytes)).collect();
        files.push(ZipFile::stored(&record_name, record.as_bytes()));
        write(&files)
    }
}
