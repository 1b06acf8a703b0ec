//! Packages and archives made for a test.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use corral_spec::Digest;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::mirror::Served;
use super::signer::Signer;
use crate::debian::*;

/// A member of a data.tar.
#[derive(Clone)]
pub(super) struct Member {
    path: String,
    kind: tar::EntryType,
    mode: u32,
    target: String,
    content: String,
}

pub(super) fn file(path: &str, mode: u32, content: &str) -> Member {
    let (path, content) = (path.to_owned(), content.to_owned());
    Member { path, kind: tar::EntryType::Regular, mode, target: String::new(), content }
}

pub(super) fn directory(path: &str, mode: u32) -> Member {
    Member { kind: tar::EntryType::Directory, ..file(path, mode, "") }
}

pub(super) fn link(path: &str, target: &str) -> Member {
    Member { kind: tar::EntryType::Symlink, target: target.to_owned(), ..file(path, 0o777, "") }
}

pub(super) fn hard_link(path: &str, target: &str) -> Member {
    Member { kind: tar::EntryType::Link, ..link(path, target) }
}

/// A member of another kind, a device for example.
pub(super) fn special(path: &str, kind: tar::EntryType) -> Member {
    Member { kind, ..file(path, 0o644, "") }
}

/// A package.
#[derive(Clone)]
pub(super) struct Deb {
    name: String,
    version: String,
    fields: String,
    scripts: Vec<(String, String)>,
    members: Vec<Member>,
    packing: &'static str,
    instead: Option<Vec<u8>>,
}

impl Deb {
    pub(super) fn new(name: &str, version: &str, members: Vec<Member>) -> Self {
        let (name, version) = (name.to_owned(), version.to_owned());
        Self {
            name,
            version,
            fields: String::new(),
            scripts: Vec::new(),
            members,
            packing: "xz",
            instead: None,
        }
    }

    pub(super) fn field(mut self, name: &str, value: &str) -> Self {
        if !value.is_empty() {
            self.fields += &format!("{name}: {value}\n");
        }
        self
    }

    pub(super) fn script(mut self, name: &str, text: &str) -> Self {
        self.scripts.push((name.to_owned(), text.to_owned()));
        self
    }

    pub(super) fn packed(mut self, packing: &'static str) -> Self {
        self.packing = packing;
        self
    }

    /// The archive offers these bytes, and vouches for them.
    pub(super) fn replaced_by(mut self, bytes: Vec<u8>) -> Self {
        self.instead = Some(bytes);
        self
    }

    fn control(&self) -> String {
        let Self { name, version, fields, .. } = self;
        format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n{fields}")
    }

    pub(super) fn build(&self) -> Vec<u8> {
        if let Some(bytes) = &self.instead {
            return bytes.clone();
        }
        let mut control = vec![file("./control", 0o644, &self.control())];
        control.extend(self.scripts.iter().map(|(name, text)| file(&format!("./{name}"), 0o755, text)));
        let name = |part: &str| format!("{part}.tar.{}", self.packing);
        let (control, data) = (pack(&tar(&control), self.packing), pack(&tar(&self.members), self.packing));
        ar(&[("debian-binary", b"2.0\n"), (&name("control"), &control), (&name("data"), &data)])
    }
}

/// An ar archive.
pub(super) fn ar(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, body) in parts {
        writeln!(bytes, "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", 0, 0, 0, 100_644, body.len())
            .expect("memory");
        bytes.extend_from_slice(body);
        if body.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

fn tar(members: &[Member]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for member in members {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(member.kind);
        header.set_mode(member.mode);
        header.set_size(member.content.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        // Written as they are: the crate's own setters refuse hostile paths.
        let old = header.as_old_mut();
        old.name[..member.path.len()].copy_from_slice(member.path.as_bytes());
        old.linkname[..member.target.len()].copy_from_slice(member.target.as_bytes());
        header.set_cksum();
        builder.append(&header, member.content.as_bytes()).expect("memory");
    }
    builder.into_inner().expect("memory")
}

fn pack(bytes: &[u8], packing: &str) -> Vec<u8> {
    match packing {
        "gz" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory")
        }
        "xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory")
        }
        "zst" => zstd::encode_all(bytes, 1).expect("memory"),
        other => panic!("{other}"),
    }
}

/// A served, signed archive with its clients' state.
pub(super) struct Fixture {
    pub(super) home: TempDir,
    pub(super) mirror: Served,
    pub(super) request: Request,
    pub(super) cache: Cache,
    source: Mirror,
    keyring: Keyring,
}

impl Fixture {
    /// The suite offers these packages and those that every base has; its other archives are empty.
    pub(super) fn new(mut debs: Vec<Deb>) -> Self {
        let root = file("./usr/share/ca-certificates/mozilla/root.crt", 0o644, "root");
        debs.push(Deb::new("ca-certificates", "1", vec![root]));
        for (name, version) in [("base-files", "12"), ("libc-bin", "2.36"), ("netbase", "6")] {
            debs.push(Deb::new(name, version, vec![directory("./", 0o755), directory("./usr/", 0o755)]));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let signer = Signer::new(now - 1_000);
        let mut files = HashMap::new();
        let mut packages = String::new();
        for deb in &debs {
            let (bytes, path) = (deb.build(), format!("pool/{}_{}.deb", deb.name, deb.version));
            let (hash, size) = (sha256(&bytes), bytes.len());
            packages += &format!("{}Filename: {path}\nSize: {size}\nSHA256: {hash}\n\n", deb.control());
            files.insert(path, bytes);
        }
        for (suite, packages) in
            [("bookworm", packages.as_str()), ("bookworm-updates", ""), ("bookworm-security", "")]
        {
            let packed = pack(packages.as_bytes(), "xz");
            let hash = sha256(&packed);
            let release = format!(
                "Codename: {suite}\nDate: {}\nAcquire-By-Hash: yes\nSHA256:\n {hash} {} main/binary-amd64/Packages.xz\n",
                rfc2822(now - 100),
                packed.len()
            );
            files.insert(format!("dists/{suite}/InRelease"), signer.sign(&release, now - 100).into_bytes());
            files.insert(format!("dists/{suite}/main/binary-amd64/by-hash/SHA256/{hash}"), packed.clone());
            files.insert(format!("dists/{suite}/main/binary-amd64/Packages.xz"), packed);
        }
        let mirror = Served::new(files);
        let home = tempfile::tempdir().expect("temp dir");
        let mut request = Request::new(Suite::Bookworm);
        request.architecture = Architecture::Amd64;
        request.packages = vec!["app".to_owned()];
        let source = Mirror::parse(&format!("{0},{0}", mirror.url)).expect("address");
        let (cache, keyring) =
            (Cache::open(&home.path().join("cache")).expect("cache"), signer.keyring(home.path()));
        Self { home, mirror, request, cache, source, keyring }
    }

    pub(super) fn resolve(&self) -> Result<BaseLock, Error> {
        resolve(&self.request, &self.source, &self.keyring, &self.cache, &|_| ())
    }

    pub(super) fn fetch(&self, lock: &BaseLock) -> Result<Vec<DebFile>, Error> {
        fetch(lock, &self.source, &self.cache, &|_| ())
    }

    pub(super) fn assemble(&self, debs: &[DebFile]) -> Result<Base, Error> {
        assemble(debs, &self.request, &self.cache)
    }
}

fn sha256(bytes: &[u8]) -> String {
    Digest::from_bytes(Sha256::digest(bytes).into()).hex()
}

/// The form of release files, from the one of locks.
fn rfc2822(seconds: u64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let iso = date::rfc3339(seconds);
    let month: usize = iso[5..7].parse().expect("month");
    let text = format!("Sat, {} {} {} {} UTC", &iso[8..10], MONTHS[month - 1], &iso[..4], &iso[11..19]);
    assert_eq!(date::parse(&text), Some(seconds));
    text
}
