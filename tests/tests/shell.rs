//! What a shell is offered, and the manual: both come from the definitions that parse the words.

use std::process::Command;

use corral_tests::Corral;

/// What bash makes of the words typed so far.
fn bash(corral: &Corral, words: &[&str]) -> Vec<String> {
    let script = "source <(corral completion bash); COMP_WORDS=(corral \"$@\"); COMP_CWORD=$#; _corral; \
                  printf '%s\\n' \"${COMPREPLY[@]}\"";
    let binary = corral.command::<&str>(&[]).get_program().to_owned();
    let bin = corral.dir().join("bin");
    std::fs::create_dir_all(&bin).expect("directory");
    drop(std::os::unix::fs::symlink(binary, bin.join("corral"))); // there from the last call
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("bash");
    for (name, value) in corral.command::<&str>(&[]).get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let output = command.env("PATH", path).args(["-c", script, "bash"]).args(words).output().expect("bash");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect()
}

#[test]
fn verbs_flags_and_names_are_offered() {
    if Command::new("bash").arg("--version").output().is_err() {
        println!("SKIP: verbs_flags_and_names_are_offered: bash is not installed");
        return;
    }
    let corral = Corral::new();
    corral.ok(&["create", "--name", "made", "busybox", "true"]);
    corral.ok(&["volume", "create", "data"]);
    assert_eq!(bash(&corral, &["st"]), ["start", "stats", "stop"]);
    assert_eq!(bash(&corral, &["volume", "e"]), ["export"]);
    assert_eq!(bash(&corral, &["run", "--health-i"]), ["--health-interval"]);
    assert_eq!(bash(&corral, &["volume", "ls", "--f"]), ["--filter", "--format"]);
    assert_eq!(bash(&corral, &["rm", ""]), ["made"]);
    assert_eq!(bash(&corral, &["stop", ""]), [""; 0], "it does not run");
    assert_eq!(bash(&corral, &["volume", "rm", "d"]), ["data"]);
    assert!(bash(&corral, &["run", "--rm", "busy"]).iter().all(|name| name.starts_with("busybox")));
    assert_eq!(bash(&corral, &["run", "busybox", ""]), [""; 0], "files");
    for shell in ["zsh", "fish"] {
        assert!(corral.ok(&["completion", shell]).contains("__complete"));
    }
    let said = corral.say(&["completion", "tcsh"]);
    assert!(said.code == 125 && said.err.contains("tcsh"), "{said:?}");
}

#[test]
fn every_verb_has_a_manual_page() {
    let corral = Corral::new();
    let listed = corral.ok(&["__complete", ""]);
    let mut pages = 0;
    for verb in listed.lines().filter_map(|line| line.split('\t').next()) {
        let said = corral.say(&[verb, "__man"]);
        if said.code != 0 {
            assert!(["container", "image", "oci", "system", "volume"].contains(&verb), "{verb}: {said:?}");
            continue;
        }
        assert!(said.out.contains(&format!(".TH corral-{verb} 1")), "{verb}: {}", said.out);
        assert!(said.out.contains(".SH OPTIONS"), "{verb}");
        pages += 1;
    }
    assert!(pages > 35, "{pages} pages");
    assert!(corral.ok(&["__man"]).contains("corral\\-run(1)"));
    assert!(corral.ok(&["volume", "ls", "__man"]).contains("corral-volume-ls"));
}
