//! Images through the command line.

use corral_tests::Corral;

/// A device is written to. An archive in its place would break every other program of the host.
#[test]
fn an_archive_never_takes_the_place_of_a_device() {
    let corral = Corral::new();
    let pipe = corral.dir().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .expect("pipe");
    std::os::unix::fs::symlink(&pipe, corral.dir().join("link")).expect("link");
    let reader = std::thread::spawn(move || std::fs::read(pipe).expect("read"));
    corral.ok(&["save", "-o", "link", "busybox"]);
    let archive = reader.join().expect("reader");
    assert_eq!(&archive[257..262], b"ustar", "the whole archive went through the pipe");
    let left = std::fs::symlink_metadata(corral.dir().join("pipe")).expect("there").file_type();
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&left));
    // And a link to a file stays one.
    std::os::unix::fs::symlink("real.tar", corral.dir().join("second")).expect("link");
    std::fs::write(corral.dir().join("real.tar"), "").expect("file");
    corral.ok(&["save", "-o", "second", "busybox"]);
    assert_eq!(std::fs::read(corral.dir().join("real.tar")).expect("archive").len(), archive.len());
}

#[test]
fn listing_tagging_and_removing() {
    let corral = Corral::new();
    corral.ok(&["tag", "busybox", "mine:v1"]);
    let listing = corral.ok(&["images"]);
    assert!(listing.starts_with("REPOSITORY   TAG       IMAGE ID"), "{listing}");
    assert_eq!(listing.lines().count(), 3, "{listing}");
    assert_eq!(corral.ok(&["images", "-q"]).lines().count(), 1, "one image, two names");
    assert_eq!(corral.ok(&["rmi", "mine:v1"]), "Untagged: mine:v1\n");
    let id = corral.ok(&["create", "busybox", "true"]);
    assert_eq!(corral.say(&["rmi", "busybox"]).code, 1, "an image in use is kept");
    corral.ok(&["rm", id.trim()]);
    let said = corral.ok(&["rmi", "busybox"]);
    assert!(said.starts_with("Untagged: busybox:latest\nDeleted: sha256:"), "{said}");
    assert_eq!(corral.ok(&["images", "-q"]), "");
    let layers = std::fs::read_dir(corral.root().join("store/layers")).expect("layers").count();
    assert_eq!(layers, 0, "the layers went with the last image");
}

#[test]
fn save_and_load_give_the_same_image() {
    let corral = Corral::new();
    let id = corral.ok(&["images", "-q", "--no-trunc"]);
    for format in ["oci-archive", "docker-archive"] {
        let archive = corral.dir().join(format);
        corral.ok(&["save", "--format", format, "-o", archive.to_str().expect("text"), "busybox"]);
        let other = Corral::empty();
        assert_eq!(
            other.ok(&["load", "-i", archive.to_str().expect("text")]),
            "Loaded image: busybox:latest\n"
        );
        assert_eq!(other.ok(&["images", "-q", "--no-trunc"]), id, "{format}");
        assert_eq!(other.ok(&["run", "--rm", "busybox", "echo", "loaded"]), "loaded\n");
    }
}

#[test]
fn import_takes_instructions_and_run_obeys_them() {
    let corral = Corral::new();
    let archive = corral.dir().join("fs.tar");
    let mut tar = tar::Builder::new(Vec::new());
    corral_tests::file(&mut tar, "bin/busybox", 0o755, &std::fs::read("/bin/busybox").expect("busybox"))
        .expect("archive");
    std::fs::write(&archive, tar.into_inner().expect("archive")).expect("archive");
    let changes = [
        "-c",
        r#"ENTRYPOINT ["/bin/busybox"]"#,
        "-c",
        r#"CMD ["id", "-u"]"#,
        "-c",
        "USER 12:34",
        "-c",
        "ENV A=b",
    ];
    corral.ok(&[&["import"], &changes[..], &[archive.to_str().expect("text"), "made"]].concat());
    assert_eq!(corral.ok(&["run", "--rm", "made"]), "12\n");
    assert_eq!(corral.ok(&["run", "--rm", "made", "id", "-g"]), "34\n");
    let history = corral.ok(&["history", "made"]);
    assert!(history.starts_with("IMAGE"), "{history}");
    assert_eq!(corral.inspect("made")["Config"]["Env"][0], "A=b");
}

/// An error names what was typed, and a reader that goes away is none.
#[test]
fn where_an_archive_cannot_go_is_named() {
    let corral = Corral::new();
    corral.ok(&["create", "--name", "made", "busybox", "true"]);
    std::fs::create_dir(corral.dir().join("taken")).expect("a directory");
    for words in [["save", "busybox"], ["export", "made"]] {
        for (path, part) in [
            ("/nowhere/x.tar", "cannot write /nowhere/x.tar: No such file or directory"),
            ("taken", "taken: is a directory"),
        ] {
            let said = corral.say(&[words[0], "-o", path, words[1]]);
            assert!(
                said.code == 1 && said.err.contains(part) && !said.err.contains(".part"),
                "{words:?}: {said:?}"
            );
        }
        let mut child = corral
            .command(&words)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("corral runs");
        drop(child.stdout.take());
        let said = corral_tests::Said::from(child.wait_with_output().expect("corral ends"));
        assert_eq!((said.code, said.err.as_str()), (141, ""), "{words:?}");
    }
    assert_eq!(std::fs::read_dir(corral.dir().join("taken")).expect("read").count(), 0);
}
