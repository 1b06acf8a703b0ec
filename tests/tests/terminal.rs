//! Terminals, through script(1), which gives the command one.

use std::process::{Command, Stdio};

use corral_tests::{Corral, Said, binary};

/// What `corral WORDS` writes to a terminal, and its exit code.
fn on_a_terminal(corral: &Corral, words: &str) -> Said {
    let line = format!("{} {words}", binary().display());
    let mut script = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("CORRAL_ROOT", corral.root())
        .env("CORRAL_RUN", corral.run_root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("script (bsdutils) runs");
    // Kept open: at the end of its input, script types an end of file into the terminal.
    let keyboard = script.stdin.take();
    let output = script.wait_with_output().expect("script ends");
    drop(keyboard);
    Said::from(output)
}

#[test]
fn run_and_exec_give_a_terminal_of_the_containers_own() {
    let corral = Corral::new();
    let said = on_a_terminal(&corral, "run -it --rm busybox sh -c 'tty; echo $TERM; exit 4'");
    assert_eq!((said.code, said.out.as_str()), (4, "/dev/pts/0\r\nxterm\r\n"), "{said:?}");
    corral.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let said = on_a_terminal(&corral, "exec -it box sh -c 'tty; exit 3'");
    assert_eq!((said.code, said.out.as_str()), (3, "/dev/pts/0\r\n"), "{said:?}");
}

#[test]
fn without_a_terminal_of_ours_it_says_what_to_leave_out() {
    let corral = Corral::new();
    let said = corral.say(&["run", "-it", "--rm", "busybox", "true"]);
    assert_eq!(said.code, 1, "as Docker");
    assert!(said.err.contains("not a TTY"), "{said:?}");
    assert_eq!(corral.ok(&["ps", "-aq"]), "");
}

#[test]
fn what_a_container_writes_does_not_command_the_terminal() {
    let corral = Corral::new();
    let attack = r"printf 'a\033]52;c;ZXZpbA==\007b\033]0;title\007c\033[31md\n'";
    let said = on_a_terminal(&corral, &format!("run --rm busybox sh -c \"{attack}\""));
    assert!(!said.out.contains("\x1b]"), "no clipboard, no title: {said:?}");
    assert!(said.out.contains("ab") && said.out.contains('d'), "{said:?}");
    let plain = corral.say(&["run", "--rm", "busybox", "sh", "-c", attack]);
    assert!(plain.out.contains("\x1b]52;"), "data stays as it is: {plain:?}");
}

#[test]
fn what_a_label_says_does_not_command_the_terminal() {
    let corral = Corral::new();
    let label = "x=a\u{1b}]52;c;ZXZpbA==\u{7}b";
    corral.ok(&["create", "--name", "evil", "-l", label, "busybox", "true"]);
    for words in [
        "ps -a --format '{{.Labels}}'",
        "ps -a --format '{{.Label `x`}}'",
        "ps -a --format json",
        "inspect evil",
        "inspect -f '{{.Config.Labels.x}}' evil",
        "inspect -f '{{range .Config.Labels.x}}{{end}}' evil",
    ] {
        let said = on_a_terminal(&corral, words);
        assert!(!said.out.contains('\u{1b}') && !said.out.contains('\u{7}'), "{words}: {said:?}");
        assert!(said.out.contains("52;c;"), "{words}: {said:?}");
    }
    assert_eq!(
        corral.ok(&["ps", "-a", "--format", "{{.Labels}}"]),
        format!("{label}\n"),
        "data stay as they are"
    );
}
