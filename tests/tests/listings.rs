//! What is listed, filtered, renamed and pruned, as a person types it.

use std::collections::BTreeSet;

use corral_tests::{Corral, eventually};

/// `web` runs, `once` has exited with 3, `later` was only created; in this order of age.
fn world() -> Corral {
    let corral = Corral::new();
    corral.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "-l",
        "tier=front",
        "-v",
        "data:/data",
        "busybox",
        "sleep",
        "1000",
    ]);
    assert_eq!(corral.say(&["run", "--name", "once", "busybox", "sh", "-c", "exit 3"]).code, 3);
    corral.ok(&["create", "--name", "later", "-l", "tier=back", "busybox", "true"]);
    corral
}

fn names(corral: &Corral, words: &[&str]) -> String {
    let listed = corral.ok(&[&["ps", "--format", "{{.Names}}"], words].concat());
    listed.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn containers_are_filtered() {
    let corral = world();
    assert_eq!(names(&corral, &[]), "web");
    assert_eq!(names(&corral, &["-n", "2"]), "later once");
    assert_eq!(names(&corral, &["-l"]), "later");
    let id = corral.ok(&["ps", "-q", "--no-trunc"]);
    let id = format!("id={}", &id[..20]);
    for (filter, expect) in [
        ("name=e", "later once web"),
        ("name=^we", "web"),
        ("name=nothing", ""),
        (id.as_str(), "web"),
        ("label=tier", "later web"),
        ("label=tier=back", "later"),
        ("status=exited", "once"),
        ("status=created", "later"),
        ("exited=3", "once"),
        ("exited=0", ""),
        ("ancestor=busybox", "later once web"),
        ("ancestor=nothing", ""),
        ("before=once", "web"),
        ("since=once", "later"),
        ("volume=data", "web"),
        ("volume=/data", "web"),
        ("network=none", "later once web"),
        ("network=bridge", ""),
        ("publish=80", ""),
        ("expose=80/tcp", ""),
        ("health=none", "later once web"),
        ("is-task=true", ""),
        ("is-task=false", "later once web"),
        ("isolation=default", "later once web"),
    ] {
        assert_eq!(names(&corral, &["-a", "--filter", filter]), expect, "{filter}");
    }
    assert_eq!(names(&corral, &["--all=true", "--latest=false"]), "later once web", "as Docker's flags");
    assert_eq!(names(&corral, &["--all=false"]), "web");
    let said = corral.say(&["ps", "--all=maybe"]);
    assert!(said.code == 125 && said.err.contains("\"maybe\" for \"--all\""), "{said:?}");
    assert_eq!(
        names(&corral, &["-a", "-a", "-n1", "-n=2", "--last", "-1"]),
        "later once web",
        "the last one counts"
    );
    assert_eq!(corral.ok(&["run", "--rm=true", "busybox", "echo", "--rm=true"]), "--rm=true\n");
    // A state is asked for by name, so what does not run is shown too.
    assert_eq!(names(&corral, &["-f", "status=exited", "-f", "status=created"]), "later once");
    assert_eq!(names(&corral, &["-a", "-f", "label=tier", "-f", "label=tier=front"]), "web", "all labels");
    for (filter, part) in [
        ("size=1", "invalid filter 'size'"),
        ("word", "bad format of filter (expected name=value)"),
        ("status=well", "invalid filter 'status=well'"),
        ("health=well", "invalid filter 'health=well'"),
        ("exited=three", "invalid filter 'exited=three'"),
        ("is-task=2", "invalid filter 'is-task=2'"),
        ("publish=http", "invalid filter 'publish=http'"),
        ("before=nobody", "no such container: nobody"),
    ] {
        let said = corral.say(&["ps", "-f", filter]);
        assert!(said.code != 0 && said.err.contains(part) && said.out.is_empty(), "{filter}: {said:?}");
    }
}

#[test]
fn a_template_is_judged_without_a_row() {
    let corral = Corral::empty();
    let said = corral.say(&["ps", "--format", "{{.Nope}}"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.contains("can't evaluate field Nope in type *formatter.ContainerContext"), "{said:?}");
    // What is wrong only with a value is not known yet.
    assert_eq!(corral.ok(&["ps", "--format", "{{slice .ID 0 3}}{{.Label \"x\"}}"]), "");
}

#[test]
fn use_is_shown_by_a_template() {
    let corral = world();
    let told = corral.ok(&["stats", "--no-stream", "--format", "{{.Name}} {{.Container}}|{{.PIDs}}", "web"]);
    assert_eq!(told, "web web|1\n");
    let told = corral.ok(&["stats", "--no-stream", "--format", "table {{.Name}}\\t{{.CPUPerc}}"]);
    assert!(told.starts_with("NAME      CPU %\nweb       ") && told.ends_with("%\n"), "{told}");
    let line = corral.ok(&["stats", "--no-stream", "-a", "--format", "json"]);
    assert_eq!(line.lines().count(), 3, "{line}");
    assert!(corral.ok(&["stats", "--no-stream"]).starts_with("CONTAINER ID   NAME      CPU %"), "a table");
    let said = corral.say(&["stats", "--no-stream", "--format", "{{.Nope}}"]);
    assert!(said.code == 1 && said.err.contains("can't evaluate field Nope"), "{said:?}");
    assert_eq!(corral.say(&["stats", "--no-stream", "--format", "{{"]).code, 1);
}

#[test]
fn help_is_written_as_dockers() {
    let corral = Corral::empty();
    for (verb, about, usage, aliases) in [
        (
            &["run"][..],
            "Create and run a new container from",
            "run [OPTIONS] IMAGE|DIR [COMMAND] [ARG...]",
            "corral container run, corral run",
        ),
        (
            &["stop"],
            "Stop one or more running",
            "stop [OPTIONS] CONTAINER [CONTAINER...]",
            "corral container stop, corral stop",
        ),
        (
            &["rmi"],
            "Remove one or more images",
            "rmi [OPTIONS] IMAGE [IMAGE...]",
            "corral image rm, corral image remove, corral rmi",
        ),
        (
            &["volume", "rm"],
            "Remove one or more volumes",
            "volume rm [OPTIONS] VOLUME [VOLUME...]",
            "corral volume rm, corral volume remove",
        ),
        (&["wait"], "Block until", "wait CONTAINER [CONTAINER...]", "corral container wait, corral wait"),
    ] {
        let help = corral.ok(&[verb, &["--help"]].concat());
        assert!(help.starts_with(about), "{help}");
        assert!(help.contains(&format!("\nUsage: corral {usage}\n")), "{help}");
        assert!(help.contains(&format!("\nAliases:\n  {aliases}\n")), "{help}");
    }
    assert!(!corral.ok(&["version", "--help"]).contains("Aliases"));
}

#[test]
fn sizes_are_those_of_the_writable_layer() {
    let corral = Corral::new();
    let big = "dd if=/dev/zero of=/big bs=1000 count=5000 2>/dev/null; ln /big /again; ln -s /proc /link";
    corral.ok(&["run", "--name", "big", "busybox", "sh", "-c", big]);
    let listed = corral.ok(&["ps", "-as", "--format", "{{.Size}}"]);
    assert!(listed.starts_with("5MB (virtual "), "{listed}");
    let size = corral.ok(&["inspect", "-s", "-f", "{{.SizeRw}}", "big"]);
    assert_eq!(size.trim(), "5000005", "one file of two names, and a link");
    assert!(corral.ok(&["ps", "-a"]).lines().all(|line| !line.contains("virtual")));
    let usage = corral.ok(&["system", "df", "--format", "{{.Type}}={{.TotalCount}},{{.Active}},{{.Size}}"]);
    assert!(usage.contains("Containers=1,0,5MB"), "{usage}");
    let told = corral.ok(&["system", "df", "-v"]);
    assert!(told.contains("Local Volumes space usage:") && told.contains("big"), "{told}");
}

#[test]
fn images_are_filtered() {
    let corral = Corral::new();
    corral.ok(&["tag", "busybox", "example.com/team/tool:v1"]);
    let list = |words: &[&str]| -> String {
        let listed = corral.ok(&[&["images", "--format", "{{.Repository}}:{{.Tag}}"], words].concat());
        listed.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for (words, expect) in [
        (&["busy*"][..], "busybox:latest"),
        (&["docker.io/library/busybox"], "busybox:latest"),
        (&["busybox:v2"], ""),
        (&["example.com/*/tool"], "example.com/team/tool:v1"),
        (&["-f", "reference=*:latest"], "busybox:latest"),
        (&["-f", "reference=nothing", "-f", "reference=busybox"], "busybox:latest"),
        (&["-f", "dangling=true"], ""),
        (&["-f", "label=none"], ""),
        (&["-f", "until=24h"], ""),
        (&["-f", "before=busybox"], ""),
    ] {
        assert_eq!(list(words), expect, "{words:?}");
    }
    for (filter, part) in [
        ("size=1", "invalid filter 'size'"),
        ("dangling=maybe", "invalid filter 'dangling=maybe'"),
        ("reference=[", "syntax error in pattern"),
        ("until=soon", "invalid time"),
        ("since=nothing", "nothing"),
    ] {
        let said = corral.say(&["images", "-f", filter]);
        assert!(said.code == 1 && said.err.contains(part), "{filter}: {said:?}");
    }
}

#[test]
fn a_name_moves_and_the_container_stays() {
    let corral = world();
    for name in ["web", "once", "later"] {
        let id = corral.inspect(name)["Id"].clone();
        corral.ok(&["rename", name, "other"]);
        assert_eq!(corral.inspect("other")["Id"], id);
        assert_eq!(corral.say(&["inspect", name]).code, 1, "{name} is free");
        corral.ok(&["create", "--name", name, "busybox", "true"]);
        corral.ok(&["rm", name]);
        corral.ok(&["container", "rename", "other", name]);
    }
    for (words, part) in [
        (["rename", "web", "once"], "already in use"),
        (["rename", "web", "web"], "is called web already"),
        (["rename", "web", "a/b"], "a/b"),
        (["rename", "web", ""], "may be empty"),
        (["rename", "nobody", "x1"], "no such container: nobody"),
    ] {
        let said = corral.say(&words);
        assert!(said.code == 1 && said.err.contains(part), "{words:?}: {said:?}");
    }
    assert_eq!(names(&corral, &["-a"]), "later once web");
    corral.ok(&["run", "-d", "--rm", "--name", "passing", "busybox", "sleep", "1000"]);
    corral.ok(&["rename", "passing", "passed"]);
    corral.ok(&["kill", "passed"]);
    eventually("the container is gone", || corral.say(&["inspect", "passed"]).code == 1);
    corral.ok(&["run", "--rm", "--name", "passed", "busybox", "true"]);
    corral.ok(&["run", "--rm", "--name", "passing", "busybox", "true"]);
}

#[test]
fn no_port_is_published() {
    let corral = world();
    assert_eq!(corral.ok(&["port", "web"]), "");
    let said = corral.say(&["port", "web", "80/tcp"]);
    assert_eq!((said.code, said.err.as_str()), (1, "corral: no public port '80/tcp' published for web\n"));
    assert!(corral.say(&["port", "web", "http"]).err.contains("invalid port (http)"));
    assert!(corral.say(&["port", "nobody"]).err.contains("no such container: nobody"));
}

#[test]
fn pruning_asks_first_and_takes_what_is_not_in_use() {
    let corral = world();
    let once = corral.inspect("once")["Id"].as_str().expect("id").to_owned();
    let warning =
        "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] ";
    for answer in ["", "n\n", "yes\n"] {
        let said = corral.feed(&["container", "prune"], answer.as_bytes());
        assert_eq!((said.code, said.out.as_str()), (0, warning), "{answer:?}");
    }
    assert_eq!(names(&corral, &["-a"]), "later once web");
    let said = corral.ok(&["container", "prune", "-f", "--filter", "until=1h"]);
    assert_eq!(said, "Total reclaimed space: 0B\n");
    let said = corral.feed(&["container", "prune", "--filter", "label!=tier"], b"y\n");
    let expect = format!("{warning}Deleted Containers:\n{once}\n\nTotal reclaimed space: 0B\n");
    assert_eq!(said.out, expect);
    assert_eq!(names(&corral, &["-a"]), "later web");

    corral.ok(&["volume", "create", "spare"]);
    assert_eq!(corral.ok(&["volume", "ls", "-q", "-f", "dangling=true"]), "spare\n");
    assert_eq!(corral.ok(&["volume", "prune", "-f"]), "Total reclaimed space: 0B\n", "none is anonymous");
    assert_eq!(
        corral.ok(&["volume", "prune", "-af"]),
        "Deleted Volumes:\nspare\n\nTotal reclaimed space: 0B\n"
    );
    assert_eq!(corral.ok(&["volume", "ls", "-q"]), "data\n");

    assert_eq!(corral.ok(&["image", "prune", "-af"]), "Total reclaimed space: 0B\n", "it is in use");
    corral.ok(&["tag", "busybox", "spare"]);
    corral.ok(&["rmi", "busybox"]);
    assert_eq!(
        corral.ok(&["image", "prune", "-f", "--filter", "dangling=true"]),
        "Total reclaimed space: 0B\n"
    );
    assert_eq!(
        corral.ok(&["image", "prune", "-f", "--filter", "dangling=false"]),
        "Total reclaimed space: 0B\n"
    );
    corral.ok(&["tag", "spare", "busybox"]);
    corral.ok(&["rmi", "spare"]);
    corral.ok(&["rm", "-f", "web", "later"]);
    let said = corral.say(&["system", "prune", "--volumes", "--filter", "until=1h", "-f"]);
    assert!(said.code == 1 && said.err.contains("not supported with \"--volumes\""), "{said:?}");
    assert_eq!(corral.ok(&["system", "prune", "-f"]), "Total reclaimed space: 0B\n", "the image has a name");
    let said = corral.ok(&["system", "prune", "-af"]);
    assert!(said.starts_with("Deleted Images:\nuntagged: busybox:latest\ndeleted: sha256:"), "{said}");
    assert!(said.ends_with("B\n") && !said.ends_with("space: 0B\n"), "{said}");
    assert_eq!(corral.ok(&["images", "-q"]), "");
}

#[test]
fn management_commands_are_the_same_verbs() {
    let corral = world();
    let plain = corral.ok(&["ps", "-aq"]);
    for words in [["container", "ls", "-aq"], ["container", "list", "-aq"], ["container", "ps", "-aq"]] {
        assert_eq!(corral.ok(&words), plain);
    }
    assert_eq!(corral.ok(&["image", "ls", "-q"]), corral.ok(&["images", "-q"]));
    assert_eq!(corral.ok(&["container", "run", "--rm", "busybox", "echo", "hello"]), "hello\n");
    assert_eq!(corral.ok(&["image", "inspect", "-f", "{{.Os}}", "busybox"]), "linux\n");
    assert_eq!(corral.ok(&["container", "inspect", "-f", "{{.Name}}", "web"]), "/web\n");
    assert_eq!(corral.say(&["container", "inspect", "busybox"]).out, "[]\n", "an image is no container");
    for group in ["container", "image", "system", "volume"] {
        let help = corral.ok(&[group]);
        assert!(help.starts_with(&format!("Usage:  corral {group} COMMAND")), "{help}");
        assert_eq!(corral.ok(&[group, "--help"]), help);
        let said = corral.say(&[group, "frobnicate"]);
        assert!(
            said.code == 1 && said.err.contains(&format!("unknown command: corral {group} frobnicate")),
            "{said:?}"
        );
        // What the help names is there.
        let commands: BTreeSet<&str> = help
            .lines()
            .filter(|line| line.starts_with("  "))
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        for command in commands {
            assert!(corral.ok(&[group, command, "--help"]).contains("Usage:"), "{group} {command}");
        }
    }
    let said = corral.say(&["image", "pull", "busybox"]);
    assert!(said.code == 125 && said.err.contains("'pull' is not there yet"), "{said:?}");
}

#[test]
fn the_installation_is_told() {
    let corral = world();
    let info = corral.ok(&["info"]);
    for line in
        [" Containers: 3", "  Running: 1", "  Stopped: 2", " Images: 1", "  seccomp", " OSType: linux"]
    {
        assert!(info.lines().any(|told| told == line), "{line:?} in {info}");
    }
    let format = "{{.ContainersRunning}} {{.OSType}} {{.DockerRootDir}} {{len .SecurityOptions}}";
    let told = corral.ok(&["system", "info", "-f", format]);
    assert_eq!(told, format!("1 linux {} 3\n", corral.root().display()));
    let version = corral.ok(&["version", "--format", "{{.Client.Version}} {{.Server.Os}}"]);
    let keys = "{{.Client.APIVersion}}{{.Client.GoVersion}}{{.Client.GitCommit}}{{.Client.BuildTime}}{{.Client.Context}} \
                {{.Server.APIVersion}} {{.Server.MinAPIVersion}}{{.Server.GitCommit}}{{.Server.GoVersion}} {{.Server.Experimental}}";
    assert_eq!(corral.ok(&["version", "--format", keys]), "1.50 1.50 1.50 false\n");
    assert!(version.ends_with(" linux\n") && version.starts_with(|c: char| c.is_ascii_digit()), "{version}");
    assert!(corral.ok(&["version"]).starts_with("Client:\n Version:           "));
    for words in [["version", "-f", "{{.Client"], ["info", "-f", "{{nope}}"], ["inspect", "-f", "{{end}}"]] {
        let said = corral.say(&[&words[..], &["busybox"][..usize::from(words[0] == "inspect")]].concat());
        assert!(said.code == 64 && said.err.contains("template parsing error: template: "), "{said:?}");
    }
}
