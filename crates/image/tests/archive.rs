//! save, load and import: an image keeps its id through every form and a fresh store.

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};

use common::tar::{Entry, archive};
use common::{Scratch, config_for, image_of, layer, sha256};
use corral_image::{Error, SaveFormat, Store};
use corral_spec::Digest;

fn saved(store: &Store, names: &[&str], format: SaveFormat) -> Vec<u8> {
    let mut tar = Vec::new();
    store.save(names, format, &mut tar).expect("save");
    tar
}

/// The regular files of a tar, read by a tar library that is not ours.
fn files(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(tar).entries().expect("entries") {
        let mut entry = entry.expect("entry");
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("contents");
        found.insert(entry.path().expect("path").display().to_string(), bytes);
    }
    found
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).expect("gzip");
    out.finish().expect("gzip")
}

#[test]
fn an_image_survives_save_and_load() {
    let one = Scratch::new();
    let store = one.store();
    let base = layer(&store, &[("base", &[b'b'; 70_000])]);
    let top = layer(&store, &[("top", b"t"), ("empty", b"")]);
    let layers = [base, top, base];
    let id = store.add_image(&config_for(&layers), &layers).expect("image");
    for name in ["demo:1", "registry.test:5000/a/demo:2"] {
        store.tag(&id, &name.parse().expect("name")).expect("tag");
    }
    for (number, format) in [SaveFormat::OciLayout, SaveFormat::DockerArchive].into_iter().enumerate() {
        let tar = saved(&store, &["demo:1", "registry.test:5000/a/demo:2"], format);
        assert_eq!(tar, saved(&store, &["demo:1", "registry.test:5000/a/demo:2"], format), "reproducible");
        assert_eq!(files(&tar).contains_key("manifest.json"), number == 1);
        for packed in [tar.clone(), gzip(&tar), zstd::encode_all(&tar[..], 1).expect("zstd")] {
            let two = Scratch::new();
            let other = two.store();
            let loaded = other.load(&packed[..]).expect("load");
            assert_eq!((loaded.len(), loaded[0].id, loaded[0].references.len()), (1, id, 2));
            assert_eq!(other.resolve("registry.test:5000/a/demo:2").expect("named").layers, layers);
            assert_eq!(saved(&other, &["demo:1", "registry.test:5000/a/demo:2"], format), tar);
            assert_eq!(other.gc(&|_| false).expect("gc").layers, []);
        }
    }
}

#[test]
fn an_oci_layout_directory_loads() {
    let one = Scratch::new();
    let store = one.store();
    let id = image_of(&store, &[("f", b"1")], Some("demo"));
    let dir = one.path().join("layout");
    tar::Archive::new(&saved(&store, &["demo"], SaveFormat::OciLayout)[..]).unpack(&dir).expect("layout");
    let two = Scratch::new();
    let loaded = two.store().load_dir(&dir).expect("load");
    assert_eq!((loaded[0].id, loaded[0].references[0].to_string().as_str()), (id, "demo:latest"));
    // A blob that is a link must not lead out of the layout.
    let blob = dir.join("blobs/sha256").join(id.hex());
    std::fs::rename(&blob, one.path().join("config")).expect("move");
    std::os::unix::fs::symlink(one.path().join("config"), &blob).expect("link");
    assert!(Scratch::new().store().load_dir(&dir).is_err());
}

/// docker before 25: layers as ID/layer.tar, equal ones as symbolic links, no blobs.
#[test]
fn an_old_docker_archive_loads() {
    let tar = archive(&[Entry::file("f", b"data")]);
    let config = config_for(&[sha256(&tar), sha256(&tar)]);
    let manifest = r#"[{"Config":"c.json","RepoTags":["old:1"],"Layers":["a/layer.tar","b/layer.tar"]}]"#;
    let archive = archive(&[
        Entry::dir("a/"),
        Entry::file("a/VERSION", b"1.0"),
        Entry::file("a/layer.tar", &tar),
        Entry::symlink("b/layer.tar", "../a/layer.tar"),
        Entry::file("c.json", &config),
        Entry::file("manifest.json", manifest.as_bytes()),
    ]);
    let scratch = Scratch::new();
    let loaded = scratch.store().load(&archive[..]).expect("load");
    assert_eq!((loaded[0].id, loaded[0].references[0].to_string().as_str()), (sha256(&config), "old:1"));
}

/// An index over two platforms and an attestation, with a gzip layer: what a registry's copy looks like.
#[test]
fn of_several_platforms_ours_is_taken() {
    let tar = archive(&[Entry::file("f", b"data")]);
    let packed = gzip(&tar);
    let config = config_for(&[sha256(&tar)]);
    let part = |kind: &str, bytes: &[u8]| {
        format!(r#"{{"mediaType":"{kind}","digest":"{}","size":{}}}"#, sha256(bytes), bytes.len())
    };
    let manifest = format!(
        r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
        part("application/vnd.oci.image.config.v1+json", &config),
        part("application/vnd.oci.image.layer.v1.tar+gzip", &packed)
    );
    let absent = sha256(b"another platform's manifest, not in the archive");
    let ours = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[
            {{"mediaType":"m","digest":"{absent}","size":1,"platform":{{"architecture":"s390x","os":"linux"}}}},
            {{"mediaType":"m","digest":"{}","size":{},"platform":{{"architecture":"{ours}","os":"linux"}}}},
            {{"mediaType":"m","digest":"{absent}","size":1,"platform":{{"architecture":"unknown","os":"unknown"}}}}]}}"#,
        sha256(manifest.as_bytes()),
        manifest.len()
    );
    let top = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{}","size":{},
            "annotations":{{"io.containerd.image.name":"docker.io/library/multi:3"}}}}]}}"#,
        sha256(index.as_bytes()),
        index.len()
    );
    let blob = |bytes: &[u8]| Entry::file(&format!("blobs/sha256/{}", sha256(bytes).hex()), bytes);
    let whole = archive(&[
        Entry::file("index.json", top.as_bytes()),
        blob(index.as_bytes()),
        blob(manifest.as_bytes()),
        blob(&config),
        blob(&packed),
    ]);
    let scratch = Scratch::new();
    let store = scratch.store();
    let loaded = store.load(&whole[..]).expect("load");
    assert_eq!((loaded.len(), loaded[0].id), (1, sha256(&config)));
    let image = store.resolve("multi:3").expect("named");
    assert_eq!(image.manifest, Some(sha256(manifest.as_bytes())));
    let pinned = format!("multi@{}", sha256(manifest.as_bytes()));
    assert_eq!(store.resolve(&pinned).expect("by manifest").id, image.id);
}

#[test]
fn damaged_archives_are_refused() {
    let one = Scratch::new();
    let store = one.store();
    image_of(&store, &[("f", b"1")], Some("demo"));
    let good = files(&saved(&store, &["demo"], SaveFormat::OciLayout));
    let pack = |files: &BTreeMap<String, Vec<u8>>| {
        archive(&files.iter().map(|(name, bytes)| Entry::file(name, bytes)).collect::<Vec<_>>())
    };
    let refused = |tar: &[u8], says: &str| {
        let error = Scratch::new().store().load(tar).expect_err(says).to_string();
        assert!(error.contains(says), "{says}: {error}");
    };
    for name in good.keys().filter(|name| name.starts_with("blobs/")) {
        let mut bad = good.clone();
        let bytes = bad.get_mut(name).expect("blob");
        let at = bytes.iter().position(|b| *b == b'1').expect("a one");
        bytes[at] = b'2';
        refused(&pack(&bad), "digest");
        bad.remove(name);
        refused(&pack(&bad), "have");
    }
    let mut bad = good.clone();
    bad.remove("index.json");
    refused(&pack(&bad), "neither index.json");
    refused(&saved(&store, &["demo"], SaveFormat::OciLayout)[..3000], "truncated");
    refused(b"not an archive at all, but long enough to be looked at".repeat(20).as_slice(), "checksum");
    refused(b"", "neither");
}

#[test]
fn a_manifest_that_names_the_wrong_layer_is_refused() {
    let tar = archive(&[Entry::file("f", b"data")]);
    let config = config_for(&[sha256(b"another")]);
    let manifest = r#"[{"Config":"c.json","RepoTags":null,"Layers":["l"]}]"#;
    let archive = archive(&[
        Entry::file("l", &tar),
        Entry::file("c.json", &config),
        Entry::file("manifest.json", manifest.as_bytes()),
    ]);
    let error = Scratch::new().store().load(&archive[..]).expect_err("wrong layer");
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
}

#[test]
fn import_makes_an_image_of_a_tree() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let tar = archive(&[Entry::dir("bin/"), Entry::file("bin/true", b"program").with_mode(0o755)]);
    let name = "imported:1".parse().expect("name");
    let changes = ["CMD [\"/bin/true\"]", "ENV A=1", "USER 5:6"];
    let id = store.import(&gzip(&tar)[..], Some(&name), &changes, Some("from a test")).expect("import");
    let image = store.resolve("imported:1").expect("found");
    assert_eq!((image.id, image.layers.as_slice()), (id, &[sha256(&tar)][..]));
    assert_eq!(
        (image.config.config.cmd[0].as_str(), image.config.config.user.as_str()),
        ("/bin/true", "5:6")
    );
    let history = store.history(&image).expect("history");
    assert_eq!((history.len(), history[0].size, history[0].comment.as_str()), (1, 7, "from a test"));
    assert!(store.import(&tar[..], None, &["RUN x"], None).is_err());
    assert!(store.import(&b""[..], None, &[], None).is_err());
    let held: Vec<Digest> = store.list().expect("list").iter().map(|row| row.id).collect();
    assert_eq!(held, [id]);
}
