//! Archives as another client of the same formats reads and writes them: skopeo, which the set-up installs.

use std::path::Path;
use std::process::Command;

use corral_tests::Corral;

fn skopeo(words: &[&str]) -> String {
    let output = Command::new("skopeo").args(words).output().expect("skopeo (apt-get install skopeo)");
    assert!(output.status.success(), "skopeo {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The set-up installs it; a machine that is nothing but a kernel and the tests lacks it.
fn lacks_skopeo(test: &str) -> bool {
    let lacks = Command::new("skopeo").arg("--version").output().is_err();
    if lacks {
        println!("SKIP: clients::{test}: skopeo is not installed");
    }
    lacks
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// The image that an archive holds, once it is loaded elsewhere; it must run there.
fn loaded(archive: &Path) -> String {
    let corral = Corral::empty();
    assert_eq!(corral.ok(&["load", "-i", text(archive)]), "Loaded image: busybox:latest\n");
    assert_eq!(corral.ok(&["run", "--rm", "busybox", "echo", "fine"]), "fine\n");
    corral.ok(&["images", "-q", "--no-trunc"])
}

#[test]
fn skopeo_sees_the_image_that_was_saved() {
    if lacks_skopeo("skopeo_sees_the_image_that_was_saved") {
        return;
    }
    let corral = Corral::new();
    let id = corral.ok(&["images", "-q", "--no-trunc"]);
    let layers = &corral.inspect("busybox")["RootFS"]["Layers"];
    assert!(layers.as_array().is_some_and(|layers| !layers.is_empty()), "{layers}");
    let archive = corral.dir().join("saved.tar");
    for format in ["oci-archive", "docker-archive"] {
        corral.ok(&["save", "--format", format, "-o", text(&archive), "busybox"]);
        let from = format!("{format}:{}", text(&archive));
        let manifest: serde_json::Value =
            serde_json::from_str(&skopeo(&["inspect", "--raw", &from])).expect("a manifest");
        assert_eq!(manifest["config"]["digest"], id.trim(), "{format}");
        let config: serde_json::Value =
            serde_json::from_str(&skopeo(&["inspect", "--config", &from])).expect("a config");
        assert_eq!(&config["rootfs"]["diff_ids"], layers, "{format}");
    }
}

#[test]
fn what_skopeo_converts_and_compresses_is_the_same_image() {
    if lacks_skopeo("what_skopeo_converts_and_compresses_is_the_same_image") {
        return;
    }
    let corral = Corral::new();
    let id = corral.ok(&["images", "-q", "--no-trunc"]);
    let dir = corral.dir();
    let (oci, docker) = (dir.join("oci.tar"), dir.join("docker.tar"));
    corral.ok(&["save", "-o", text(&oci), "busybox"]);
    corral.ok(&["save", "--format", "docker-archive", "-o", text(&docker), "busybox"]);
    let from_oci = format!("oci-archive:{}", text(&oci));
    let from_docker = format!("docker-archive:{}", text(&docker));
    for (number, (from, to, flags)) in [
        (&from_oci, "docker-archive", &[][..]),
        (&from_docker, "oci-archive", &[]),
        (&from_oci, "oci-archive", &["--dest-compress", "--dest-compress-format", "gzip"]),
        (&from_oci, "oci-archive", &["--dest-compress", "--dest-compress-format", "zstd"]),
    ]
    .into_iter()
    .enumerate()
    {
        let archive = dir.join(format!("{number}.tar"));
        let to = format!("{to}:{}:busybox:latest", text(&archive));
        skopeo(&[&["copy", "--quiet"], flags, &[from, &to]].concat());
        assert_eq!(loaded(&archive), id, "{from} to {to} {flags:?}");
    }
}
