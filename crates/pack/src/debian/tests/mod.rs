//! The whole way against a mirror that the test serves, and against Debian's.

mod archive;
mod mirror;
mod real;
mod signer;

use std::fs;
use std::path::Path;

use archive::{Deb, Fixture, directory, file, link};
use mirror::Fault;
use signer::Signer;

use super::*;
use crate::tree::{Node, NodeKind};

/// A mirror with the packages that every base has, and one named `app` with these members.
fn fixture(members: Vec<archive::Member>) -> Fixture {
    Fixture::new(vec![Deb::new("app", "1.0-1", members)])
}

fn run(fixture: &Fixture) -> Result<Base, Error> {
    let lock = fixture.resolve()?;
    let debs = fixture.fetch(&lock)?;
    fixture.assemble(&debs)
}

fn text(tree: &Tree, path: &str) -> Option<String> {
    let bytes = content::read(tree, Path::new(path)).expect("readable")?;
    Some(String::from_utf8(bytes).expect("UTF-8"))
}

#[test]
fn builds_a_base() {
    let fixture = Fixture::new(vec![
        Deb::new(
            "app",
            "1.0-1",
            vec![
                directory("./usr/bin/", 0o755),
                file("./bin/app", 0o755, "#!app"),
                link("./usr/bin/app2", "app"),
                file("./usr/lib/sysusers.d/app.conf", 0o644, "u app - \"App\" /var/lib/app\n"),
                file("./usr/lib/tmpfiles.d/app.conf", 0o644, "d /run/app 0750 app app -\n"),
                file("./usr/share/man/man1/app.1", 0o644, "left out"),
                file("./usr/share/doc/app/copyright", 0o644, "kept"),
            ],
        )
        .field("Depends", "libapp (>= 2), debconf | debconf-2.0")
        .script("postinst", "#!/bin/sh\nadduser --system app\n"),
        Deb::new("libapp", "2", vec![file("./lib/libapp.conf", 0o640, "lib")]).packed("zst"),
        Deb::new("libapp", "1.9", vec![]).packed("gz"),
    ]);
    let lock = fixture.resolve().expect("resolve");
    let names: Vec<_> = lock.packages.iter().map(|one| format!("{}={}", one.name, one.version)).collect();
    assert_eq!(
        names,
        ["app=1.0-1", "base-files=12", "ca-certificates=1", "libapp=2", "libc-bin=2.36", "netbase=6"]
    );
    assert_eq!(lock.omitted, ["app -> debconf"]);
    assert!(lock.answers(&fixture.request));
    let debs = fixture.fetch(&lock).expect("fetch");
    let base = fixture.assemble(&debs).expect("assemble");

    let node = |path: &str| base.tree.get(Path::new(path)).map(|node| (node.mode, node.uid, node.gid));
    assert_eq!(text(&base.tree, "usr/bin/app").as_deref(), Some("#!app"));
    assert_eq!(text(&base.tree, "usr/lib/libapp.conf").as_deref(), Some("lib"));
    assert_eq!(node("usr/lib/libapp.conf"), Some((0o640, 0, 0)));
    assert_eq!(node("run/app"), Some((0o750, 999, 999)));
    assert_eq!(node("tmp"), Some((0o1777, 0, 0)));
    assert_eq!(node("home/agent"), Some((0o755, 1000, 1000)));
    assert_eq!(node("usr/share/man/man1/app.1"), None);
    assert_eq!(text(&base.tree, "usr/share/doc/app/copyright").as_deref(), Some("kept"));
    assert_eq!(text(&base.tree, "etc/ssl/certs/ca-certificates.crt").as_deref(), Some("root\n"));
    assert!(
        matches!(base.tree.get(Path::new("bin")).map(|node| &node.kind), Some(NodeKind::Symlink(to)) if to == Path::new("usr/bin"))
    );
    assert!(text(&base.tree, "etc/passwd").expect("passwd").contains("app:*:999:999:App:/var/lib/app:"));

    assert_eq!(base.unapplied, [""; 0]);
    let skipped =
        SkippedScript { package: "app".to_owned(), script: "postinst", summary: "makes a user".to_owned() };
    assert_eq!(base.skipped_scripts, [skipped]);
    let app = base.origins.iter().find(|origin| origin.package.name == "app").expect("origin of app");
    assert!(
        app.files.contains(&"usr/bin/app".into()) && !app.files.contains(&"usr/bin".into()),
        "{:?}",
        app.files
    );
    assert_eq!(app.package.source, "bookworm");
}

#[test]
fn the_same_archive_gives_the_same_lock() {
    let fixture = fixture(vec![file("./a", 0o644, "a")]);
    let first = toml::to_string(&fixture.resolve().expect("first")).expect("TOML");
    let asked = fixture.mirror.asked().len();
    let second = fixture.resolve().expect("second");
    assert_eq!(toml::to_string(&second).expect("TOML"), first);
    assert_eq!(toml::from_str::<BaseLock>(&first).expect("parse"), second);
    let again = fixture.mirror.asked().split_off(asked);
    assert!(again.iter().all(|path| path.ends_with("/InRelease")), "the index is kept: {again:?}");
}

#[test]
fn stored_packages_need_no_network() {
    let mut fixture = fixture(vec![file("./a", 0o644, "a")]);
    let lock = fixture.resolve().expect("resolve");
    let first = fixture.fetch(&lock).expect("fetch");
    fixture.assemble(&first).expect("assemble");
    fixture.mirror.stop();
    let debs = fixture.fetch(&lock).expect("fetch without network");
    let base = fixture.assemble(&debs).expect("assemble without network");
    assert_eq!(text(&base.tree, "a").as_deref(), Some("a"));
}

#[test]
fn what_is_spoiled_on_disk_is_made_again() {
    let fixture = fixture(vec![file("./a", 0o644, "a")]);
    let lock = fixture.resolve().expect("resolve");
    let debs = fixture.fetch(&lock).expect("fetch");
    fixture.assemble(&debs).expect("assemble");
    for deb in &debs {
        for path in [&deb.path, &deb.data] {
            let mut bytes = fs::read(path).expect("read");
            bytes[100] ^= 1;
            fs::write(path, bytes).expect("spoil");
        }
    }
    let debs = fixture.fetch(&lock).expect("fetch again");
    let base = fixture.assemble(&debs).expect("assemble again");
    assert_eq!(text(&base.tree, "a").as_deref(), Some("a"));
}

#[test]
fn a_bad_mirror_is_one_clear_error() {
    let deb = "pool/app_1.0-1.deb";
    for (fault, expect) in [
        (Fault::Truncated, "app_1.0-1.deb"),
        (Fault::Short, "app 1.0-1: got"),
        (Fault::Changed, "app 1.0-1: got sha256:"),
        (Fault::Missing, "app 1.0-1 (sha256:"),
    ] {
        let fixture = fixture(vec![file("./a", 0o644, "a")]);
        let lock = fixture.resolve().expect("resolve");
        fixture.mirror.spoil(deb, fault);
        let error = fixture.fetch(&lock).expect_err("a spoiled package").to_string();
        assert!(error.contains(expect), "{fault:?}: {error}");
        assert_eq!(error.contains("`corral pack --upgrade`"), fault == Fault::Missing, "{error}");
        assert!(!fixture.cache.deb(&lock.packages[0].sha256).exists(), "{fault:?}");
        assert_eq!(fs::read_dir(fixture.home.path().join("cache/staging")).expect("staging").count(), 0);
        fixture.mirror.mend();
        fixture.fetch(&lock).expect("a mended mirror");
    }
}

#[test]
fn a_hostile_lock_is_refused() {
    let fixture = fixture(vec![]);
    let lock = fixture.resolve().expect("resolve");
    let spoil = |change: &dyn Fn(&mut LockedPackage)| {
        let mut lock = lock.clone();
        change(&mut lock.packages[0]);
        fixture.fetch(&lock).expect_err("a hostile lock").to_string()
    };
    for error in [
        spoil(&|package| package.name = "\x1b[2Jx".to_owned()),
        spoil(&|package| package.version = "1 2".to_owned()),
        spoil(&|package| package.path = "../../x".to_owned()),
        spoil(&|package| package.size = u64::MAX),
        spoil(&|package| package.source = "trixie".to_owned()),
    ] {
        assert!(
            error.starts_with("agent.lock of bookworm: package \"") && !error.contains('\x1b'),
            "{error}"
        );
    }
    assert_eq!(fixture.mirror.asked().iter().filter(|path| path.starts_with("pool/")).count(), 0);
}

#[test]
fn a_passing_failure_is_tried_again() {
    let fixture = fixture(vec![file("./a", 0o644, "a")]);
    let lock = fixture.resolve().expect("resolve");
    fixture.mirror.spoil("pool/app_1.0-1.deb", Fault::Once);
    fixture.fetch(&lock).expect("the second attempt");
}

#[test]
fn an_index_that_was_not_signed_is_refused() {
    let fixture = fixture(vec![]);
    fixture.mirror.spoil("dists/bookworm/main/binary-amd64/Packages.xz", Fault::Changed);
    let error = fixture.resolve().expect_err("a changed index");
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    assert!(error.to_string().contains("main/binary-amd64/Packages.xz of bookworm: got sha256:"), "{error}");
}

#[test]
fn hostile_packages_are_refused() {
    for (members, expect) in [
        (vec![file("./../etc/passwd", 0o644, "x")], "`..`"),
        (vec![file("/etc/passwd", 0o644, "x")], "absolute"),
        (vec![file("./a//b", 0o644, "x")], "empty name"),
        (vec![archive::special("./dev/null", tar::EntryType::Char)], "kind Char"),
        (vec![archive::special("./fifo", tar::EntryType::Fifo)], "kind Fifo"),
        (vec![archive::hard_link("./a", "./../../etc/shadow")], "`..`"),
        (vec![archive::hard_link("./a", "./etc/passwd")], "hard link to a file that it does not have"),
        (
            vec![link("./x", "/etc"), file("./x/y", 0o644, "")],
            "/x: in app (not as a directory) and in app (as one)",
        ),
        (vec![link("./lib", "/tmp")], "merged /usr"),
        (vec![file("./a", 0o644, "1"), link("./a", "b")], "in two kinds"),
        (vec![file("./bin", 0o644, "")], "in two kinds"),
        (vec![file("./var/run", 0o644, "")], "in two kinds"),
        (vec![link("./usr/lib/ssl", "/etc")], "/usr/lib/ssl: in app (not as a directory)"),
    ] {
        let error = run(&fixture(members)).expect_err(expect).to_string();
        assert!(error.contains(expect) && error.contains("app"), "{expect}: {error}");
    }
}

#[test]
fn broken_packages_are_refused() {
    let good = Deb::new("app", "1.0-1", vec![file("./a", 0o644, "a")]);
    let ar = |parts: &[(&str, &[u8])]| archive::ar(parts);
    let bytes = good.build();
    for (bytes, expect) in [
        (b"PK".to_vec(), "not an ar archive"),
        (bytes[..bytes.len() - 10].to_vec(), "is cut short"),
        (ar(&[("debian-binary", b"2.0\n")]), "no control.tar"),
        (ar(&[("debian-binary", b"3.0\n"), ("control.tar", b""), ("data.tar", b"")]), "not of format 2"),
        (ar(&[("debian-binary", b"2.0\n"), ("evil", b"")]), "does not know"),
        (ar(&[("debian-binary", b"2.0\n"), ("control.tar.lz", b""), ("data.tar", b"")]), "not known"),
        (
            ar(&[("debian-binary", b"2.0\n"), ("control.tar", b""), ("data.tar.xz", b"junk")]),
            "data.tar is broken",
        ),
        (Deb::new("other", "1.0-1", vec![]).build(), "its Package is \"other\""),
        (Deb::new("app", "2", vec![]).build(), "its Version is \"2\""),
    ] {
        let error = run(&Fixture::new(vec![good.clone().replaced_by(bytes)])).expect_err(expect).to_string();
        assert!(error.contains(expect) && error.starts_with("app 1.0-1: bad package"), "{expect}: {error}");
    }
}

#[test]
fn files_of_two_packages() {
    let got = |first: archive::Member, second: archive::Member, replaces: &str| {
        let fixture = Fixture::new(vec![
            Deb::new("app", "1.0-1", vec![first]).field("Depends", "other"),
            Deb::new("other", "2", vec![second]).field("Replaces", replaces),
        ]);
        run(&fixture).map(|base| text(&base.tree, "x")).map_err(|error| error.to_string())
    };
    let (a, b) = (|| file("./x", 0o644, "a"), || file("./x", 0o644, "b"));
    assert_eq!(got(a(), a(), ""), Ok(Some("a".to_owned())));
    assert_eq!(got(a(), b(), "app (<< 2)"), Ok(Some("b".to_owned())));
    let conflict = got(a(), b(), "app (<< 1)").expect_err("conflict");
    assert!(conflict.starts_with("/x: in app 1.0-1 and in other 2"), "{conflict}");
    let conflict = got(a(), directory("./x", 0o755), "").expect_err("conflict");
    assert!(conflict.starts_with("/x: in app 1.0-1 and in other 2"), "{conflict}");
}

#[test]
fn declared_users_and_directories() {
    let mut fixture = fixture(vec![]);
    fixture.request.users = vec!["svc:700".parse().expect("user")];
    fixture.request.directories = vec!["/var/lib/svc:750:svc".parse().expect("directory")];
    let base = run(&fixture).expect("base");
    let node: Option<&Node> = base.tree.get(Path::new("var/lib/svc"));
    assert_eq!(node.map(|node| (node.mode, node.uid, node.gid)), Some((0o750, 700, 700)));
    fixture.request.users.clear();
    let error = run(&fixture).expect_err("no such user").to_string();
    assert_eq!(error, "directory /var/lib/svc: no user or group svc: declare it in `users`");
}

/// Releases: `now` is 2026-11-22 throughout.
#[test]
fn releases_are_verified() {
    const NOW: u64 = 1_795_305_600;
    const DAY: u64 = 86_400;
    let signer = Signer::new(NOW - 900 * DAY);
    let stranger = Signer::new(NOW - 900 * DAY);
    let release = |date: &str, until: &str, codename: &str| {
        format!(
            "Origin: Debian\nCodename: {codename}\nDate: {date}\n{until}SHA256:\n {} 5 main/x\n- dashed: 1\n",
            "0".repeat(64)
        )
    };
    let plain = release("Sat, 21 Nov 2026 00:00:00 UTC", "", "bookworm");
    let good = signer.sign(&plain, NOW - DAY);
    let ok = "2026-11-21T00:00:00Z";
    let stale =
        release("Sat, 21 Nov 2026 00:00:00 UTC", "Valid-Until: Sat, 21 Nov 2026 12:00:00 UTC\n", "bookworm");
    let early = release("Mon, 23 Nov 2026 00:00:00 UTC", "", "bookworm");
    for (message, keys, expect) in [
        (good.clone(), &signer, ok),
        (good.replace('\n', "\r\n"), &signer, ok),
        (signer.with_subkey(NOW - 800 * DAY).sign(&plain, NOW - DAY), &signer, ok),
        (good.replace("x\n", "y\n"), &signer, "does not fit the text: it was changed"),
        (good.replace("bookworm", "trixie"), &signer, "does not fit the text: it was changed"),
        (good.clone(), &stranger, "is not in the keyring"),
        (plain.clone(), &signer, "not a clear-signed OpenPGP message"),
        (format!("x\n{good}"), &signer, "not a clear-signed OpenPGP message"),
        (format!("{good}x\n"), &signer, "not a clear-signed OpenPGP message"),
        (good.replacen("\n\n", "\nComment: x\n\n", 1), &signer, "not a clear-signed OpenPGP message"),
        (good.replacen("\n\n", "\n \n", 1), &signer, "not a clear-signed OpenPGP message"),
        (good.replace("- - dashed", "- dashed"), &signer, "does not fit the text: it was changed"),
        (good.replace("- - dashed", "-----dashed"), &signer, "not a clear-signed OpenPGP message"),
        (format!("{good}{good}"), &signer, "not a clear-signed OpenPGP message"),
        (String::new(), &signer, "not a clear-signed OpenPGP message"),
        (signer.sign_for(&plain, NOW - 2 * DAY, Some(DAY)), &signer, "has expired"),
        (signer.sign_for(&plain, NOW - 2 * DAY, Some(9 * DAY)), &signer, ok),
        (signer.sign(&plain, NOW + DAY), &signer, "from the future"),
        (good.clone(), &signer.expired(NOW - 5 * DAY), "had expired when it signed"),
        (good.clone(), &signer.expired(NOW), ok),
        (good.clone(), &signer.revoked(NOW, false), "is revoked"),
        (good.clone(), &signer.revoked(NOW, true), ok),
        (good.clone(), &signer.revoked(NOW - 5 * DAY, true), "is revoked"),
        (signer.sign(&stale, NOW - DAY), &signer, "expired on Sat, 21 Nov 2026 12:00:00 UTC"),
        (signer.sign(&early, NOW - DAY), &signer, "in the future: check this machine's clock"),
        (signer.sign(&release("yesterday", "", "bookworm"), NOW - DAY), &signer, "malformed Date"),
        (
            signer.sign(&release("Sat, 21 Nov 2026 00:00:00 UTC", "", "trixie"), NOW - DAY),
            &signer,
            "offers \"trixie\" in its place",
        ),
    ] {
        let home = tempfile::tempdir().expect("temp dir");
        let keyring = keys.keyring(home.path());
        let expect_of = release::Expect { codename: "bookworm", now: NOW, allow_expired: false };
        let got = match release::Release::verify(message.as_bytes(), &expect_of, &keyring) {
            Ok(release) => {
                let vouched = release.file("main/x").expect("main/x");
                assert_eq!((vouched.size, release.file("main/y")), (5, None));
                release.source.date
            }
            Err(error) => error.to_string(),
        };
        assert!(got.contains(expect), "{expect}: {got}\n{message}");
    }
    let snapshot = release::Expect { codename: "bookworm", now: NOW, allow_expired: true };
    let home = tempfile::tempdir().expect("temp dir");
    let keyring = signer.keyring(home.path());
    assert!(release::Release::verify(signer.sign(&stale, NOW - DAY).as_bytes(), &snapshot, &keyring).is_ok());
}

#[test]
fn keyrings_that_are_none() {
    let home = tempfile::tempdir().expect("temp dir");
    let path = home.path().join("keyring");
    for (bytes, expect) in
        [(&b""[..], "OpenPGP"), (b"hello", "OpenPGP"), (b"-----BEGIN PGP PUBLIC KEY BLOCK-----", "OpenPGP")]
    {
        fs::write(&path, bytes).expect("write");
        let error = Keyring::from_file(&path).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains(expect) && error.contains("--keyring FILE"), "{error}");
    }
    assert!(Keyring::from_file(&home.path().join("absent")).is_err());
}
