//! Bad input: one clear line that names the thing, the right exit code, nothing left.

use corral_tests::Corral;

fn refused(corral: &Corral, words: &[&str], code: i32, parts: &[&str]) {
    let said = corral.say(words);
    assert_eq!(said.code, code, "{words:?}: {said:?}");
    for part in parts {
        assert!(said.err.contains(part), "{words:?}: {part:?} is not in {:?}", said.err);
    }
    assert!(said.err.lines().count() <= 2, "{words:?}: more than a line and where to read: {}", said.err);
    assert!(said.out.is_empty(), "{words:?}: {}", said.out);
}

#[test]
fn flags_and_names() {
    let corral = Corral::new();
    refused(&corral, &["run", "--gpus", "all", "busybox", "true"], 125, &["--gpus", "not supported yet"]);
    refused(&corral, &["run", "-p", "80:80", "busybox", "true"], 125, &["--publish"]);
    refused(&corral, &["run", "-itp", "80:80", "busybox", "true"], 125, &["--publish"]);
    refused(
        &corral,
        &["run", "--rm", "--gpus=all", "busybox", "true"],
        125,
        &["--gpus", "not supported yet"],
    );
    refused(&corral, &["create", "--frobnicate", "busybox"], 125, &["unknown flag: --frobnicate"]);
    refused(&corral, &["run", "--network", "bridge", "busybox"], 125, &["bridge", "none and host"]);
    refused(&corral, &["run", "--memory", "lots", "busybox"], 125, &["lots"]);
    refused(&corral, &["run", "--name", "a/b", "busybox"], 125, &["a/b"]);
    refused(
        &corral,
        &["run", "-v", "/no/such/dir:/d:ro", "busybox", "true"],
        125,
        &["/no/such/dir", "does not exist"],
    );
    refused(&corral, &["run", "-v", "/tmp:../x", "busybox", "true"], 125, &["../x"]);
    refused(&corral, &["run", "Not_An_Image!", "true"], 125, &["Not_An_Image!"]);
    refused(&corral, &["run", "-u", "nobody-here", "busybox", "true"], 125, &["nobody-here"]);
    refused(&corral, &["run", "--ulimit", "nofile=2:1", "busybox", "true"], 125, &["nofile=2:1"]);
    refused(&corral, &["build", "."], 125, &["'build' is not there yet"]);
    refused(&corral, &["frobnicate"], 1, &["'frobnicate' is not a corral command"]);
    refused(&corral, &["logs", "nobody"], 1, &["no such container: nobody"]);
    refused(&corral, &["rmi", "nothing"], 1, &["nothing"]);
    let said = corral.say(&["inspect", "--type", "container", "busybox"]);
    assert_eq!((said.code, said.out.as_str()), (1, "[]\n"), "as Docker: an empty array beside the error");
    assert!(said.err.contains("no such container: busybox"), "{said:?}");
    assert_eq!(corral.ok(&["ps", "-aq"]), "");
}

#[test]
fn hostile_archives() {
    let corral = Corral::empty();
    refused_archive(&corral, "../escape", b"x");
    refused_archive(&corral, "/absolute", b"x");
    let said = corral.feed(&["load"], b"this is not an archive");
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(corral.ok(&["images", "-q"]), "");
}

/// The `tar` crate refuses to write such names, so the header is made by hand.
fn refused_archive(corral: &Corral, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_mode(0o644);
    header.set_size(bytes.len() as u64);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    let mut tar = tar::Builder::new(Vec::new());
    tar.append(&header, bytes).expect("archive");
    let said = corral.feed(&["import", "-", "evil"], &tar.into_inner().expect("archive"));
    assert_eq!(said.code, 1, "{name}: {said:?}");
    assert!(said.err.contains(name.trim_start_matches('/')), "{name}: {said:?}");
}

#[test]
fn an_image_of_another_processor_is_refused_at_run_with_the_way_out() {
    let corral = Corral::new();
    let dir = corral.dir().join("layout");
    std::fs::create_dir(&dir).expect("directory");
    let archive = corral.dir().join("image.tar");
    corral.ok(&["save", "--format", "docker-archive", "-o", archive.to_str().expect("text"), "busybox"]);
    let ended =
        std::process::Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&dir).status().expect("tar");
    assert!(ended.success());
    // The image's config with another architecture is another image: it is imported as such.
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).expect("manifest")).expect("JSON");
    let config_path = dir.join(manifest[0]["Config"].as_str().expect("config"));
    let config = std::fs::read_to_string(&config_path).expect("config");
    assert!(
        config.contains("\"architecture\":\"amd64\"") || config.contains("\"architecture\":\"arm64\""),
        "{config}"
    );
    let other = config
        .replace("\"architecture\":\"amd64\"", "\"architecture\":\"s390x\"")
        .replace("\"architecture\":\"arm64\"", "\"architecture\":\"s390x\"");
    let docker = corral.dir().join("docker");
    std::fs::create_dir(&docker).expect("directory");
    std::fs::write(docker.join("config.json"), &other).expect("config");
    let layer = manifest[0]["Layers"][0].as_str().expect("layer");
    std::fs::copy(dir.join(layer), docker.join("layer.tar")).expect("layer");
    std::fs::write(
        docker.join("manifest.json"),
        r#"[{"Config":"config.json","RepoTags":["foreign:latest"],"Layers":["layer.tar"]}]"#,
    )
    .expect("manifest");
    let packed = corral.dir().join("foreign.tar");
    let ended = std::process::Command::new("tar")
        .arg("-cf")
        .arg(&packed)
        .arg("-C")
        .arg(&docker)
        .arg(".")
        .status()
        .expect("tar");
    assert!(ended.success());
    assert_eq!(corral.ok(&["load", "-i", packed.to_str().expect("text")]), "Loaded image: foreign:latest\n");
    refused(&corral, &["run", "--rm", "foreign", "true"], 125, &["foreign", "s390x"]);
}

/// The forms in which Docker's client takes flags.
#[test]
fn flags_are_typed_as_docker_takes_them() {
    let corral = Corral::new();
    let run = |flags: &[&str], program: &[&str]| {
        corral.ok(&[&["run", "--rm"], flags, &["busybox"], program].concat())
    };
    assert_eq!(run(&["-eA=1", "-e=B=2", "-w/tmp", "-uroot"], &["sh", "-c", "echo $A $B $PWD"]), "1 2 /tmp\n");
    assert_eq!(run(&["--rm", "-m", "1g", "-m64m", "-w", "/", "-w=/etc", "-i=true"], &["pwd"]), "/etc\n");
    assert_eq!(run(&["--user=", "--name=", "--workdir=", "-m", "0", "--cpus=0"], &["id", "-u"]), "0\n");
    assert_eq!(run(&["-ha_b"], &["hostname"]), "a_b\n");
    assert_eq!(run(&[], &["echo", "-m", "--rm"]), "-m --rm\n", "the program's own");
    corral.ok(&["create", "--name", "/web", "busybox", "true"]);
    assert_eq!(corral.ok(&["-D", "ps", "-a", "--format", "{{.Names}}", "-f", "name=^/web$"]), "web\n");
    assert_eq!(corral.ok(&["inspect", "-f", "{{.Name}}", "/web"]), "/web\n");
    corral.ok(&["rm", "/web"]);
    for (words, needs) in [
        (&["rm"][..], "'corral rm' requires at least 1 argument"),
        (&["tag", "a"], "'corral tag' requires 2 arguments"),
        (&["ps", "x"], "'corral ps' accepts no arguments"),
        (&["exec", "x"], "'corral exec' requires at least 2 arguments"),
    ] {
        refused(&corral, words, 1, &[needs, "--help"]);
    }
    refused(&corral, &["run", "--name"], 125, &["flag needs an argument: --name"]);
    refused(&corral, &["logs", "--frob", "x"], 125, &["unknown flag: --frob"]);
}
