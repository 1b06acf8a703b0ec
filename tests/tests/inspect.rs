//! What `inspect` says of containers and images: Docker's keys, and the truth under them.

use corral_tests::{Corral, Said};
use serde_json::{Value, json};

/// An image with all that a Dockerfile can say of how it runs.
fn made(corral: &Corral) {
    let changes = [
        "CMD [\"sleep\", \"1000\"]",
        "EXPOSE 80 81/tcp 53/udp",
        "ENV A=b",
        "USER agent",
        "VOLUME /kept",
        "LABEL of=image",
        "STOPSIGNAL SIGUSR1",
        "HEALTHCHECK --interval=7s CMD true || false",
    ];
    let changes: Vec<&str> = changes.iter().flat_map(|change| ["-c", change]).collect();
    corral.ok(&["create", "--name", "base", "busybox", "true"]);
    corral.ok(&[&["commit", "-m", "a remark"], &changes[..], &["base", "made"]].concat());
}

fn told(corral: &Corral, template: &str, name: &str) -> Said {
    corral.say(&["inspect", "-f", template, name])
}

#[test]
fn what_the_image_says_is_shown() {
    let corral = Corral::new();
    made(&corral);
    corral.ok(&["create", "--name", "plain", "-e", "X=1", "made"]);
    let config = corral.inspect("plain")["Config"].clone();
    for (key, expect) in [
        ("User", json!("agent")),
        ("Env", json!(["X=1", "A=b"])),
        ("Cmd", json!(["sleep", "1000"])),
        ("Entrypoint", Value::Null),
        ("ExposedPorts", json!({ "53/udp": {}, "80/tcp": {}, "81/tcp": {} })),
        ("Volumes", json!({ "/kept": {} })),
        ("Labels", json!({ "of": "image" })),
        ("StopSignal", json!("SIGUSR1")),
        ("AttachStdin", json!(false)),
        ("AttachStdout", json!(true)),
        ("OnBuild", Value::Null),
        ("WorkingDir", json!("")),
        ("StopTimeout", Value::Null),
    ] {
        assert_eq!(config[key], expect, "{key}");
    }
    assert_eq!(config["Healthcheck"]["Test"], json!(["CMD-SHELL", "true || false"]));
    assert_eq!(config["Healthcheck"]["Interval"], 7_000_000_000_u64);
    let state = told(&corral, "{{.State.StartedAt}} {{.State.FinishedAt}} {{.State.Health}}", "plain");
    assert_eq!(state.out, "0001-01-01T00:00:00Z 0001-01-01T00:00:00Z <nil>\n");
    assert_eq!(
        corral.ok(&["ps", "-a", "--filter", "name=plain", "--format", "{{.Ports}}|{{.Labels}}"]),
        "80-81/tcp, 53/udp|of=image\n"
    );
    assert_eq!(corral.ok(&["ps", "-aq", "--filter", "label=of=image"]).lines().count(), 1);

    let words = [
        "create",
        "--name",
        "other",
        "--entrypoint",
        "echo",
        "--no-healthcheck",
        "-u",
        "0:0",
        "--cidfile",
        "cid",
    ];
    corral.ok(&[&words[..], &["-l", "of=me", "--stop-timeout", "3", "-i", "made", "hello"]].concat());
    let config = corral.inspect("other")["Config"].clone();
    for (key, expect) in [
        ("User", json!("0:0")),
        ("Cmd", json!(["hello"])),
        ("Entrypoint", json!(["echo"])),
        ("Labels", json!({ "of": "me" })),
        ("StopTimeout", json!(3)),
        ("Healthcheck", json!({ "Test": ["NONE"] })),
        ("StdinOnce", json!(true)),
    ] {
        assert_eq!(config[key], expect, "{key}");
    }
    assert_eq!(told(&corral, "{{.HostConfig.ContainerIDFile}}", "other").out, "cid\n");
    let image = corral.inspect("made");
    assert_eq!((&image["Comment"], &image["Config"]["User"]), (&json!("a remark"), &json!("agent")));
}

#[test]
fn mounts_are_told_by_the_flag_they_came_from() {
    let corral = Corral::new();
    let dir = corral.dir().join("shared");
    std::fs::create_dir(&dir).expect("a directory");
    std::os::unix::fs::chown(&dir, Some(1000), Some(1000)).expect("an owner");
    let dir = dir.to_str().expect("text");
    corral.ok(&[
        "create",
        "--name",
        "web",
        "-v",
        &format!("{dir}:/src:ro"),
        "-v",
        "data:/data",
        "-v",
        "/anonymous",
        "--mount",
        &format!("type=bind,source={dir},target=/long"),
        "--mount",
        "type=tmpfs,target=/memory,tmpfs-size=1m",
        "--tmpfs",
        "/fast:size=1m,mode=700",
        "--shm-size",
        "2m",
        "--ulimit",
        "nofile=100:200",
        "--cap-add",
        "net_admin",
        "--cap-drop",
        "CHOWN",
        "busybox",
        "true",
    ]);
    let host = corral.inspect("web")["HostConfig"].clone();
    for (key, expect) in [
        ("Binds", json!([format!("{dir}:/src:ro"), "data:/data"])),
        ("Tmpfs", json!({ "/fast": "size=1048576,mode=700" })),
        (
            "Mounts",
            json!([
                { "Type": "bind", "Source": dir, "Target": "/long" },
                { "Type": "tmpfs", "Target": "/memory", "TmpfsOptions": { "SizeBytes": 1_048_576 } },
            ]),
        ),
        ("ShmSize", json!(2_097_152)),
        ("CapAdd", json!(["CAP_NET_ADMIN"])),
        ("CapDrop", json!(["CAP_CHOWN"])),
        ("SecurityOpt", json!(["no-new-privileges"])),
        ("CgroupnsMode", json!("private")),
        ("Privileged", json!(false)),
        ("PortBindings", json!({})),
    ] {
        assert_eq!(host[key], expect, "{key}");
    }
    let ulimits = host["Ulimits"].as_array().expect("ulimits");
    assert!(ulimits.contains(&json!({ "Name": "nofile", "Soft": 100, "Hard": 200 })), "{ulimits:?}");
    let told = corral.ok(&["inspect", "-f", "{{range .Mounts}}{{.Type}}:{{.Destination}} {{end}}", "web"]);
    assert_eq!(told, "bind:/src volume:/data volume:/anonymous bind:/long tmpfs:/memory \n");
    assert_eq!(corral.inspect("web")["Config"]["Volumes"], json!({ "/anonymous": {} }));
    // What another container brings is no flag of this one.
    corral.ok(&["create", "--name", "heir", "--volumes-from", "web", "busybox", "true"]);
    let heir = corral.inspect("heir");
    assert_eq!((&heir["HostConfig"]["Binds"], &heir["Config"]["Volumes"]), (&Value::Null, &Value::Null));
    assert_eq!(heir["HostConfig"]["VolumesFrom"], json!(["web"]));
}

/// Keys of Docker's documents (API 1.50), by what stands before them.
const KEYS: &[(&str, &str)] = &[
    (
        "",
        "Id Created Path Args State Image ResolvConfPath HostnamePath HostsPath LogPath Name RestartCount Driver \
         Platform MountLabel ProcessLabel AppArmorProfile ExecIDs HostConfig GraphDriver SizeRw SizeRootFs Mounts \
         Config NetworkSettings",
    ),
    (
        ".State",
        "Status Running Paused Restarting OOMKilled Dead Pid ExitCode Error StartedAt FinishedAt Health",
    ),
    (
        ".HostConfig",
        "Binds ContainerIDFile LogConfig NetworkMode PortBindings RestartPolicy AutoRemove VolumeDriver VolumesFrom \
         ConsoleSize Annotations CapAdd CapDrop CgroupnsMode Dns DnsOptions DnsSearch ExtraHosts GroupAdd IpcMode \
         Cgroup Links OomScoreAdj PidMode Privileged PublishAllPorts ReadonlyRootfs SecurityOpt StorageOpt Tmpfs \
         UTSMode UsernsMode ShmSize Sysctls Runtime Isolation CpuShares Memory NanoCpus CgroupParent BlkioWeight \
         BlkioWeightDevice BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps CpuPeriod \
         CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus CpusetMems Devices DeviceCgroupRules \
         DeviceRequests MemoryReservation MemorySwap MemorySwappiness OomKillDisable PidsLimit Ulimits CpuCount \
         CpuPercent IOMaximumIOps IOMaximumBandwidth Mounts MaskedPaths ReadonlyPaths Init",
    ),
    (
        ".Config",
        "Hostname Domainname User AttachStdin AttachStdout AttachStderr ExposedPorts Tty OpenStdin StdinOnce Env Cmd \
         Healthcheck ArgsEscaped Image Volumes WorkingDir Entrypoint OnBuild Labels StopSignal StopTimeout Shell",
    ),
    (
        ".NetworkSettings",
        "Bridge SandboxID SandboxKey Ports HairpinMode LinkLocalIPv6Address LinkLocalIPv6PrefixLen \
         SecondaryIPAddresses SecondaryIPv6Addresses EndpointID Gateway GlobalIPv6Address GlobalIPv6PrefixLen \
         IPAddress IPPrefixLen IPv6Gateway MacAddress Networks",
    ),
    (
        ".NetworkSettings.Networks.none",
        "IPAMConfig Links Aliases MacAddress DriverOpts GwPriority NetworkID EndpointID Gateway IPAddress \
         IPPrefixLen IPv6Gateway GlobalIPv6Address GlobalIPv6PrefixLen DNSNames",
    ),
    (".GraphDriver", "Data Name"),
    (".GraphDriver.Data", "LowerDir MergedDir UpperDir WorkDir"),
];

const IMAGE_KEYS: &[(&str, &str)] = &[
    (
        "",
        "Id RepoTags RepoDigests Parent Comment Created DockerVersion Author Config Architecture Variant Os OsVersion \
         Size VirtualSize GraphDriver RootFS Metadata",
    ),
    (
        ".Config",
        "Hostname Domainname User AttachStdin AttachStdout AttachStderr ExposedPorts Tty OpenStdin StdinOnce Env Cmd \
         Healthcheck ArgsEscaped Image Volumes WorkingDir Entrypoint OnBuild Labels StopSignal StopTimeout Shell",
    ),
];

#[test]
fn each_key_of_dockers_is_there() {
    let corral = Corral::new();
    corral.ok(&["create", "--name", "plain", "busybox", "true"]);
    for (words, keys) in [(&["inspect", "-f"][..], KEYS), (&["image", "inspect", "-f"], IMAGE_KEYS)] {
        let name = if words[0] == "image" { "busybox" } else { "plain" };
        for (before, keys) in keys {
            for key in keys.split_whitespace() {
                let said = corral.say(&[words, &[&format!("{{{{json {before}.{key}}}}}"), name]].concat());
                assert_eq!(said.code, 0, "{before}.{key}: {said:?}");
            }
        }
    }
    assert_eq!(told(&corral, "{{.HostConfig.Nope}}", "plain").code, 1);
    let script = "{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}";
    assert_eq!(told(&corral, script, "plain").out, "created\n");
    let script = "{{range .NetworkSettings.Networks}}[{{.IPAddress}}]{{end}}{{range $p, $c := .NetworkSettings.Ports}}x{{end}}";
    assert_eq!(told(&corral, script, "plain").out, "[]\n");
}

#[test]
fn who_attached_is_told() {
    let corral = Corral::new();
    corral.ok(&["run", "-d", "--name", "back", "busybox", "sleep", "1000"]);
    corral.feed(&["run", "-i", "--name", "front", "-a", "stdin", "-a", "stderr", "busybox", "cat"], b"x");
    let format = "{{with .Config}}{{.AttachStdin}} {{.AttachStdout}} {{.AttachStderr}} {{.StdinOnce}}{{end}}";
    assert_eq!(told(&corral, format, "back").out, "false false false false\n");
    assert_eq!(told(&corral, format, "front").out, "true false true true\n");
    let seen = corral.inspect("front")["State"].clone();
    assert!(seen["FinishedAt"].as_str().is_some_and(|at| at.starts_with("20")), "{seen}");
    assert_eq!(corral.inspect("back")["State"]["FinishedAt"], "0001-01-01T00:00:00Z");
}

#[test]
fn records_of_older_versions_are_shown() {
    let corral = Corral::new();
    let id =
        corral.ok(&["create", "--name", "old", "-v", "data:/data", "--tmpfs", "/fast", "busybox", "true"]);
    let path = corral.root().join("containers").join(id.trim()).join("container.json");
    let mut record: Value =
        serde_json::from_str(&std::fs::read_to_string(&path).expect("a record")).expect("JSON");
    assert!(record.as_object_mut().expect("an object").remove("typed").is_some());
    std::fs::write(&path, record.to_string()).expect("written");
    let host = corral.inspect("old")["HostConfig"].clone();
    assert_eq!((&host["Binds"], &host["Tmpfs"]), (&json!(["data:/data"]), &json!({ "/fast": "" })));
}
