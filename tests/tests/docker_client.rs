//! The command line held against Docker's own client, which the set-up installs: its flags, and what it makes of a
//! format. The client talks to an engine of a few lines here, which answers with what `corral` says of its own
//! containers, so that both print the same facts through the same templates.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;

use corral_tests::{Corral, Said};
use serde_json::{Value, json};

/// The set-up installs it; a machine that is nothing but a kernel and the tests lacks it.
fn lacks_docker(test: &str) -> bool {
    let lacks = Command::new("docker").arg("--version").output().is_err();
    if lacks {
        println!("SKIP: docker_client::{test}: docker's client is not installed");
    }
    lacks
}

/// Whether the client is of today. Debian 12's, of 2020, knows less and sorts no labels: what it prints otherwise is not
/// held against it.
fn is_recent(test: &str) -> bool {
    let said = Command::new("docker").arg("--version").output().expect("docker runs");
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let major = said.split_whitespace().find_map(|word| word.split_once('.')?.0.parse::<u32>().ok());
    let recent = major.is_some_and(|major| major >= 25);
    if !recent {
        println!("SKIP: docker_client::{test}: in part, docker's client is older than version 25");
    }
    recent
}

/// Verbs of Docker's that are ours too, their words apart by spaces.
const VERBS: &[&str] = &[
    "attach",
    "create",
    "exec",
    "history",
    "images",
    "import",
    "info",
    "inspect",
    "kill",
    "load",
    "logs",
    "pause",
    "port",
    "ps",
    "rename",
    "restart",
    "rm",
    "rmi",
    "run",
    "save",
    "start",
    "stop",
    "tag",
    "unpause",
    "version",
    "wait",
    "container attach",
    "container create",
    "container exec",
    "container inspect",
    "container kill",
    "container logs",
    "container ls",
    "container pause",
    "container port",
    "container prune",
    "container rename",
    "container restart",
    "container rm",
    "container run",
    "container start",
    "container stop",
    "container unpause",
    "container wait",
    "image history",
    "image import",
    "image inspect",
    "image load",
    "image ls",
    "image prune",
    "image rm",
    "image save",
    "image tag",
    "system df",
    "system info",
    "system prune",
    "volume create",
    "volume inspect",
    "volume ls",
    "volume prune",
    "volume rm",
];

/// Flags that a verb's help names: the long one, and the short one if there is.
fn flags(help: &str) -> Vec<(Option<String>, String)> {
    let mut found = Vec::new();
    for line in help.lines().map(str::trim_start) {
        let (short, rest) = match line.strip_prefix('-') {
            Some(rest) if rest.get(1..4) == Some(", -") => (Some(rest[..1].to_owned()), &rest[3..]),
            Some(rest) => (None, rest),
            None => continue,
        };
        if let Some(long) = rest.trim_start_matches('-').split([' ', '=', '[', ',']).next()
            && rest.starts_with('-')
        {
            found.push((short, long.to_owned()));
        }
    }
    found
}

#[test]
fn each_flag_of_dockers_is_there_or_refused_by_name() {
    if lacks_docker("each_flag_of_dockers_is_there_or_refused_by_name") {
        return;
    }
    let corral = Corral::empty();
    let mut compared = 0;
    for verb in VERBS {
        let words: Vec<&str> = verb.split(' ').collect();
        let help = Command::new("docker").args(&words).arg("--help").output().expect("docker runs");
        assert!(help.status.success(), "docker {verb} --help");
        let told = corral.ok(&[&words[..], &["--help"]].concat());
        let ours = flags(&told);
        for (short, long) in flags(&String::from_utf8_lossy(&help.stdout)) {
            compared += 1;
            let there = ours.iter().find(|(_, known)| *known == long);
            match (there, &short) {
                (Some((known, _)), _) if short.is_none() || *known == short => {}
                (Some(_), _) => {
                    panic!("{verb}: --{long} lacks its short form -{}", short.unwrap_or_default())
                }
                (None, _) if told.contains(&format!("--{long}]")) => {
                    let said = corral.say(&[&words[..], &[&format!("--{long}=7"), "word", "word"]].concat());
                    assert!(!said.err.contains("unknown flag"), "{verb}: an alias: {said:?}");
                }
                (None, _) => {
                    let typed = short.iter().map(|short| format!("-{short}")).chain([format!("--{long}")]);
                    for flag in typed {
                        let said = corral.say(&[&words[..], &[&flag, "value", "word"]].concat());
                        assert_eq!(said.code, 125, "{verb} {flag}: {said:?}");
                        let named = said.err.contains(&format!("--{long} is known and not supported"));
                        assert!(named, "{verb} {flag}: {said:?}");
                    }
                }
            }
        }
        let said = corral.say(&[&words[..], &["--frobnicate", "word", "word"]].concat());
        assert_eq!(said.code, 125, "{verb}: {said:?}");
        assert!(said.err.contains("unknown flag: --frobnicate"), "{verb}: {said:?}");
    }
    assert!(compared > 200, "docker's help was not understood: {compared} flags");
}

/// An engine that answers from a list of paths and documents.
struct Engine {
    socket: PathBuf,
}

impl Engine {
    fn start(corral: &Corral, answers: Vec<(&'static str, String)>) -> Self {
        let socket = corral.dir().join("engine.sock");
        let listener = UnixListener::bind(&socket).expect("socket");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let answers = answers.clone();
                std::thread::spawn(move || drop(answer(&stream, &answers)));
            }
        });
        Self { socket }
    }

    fn docker(&self, words: &[&str]) -> Said {
        self.docker_in("UTC", words)
    }

    /// The client in a time zone.
    fn docker_in(&self, zone: &str, words: &[&str]) -> Said {
        let mut command = Command::new("docker");
        command.args(words).env("DOCKER_HOST", format!("unix://{}", self.socket.display()));
        // The client's own configuration may hold formats.
        command.env("DOCKER_CONFIG", "/nonexistent").env("TZ", zone).env_remove("DOCKER_CONTEXT");
        Said::from(command.output().expect("docker runs"))
    }
}

/// HTTP/1.1 as far as the client speaks it: requests one after another on a connection.
fn answer(stream: &UnixStream, answers: &[(&str, String)]) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        let mut words = line.split(' ');
        let (method, target) =
            (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default());
        let path = target.split('?').next().unwrap_or_default();
        // /v1.50/containers/json
        let path = match path.strip_prefix("/v1.").and_then(|rest| rest.find('/').map(|at| &rest[at..])) {
            Some(rest) => rest.to_owned(),
            None => path.to_owned(),
        };
        let mut length = 0;
        loop {
            line.clear();
            reader.read_line(&mut line)?;
            let header = line.trim_end().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if header.is_empty() {
                break;
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        let (status, body) = match answers.iter().find(|(known, _)| *known == path) {
            _ if path == "/_ping" => ("200 OK", "OK".to_owned()),
            Some((_, document)) => ("200 OK", document.clone()),
            None => ("404 Not Found", json!({ "message": "not here" }).to_string()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nApi-Version: 1.47\r\nOstype: linux\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = stream;
        stream.write_all(head.as_bytes())?;
        if method != "HEAD" {
            stream.write_all(body.as_bytes())?;
        }
        line.clear();
    }
    Ok(())
}

/// A running, an exited and a created container, with labels, a volume and an image of two names.
fn world() -> Corral {
    let corral = Corral::new();
    corral.ok(&["tag", "busybox", "example.com/team/tool:v1.2"]);
    corral.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "-l",
        "com.example.my-key=värde",
        "-l",
        "tier=<front>",
        "-v",
        "data:/data",
        "-e",
        "A=b c",
        "busybox",
        "sh",
        "-c",
        "sleep 1000 # a long command line",
    ]);
    corral.ok(&["run", "--name", "once", "busybox", "true"]);
    corral.ok(&[
        "create",
        "--name",
        "later",
        "--read-only",
        "example.com/team/tool:v1.2",
        "echo",
        "two words",
    ]);
    corral
}

/// What Docker's engine would say of our containers in a listing.
fn listed(corral: &Corral) -> Value {
    let ids = corral.ok(&["ps", "-aq", "--no-trunc"]);
    let status =
        |id: &str| corral.ok(&["ps", "-a", "--filter", &format!("id={id}"), "--format", "{{.Status}}"]);
    let one = |id: &str| {
        let told = corral.inspect(id);
        let created = corral.ok(&["ps", "-a", "--filter", &format!("id={id}"), "--format", "{{.CreatedAt}}"]);
        let mut command = vec![told["Path"].as_str().expect("path").to_owned()];
        for word in told["Args"].as_array().expect("arguments") {
            let word = word.as_str().expect("text");
            command.push(if word.contains(' ') { format!("'{word}'") } else { word.to_owned() });
        }
        json!({
            "Id": told["Id"], "Names": [told["Name"]], "Image": told["Config"]["Image"], "ImageID": told["Image"],
            "Command": command.join(" "), "Created": epoch(created.trim()), "Ports": [],
            "Labels": told["Config"]["Labels"], "State": told["State"]["Status"], "Status": status(id).trim(),
            "HostConfig": { "NetworkMode": "none" }, "NetworkSettings": { "Networks": { "none": {} } },
            "Mounts": told["Mounts"],
        })
    };
    Value::Array(ids.split_whitespace().map(one).collect())
}

/// Seconds since the epoch of a moment of a listing, by the system's own date(1).
fn epoch(moment: &str) -> i64 {
    let moment = moment.trim_end_matches(" UTC");
    let said = Command::new("date").args(["-u", "+%s", "-d", moment]).output().expect("date runs");
    String::from_utf8_lossy(&said.stdout).trim().parse().expect("seconds")
}

#[test]
fn listings_are_dockers_to_the_byte() {
    if lacks_docker("listings_are_dockers_to_the_byte") {
        return;
    }
    let corral = world();
    let engine = Engine::start(&corral, vec![("/containers/json", listed(&corral).to_string())]);
    let recent = is_recent("listings_are_dockers_to_the_byte");
    for format in [
        "table",
        "table {{.ID}}\\t{{.Names}}\\t{{.Label \"com.example.my-key\"}}",
        "table {{.Names}}\t{{upper .State}}\t{{.Labels}}\t{{.Mounts}}",
        "{{.ID}}: {{.Command}} {{.Image}} {{.Networks}} {{.LocalVolumes}} {{.CreatedAt}}",
        "{{.Names}}{{if eq .State \"running\"}} up{{else}} down{{end}}",
        "{{json .Labels}} {{json .Names}} {{printf \"%-8s|%q\" .Names .State}}",
        "{{range split .Labels \",\"}}[{{.}}]{{end}}",
        "{{truncate .ID 4}} {{pad .Names 2 3}}| {{title .State}} {{len .Names}}",
        "raw",
        "no template",
        "{{.Names}}\\t{{- /* nothing */ -}} {{$x := .State}}{{$x}}",
    ] {
        if !recent && (format == "raw" || format.contains(".Labels")) {
            continue;
        }
        for more in [&["-a"][..], &["-a", "--no-trunc"]] {
            let words = [&["ps"], more, &["--format", format]].concat();
            let (ours, theirs) = (corral.say(&words), engine.docker(&words));
            // `RunningFor` and `Status` move on between two calls only by seconds that round away here.
            assert_eq!(
                (ours.code, calm(&ours.out)),
                (theirs.code, calm(&theirs.out)),
                "{words:?}: {}",
                theirs.err
            );
        }
    }
    for (format, part) in [
        ("{{.Nope}}", "can't evaluate field Nope in type *formatter.ContainerContext"),
        ("{{.ID.X}}", "<.ID.X>: can't evaluate field X in type string"),
        ("{{.ID", "template: :1: unclosed action"),
        ("{{nope .ID}}", "template: :1: function \"nope\" not defined"),
        ("{{if .ID}}", "template: :1: unexpected EOF"),
    ] {
        let words = ["ps", "-a", "--format", format];
        let (ours, theirs) = (corral.say(&words), engine.docker(&words));
        assert_eq!((ours.code, theirs.code), (1, 1), "{format}: {ours:?} {theirs:?}");
        assert!(ours.err.contains(part) && theirs.err.contains(part), "{format}: {ours:?} {theirs:?}");
    }
}

/// Without the ages, which go on while both are asked.
fn calm(text: &str) -> String {
    let mut out = text.to_owned();
    for age in
        ["Less than a second", "1 second", "2 seconds", "3 seconds", "4 seconds", "5 seconds", "6 seconds"]
    {
        // As wide as the first, so that columns stay where they are.
        out = out.replace(&format!("{age} ago"), "a moment ago").replace(&format!("Up {age}"), "Up a moment");
    }
    out.split('\n')
        .map(|line| line.split("  ").filter(|cell| !cell.is_empty()).collect::<Vec<_>>().join("  "))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn moments_are_local_as_dockers_are() {
    if lacks_docker("moments_are_local_as_dockers_are") {
        return;
    }
    let corral = world();
    let engine = Engine::start(&corral, vec![("/containers/json", listed(&corral).to_string())]);
    let words = ["ps", "-a", "--format", "{{.Names}} {{.CreatedAt}}"];
    for zone in [
        "UTC",
        "",
        "America/New_York",
        ":Asia/Kolkata",
        "America/Sao_Paulo",
        "EST5EDT",
        "No/Where",
        "/etc/passwd",
    ] {
        let ours = Said::from(corral.command(&words).env("TZ", zone).output().expect("corral runs"));
        let theirs = engine.docker_in(zone, &words);
        assert_eq!((ours.code, ours.out), (theirs.code, theirs.out), "{zone}: {}", theirs.err);
    }
    // What is typed without a zone is local, too.
    let told = |zone: &str, words: &[&str]| {
        Said::from(corral.command(words).env("TZ", zone).output().expect("corral runs"))
    };
    let created =
        told("America/New_York", &["events", "--since", "1h", "--until", "0s", "-f", "event=create"]).out;
    if !created.contains("-05:00") && !created.contains("-04:00") {
        println!("SKIP: docker_client::moments_are_local_as_dockers_are: in part, there is no zone database");
        return;
    }
    let first = created.lines().next().and_then(|line| line.get(..19)).expect("a moment");
    for (zone, lines) in [("America/New_York", created.lines().count()), ("Pacific/Kiritimati", 0)] {
        let said = told(zone, &["events", "--since", first, "--until", "0s", "-f", "event=create"]);
        // Hours behind, the same words are a moment long ago.
        let expect = if zone == "America/New_York" { lines } else { created.lines().count() };
        assert_eq!(said.out.lines().count(), expect, "{zone}: {said:?}");
        let said = told(zone, &["events", "--since", "1h", "--until", first, "-f", "event=create"]);
        assert_eq!(said.out, "", "{zone}: {said:?}");
    }
}

#[test]
fn documents_are_read_as_docker_reads_them() {
    if lacks_docker("documents_are_read_as_docker_reads_them") {
        return;
    }
    let corral = world();
    // In the order of its fields, which a parsed document has lost.
    let list = corral.ok(&["inspect", "--format", "json", "web"]);
    let document = list.trim_end().trim_start_matches('[').trim_end_matches(']').to_owned();
    let engine = Engine::start(&corral, vec![("/containers/web/json", document)]);
    let recent = is_recent("documents_are_read_as_docker_reads_them");
    for template in [
        "{{.Name}} {{.State.Status}} {{.State.Running}} {{.State.Pid}} {{.State.ExitCode}}",
        "{{.Config.Labels}} {{json .Config.Labels}} {{.Config.Labels.tier}} {{.Config.Labels.nothing}}",
        "{{index .Config.Labels \"com.example.my-key\"}}|{{index .Config.Labels \"nothing\"}}|",
        "{{range .Config.Env}}{{println .}}{{end}}",
        "{{range $i, $e := .Config.Env}}{{$i}}:{{$e}} {{end}}",
        "{{range $k, $v := .Config.Labels}}{{$k}}->{{$v}} {{end}}",
        "{{.Path}} {{join .Args \" \"}} {{len .Args}} {{.Args}}",
        "{{with .HostConfig}}{{.NetworkMode}} {{.ReadonlyRootfs}} {{.Memory}}{{end}}",
        "{{if and .State.Running (gt .State.Pid 1)}}yes{{else if .State.Paused}}frozen{{else}}no{{end}}",
        "{{(index .Mounts 0).Destination}} {{range .Mounts}}{{.Type}}:{{.Name}}{{end}}",
        "{{.Config.Hostname | upper | printf \"%s!\"}} {{printf \"%5d|%-5d|%x\" .State.ExitCode 7 255}}",
        "{{- .Id -}}  x  {{- \"y\" }} {{`raw`}} {{'a'}} {{1.50}} {{true}}",
        "{{json .Args}} {{json .State.Status}} {{json .Mounts}}",
        "{{eq .State.Status \"a\" \"running\"}} {{ne 1 2}} {{not .State.Paused}} {{or \"\" \"b\"}} {{and 1 0}}",
        "{{slice .Id 0 12}} {{index (split .Name \"/\") 1}} {{print 1 2 \"x\" true}} {{html \"<a>\"}}",
        "{{.State.Nope}}",
        "{{.Nope}}",
        "{{index .Args 7}}",
        "{{upper .State.Pid}}x",
        "{{json}}",
        "{{lt 1 \"a\"}}",
        "{{range lower .Path}}x{{end}}",
        "{{upper (len .Path)}}",
        "{{eq 1 true}}",
        "{{truncate .Id -3}}",
        "{{define \"pair\"}}<{{.}}>{{end}}{{range .Args}}{{template \"pair\" .}}{{end}}",
        "{{block \"path\" .Path}}{{. | upper}}{{end}} {{.HostConfig.ShmSize}} {{.NetworkSettings.IPAddress}}|",
        "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}} {{.State.FinishedAt}} {{.Config.User}}|",
        "{{.HostConfig.VolumesFrom}} {{.HostConfig.CapAdd}} {{.Config.Volumes}} {{len .HostConfig.CapDrop}} {{json .HostConfig.CapAdd}}",
        "{{join .HostConfig.GroupAdd \",\"}}|{{range .Config.OnBuild}}x{{else}}none{{end}}|{{.Config.StopSignal}}|{{.Config.StopTimeout}}",
        "{{if .HostConfig.Links}}x{{end}}{{.Config.Entrypoint}} {{.HostConfig.Tmpfs}} {{.SizeRw}} {{.Config.Healthcheck}}",
        "{{template \"nope\" .Id}}",
        "{{define \"x\"}}{{.Nope}}{{end}}{{template \"x\" .}}",
        "{{define \"x\"}}",
        "{{.Name",
        "{{foo}}",
        "{{end}}",
        "{{range .Args}}",
        "",
        "json",
    ] {
        if !recent && template == "json" {
            continue;
        }
        let words = ["inspect", "--format", template, "web"];
        let (ours, theirs) = (corral.say(&words), engine.docker(&words));
        assert_eq!(
            (ours.code, &ours.out),
            (theirs.code, &theirs.out),
            "{template}: {} {}",
            ours.err,
            theirs.err
        );
        // Numbers have another name in what the client falls back to.
        let said = theirs.err.trim_end().replace("got json.Number", "got int");
        assert_eq!(ours.err.trim_end().trim_start_matches("corral: "), said, "{template}");
    }
}

#[test]
fn images_and_volumes_are_listed_as_docker_lists_them() {
    if lacks_docker("images_and_volumes_are_listed_as_docker_lists_them") {
        return;
    }
    let corral = world();
    let told = corral.inspect("busybox");
    let created = corral.ok(&["images", "--format", "{{.CreatedAt}}", "busybox"]);
    let images = json!([{
        "Id": told["Id"], "RepoTags": told["RepoTags"], "RepoDigests": told["RepoDigests"],
        "Created": epoch(created.trim()), "Size": told["Size"], "SharedSize": -1, "Containers": -1, "Labels": null,
    }]);
    let volume: Value = serde_json::from_str(&corral.ok(&["volume", "inspect", "data"])).expect("JSON");
    let answers = vec![
        ("/images/json", images.to_string()),
        ("/volumes", json!({ "Volumes": volume, "Warnings": null }).to_string()),
        ("/volumes/data", volume[0].to_string()),
    ];
    let engine = Engine::start(&corral, answers);
    let recent = is_recent("images_and_volumes_are_listed_as_docker_lists_them");
    for words in [
        &["images", "--format", "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.Size}}"][..],
        &["images", "--digests", "--format", "table {{.Repository}}\t{{.Digest}}"],
        &["images", "--format", "{{.ID}} {{.CreatedAt}} {{.Containers}} {{.SharedSize}} {{.VirtualSize}}"],
        &["images", "-q"],
        &["images", "--no-trunc", "-q"],
        &["images", "--format", "{{.Nope}}"],
        &["volume", "ls"],
        &["volume", "ls", "-q"],
        &["volume", "ls", "--format", "table {{.Name}}\t{{.Mountpoint}}\t{{.Scope}}\t{{.Links}}\t{{.Size}}"],
        &["volume", "ls", "--format", "{{json .Name}} {{.Driver}} {{.Labels}}|"],
        &["volume", "inspect", "data"],
        &["volume", "inspect", "-f", "{{.Name}} {{.Mountpoint}} {{json .Options}} {{.Driver}}", "data"],
    ] {
        if !recent && words.iter().any(|word| word.contains(".VirtualSize")) {
            continue;
        }
        let (ours, theirs) = (corral.say(words), engine.docker(words));
        let sorted = |text: &str| {
            // Docker's order of the names of one image changes from call to call.
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines.dedup();
            lines
        };
        assert_eq!(
            (ours.code, sorted(&ours.out)),
            (theirs.code, sorted(&theirs.out)),
            "{words:?}: {}",
            theirs.err
        );
        assert_eq!(ours.err.trim_end().trim_start_matches("corral: "), theirs.err.trim_end(), "{words:?}");
    }
}

#[test]
fn histories_are_dockers_to_the_byte() {
    if lacks_docker("histories_are_dockers_to_the_byte") {
        return;
    }
    let corral = Corral::empty();
    let mut tar = tar::Builder::new(Vec::new());
    corral_tests::file(&mut tar, "file", 0o644, &[7; 12_345]).expect("archive");
    let change = "ENV A=b";
    let said = corral.feed(
        &["import", "-c", change, "-m", "made for a test", "-", "made"],
        &tar.into_inner().expect("archive"),
    );
    assert_eq!(said.code, 0, "{said:?}");
    let id = corral.inspect("made")["Id"].clone();
    let row = |cell: &str| {
        corral.ok(&["history", "-H=false", "--no-trunc", "--format", cell, "made"]).trim_end().to_owned()
    };
    let history = json!([{
        "Id": id, "Created": epoch(&row("{{.CreatedAt}}")), "CreatedBy": row("{{.CreatedBy}}"), "Tags": ["made:latest"],
        "Size": row("{{.Size}}").parse::<u64>().expect("bytes"), "Comment": row("{{.Comment}}"),
    }]);
    assert_eq!(history[0]["Size"], 12_345);
    let engine = Engine::start(&corral, vec![("/images/made/history", history.to_string())]);
    for words in [
        &["history", "-q", "made"][..],
        &["history", "-q", "--no-trunc", "made"],
        &["history", "--format", "table {{.ID}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}", "made"],
        &["history", "--format", "{{.Size}} {{.CreatedBy}}|{{.Nope}}", "made"],
        &["history", "-H=false", "--format", "{{.Size}} {{json .Comment}}", "made"],
    ] {
        let (ours, theirs) = (corral.say(words), engine.docker(words));
        assert_eq!((ours.code, &ours.out), (theirs.code, &theirs.out), "{words:?}: {}", theirs.err);
        assert_eq!(ours.err.trim_end().trim_start_matches("corral: "), theirs.err.trim_end(), "{words:?}");
    }
}

#[test]
fn prunings_ask_as_docker_asks() {
    if lacks_docker("prunings_ask_as_docker_asks") {
        return;
    }
    let corral = Corral::empty();
    let engine = Engine::start(&corral, Vec::new());
    let recent = is_recent("prunings_ask_as_docker_asks");
    for words in [
        &["container", "prune"][..],
        &["image", "prune"],
        &["image", "prune", "-a"],
        &["volume", "prune"],
        &["volume", "prune", "--all"],
        &["system", "prune"],
        &["system", "prune", "--all", "--volumes"],
        &["system", "prune", "--filter", "until=24h", "--filter", "label=b", "--filter", "label=a"],
    ] {
        if !recent && ["volume", "system"].contains(&words[0]) {
            continue;
        }
        let (ours, theirs) = (corral.say(words), engine.docker(words));
        // Where nobody answers, the client's version decides how it ends; what it asks is what counts.
        let asked = |text: &str| text.split_once("[y/N]").map(|(asked, _)| asked.to_owned());
        assert!(asked(&ours.out).is_some(), "{words:?}: {ours:?}");
        assert_eq!(asked(&ours.out), asked(&theirs.out), "{words:?}: {theirs:?}");
        assert_eq!(ours.code, 0, "{words:?}: {ours:?}");
    }
}
