//! The flags of `run` for names, groups, kernel switches, notes and streams, by what a program inside meets.

use corral_tests::{Corral, Said};

fn run(corral: &Corral, flags: &[&str], command: &[&str]) -> Said {
    corral.say(&[&["run", "--rm"], flags, &["busybox"], command].concat())
}

fn ok(corral: &Corral, flags: &[&str], command: &[&str]) -> String {
    let said = run(corral, flags, command);
    assert_eq!(said.code, 0, "{flags:?}: {said:?}");
    said.out
}

#[test]
fn names_of_hosts_servers_and_domains() {
    let corral = Corral::new();
    let host_domain = || std::fs::read_to_string("/proc/sys/kernel/domainname").expect("the host's");
    let before = host_domain();
    let flags = [
        "--add-host",
        "db:10.0.0.7",
        "--add-host",
        "six=[fe80::1]",
        "--domainname",
        "example.org",
        "-h",
        "box",
    ];
    let hosts = ok(&corral, &flags, &["cat", "/etc/hosts"]);
    assert!(hosts.contains("10.0.0.7\tdb\n") && hosts.contains("fe80::1\tsix\n"), "{hosts}");
    assert!(hosts.contains("127.0.1.1\tbox.example.org box\n"), "{hosts}");
    let domain = ok(&corral, &flags, &["cat", "/proc/sys/kernel/domainname"]);
    assert_eq!(domain, "example.org\n");
    let flags = ["--dns", "1.1.1.1", "--dns-search", "a.example", "--dns-option", "ndots:2"];
    let resolv = ok(&corral, &flags, &["cat", "/etc/resolv.conf"]);
    assert_eq!(resolv, "search a.example\nnameserver 1.1.1.1\noptions ndots:2\n");
    assert_eq!(host_domain(), before);
}

#[test]
fn groups_are_found_in_the_image() {
    let corral = Corral::new();
    let flags = ["-u", "1000", "--group-add", "extra", "--group-add", "77"];
    let groups = ok(&corral, &flags, &["id", "-G"]);
    assert_eq!(groups.trim(), "1000 77 1001");
    let said = run(&corral, &["--group-add", "nobodys"], &["true"]);
    assert!(said.code == 125 && said.err.contains("Unable to find group nobodys"), "{said:?}");
}

#[test]
fn switches_of_the_containers_own_namespaces() {
    let corral = Corral::new();
    let before =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").expect("the host's");
    let flags = ["--sysctl", "kernel.msgmax=9000", "--sysctl", "net.ipv4.ip_unprivileged_port_start=77"];
    let files = ["cat", "/proc/sys/kernel/msgmax", "/proc/sys/net/ipv4/ip_unprivileged_port_start"];
    assert_eq!(ok(&corral, &flags, &files), "9000\n77\n");
    let after = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").expect("the host's");
    assert_eq!(before, after);
    let said = run(&corral, &["--sysctl", "kernel.core_pattern=|/x"], &["true"]);
    assert!(said.code == 125 && said.err.contains("would change the host's"), "{said:?}");
    let said = run(&corral, &["--network", "host", "--sysctl", "net.core.somaxconn=1"], &["true"]);
    assert!(said.code == 125 && said.err.contains("launch.sysctl"), "{said:?}");
}

#[test]
fn the_id_goes_to_a_file_that_was_not_there() {
    let corral = Corral::new();
    let file = corral.dir().join("id");
    let path = file.to_str().expect("text");
    let id = corral.ok(&["create", "--cidfile", path, "busybox", "true"]);
    assert_eq!(std::fs::read_to_string(&file).expect("written"), id.trim());
    let said = run(&corral, &["--cidfile", path], &["true"]);
    assert!(said.code == 125 && said.err.contains("container ID file found"), "{said:?}");
    let other = corral.dir().join("other");
    let path = other.to_str().expect("text");
    let said = corral.say(&["run", "--rm", "--cidfile", path, "-u", "nobody-here", "busybox", "true"]);
    assert_eq!(said.code, 125);
    assert!(!other.exists(), "a container that was never made leaves no file");
}

#[test]
fn labels_and_notes_are_kept() {
    let corral = Corral::new();
    let file = corral.dir().join("labels");
    std::fs::write(&file, "# why\na=1\nb\n").expect("written");
    let file = file.to_str().expect("text");
    corral.ok(&[
        "create",
        "--name",
        "kept",
        "--label-file",
        file,
        "-l",
        "a=2",
        "--annotation",
        "k=v",
        "busybox",
        "true",
    ]);
    let inspect = corral.inspect("kept");
    assert_eq!(inspect["Config"]["Labels"].to_string(), r#"{"a":"2","b":""}"#);
    assert_eq!(inspect["HostConfig"]["Annotations"].to_string(), r#"{"k":"v"}"#);
}

#[test]
fn only_the_streams_that_were_named() {
    let corral = Corral::new();
    let script = "echo out; echo err >&2";
    let said = run(&corral, &["-a", "STDERR"], &["sh", "-c", script]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", "err\n"));
    let said = run(&corral, &["-a", "stdout"], &["sh", "-c", script]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("out\n", ""));
    let said = run(&corral, &["-a", "STDLOG"], &["true"]);
    assert!(said.code == 125 && said.err.contains("valid streams are STDIN, STDOUT and STDERR"), "{said:?}");
    let said = run(&corral, &["-d", "-a", "STDOUT"], &["true"]);
    assert!(said.code == 125 && said.err.contains("cannot specify both --attach and --detach"), "{said:?}");
}

/// A profile that allows all that the built-in one denies for the test, and denies one call that it allows.
#[test]
fn a_seccomp_profile_takes_the_place_of_the_built_in_filter() {
    let corral = Corral::new();
    let profile = corral.dir().join("profile.json");
    let names = "accept access arch_prctl brk capget capset chdir clone close dup dup2 execve exit exit_group fcntl \
                 fstat futex getcwd getdents64 getegid geteuid getgid getpid getppid getrandom getuid ioctl lseek \
                 lstat mmap mprotect munmap newfstatat open openat pipe poll prctl pread64 read readlink rseq \
                 rt_sigaction rt_sigprocmask rt_sigreturn set_robust_list set_tid_address setgid setuid stat uname \
                 unshare vfork wait4 write writev prlimit64 readlinkat";
    let names: Vec<String> = names.split_whitespace().map(|name| format!("{name:?}")).collect();
    let text = format!(
        r#"{{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,
            "syscalls":[{{"names":[{}],"action":"SCMP_ACT_ALLOW"}}]}}"#,
        names.join(",")
    );
    std::fs::write(&profile, text).expect("written");
    let option = format!("seccomp={}", profile.display());
    let flags = ["--security-opt", option.as_str()];
    let said = run(&corral, &flags, &["mkdir", "/x"]);
    assert!(
        said.code == 1 && said.err.contains("Function not implemented"),
        "mkdir is not on the list: {said:?}"
    );
    assert_eq!(run(&corral, &[], &["mkdir", "/x"]).code, 0);
    assert_eq!(run(&corral, &flags, &["unshare", "-U", "true"]).code, 0, "unshare is");
    assert_ne!(run(&corral, &[], &["unshare", "-U", "true"]).code, 0, "the built-in filter denies it");
    corral.ok(&["create", "--name", "marked", flags[0], flags[1], "busybox", "true"]);
    assert!(corral.ok(&["ps", "-a"]).contains("[seccomp=file]"));
    let said = run(&corral, &["--profile", "agent", "-u", "1", flags[0], flags[1]], &["true"]);
    assert!(said.code == 125 && said.err.contains("agent.seccomp"), "{said:?}");
}

#[test]
fn a_container_without_shared_memory() {
    let corral = Corral::new();
    assert_eq!(run(&corral, &["--ipc", "none"], &["ls", "/dev/shm"]).code, 1);
    assert_eq!(run(&corral, &["--ipc", "private"], &["ls", "/dev/shm"]).code, 0);
}

#[test]
fn what_is_known_and_not_there_is_refused_by_name() {
    let corral = Corral::new();
    let refused = |flags: &[&str], part: &str| {
        let said = run(&corral, flags, &["true"]);
        assert_eq!(said.code, 125, "{flags:?}: {said:?}");
        assert!(said.err.contains(part) && said.err.lines().count() <= 2, "{flags:?}: {}", said.err);
    };
    refused(&["--ipc", "container:x"], "--ipc container:x");
    refused(&["--security-opt", "seccomp=/no/such"], "opening seccomp profile (/no/such) failed");
    refused(&["--security-opt", "seccomp=/etc/passwd"], "no profile in Docker's format");
    refused(&["--security-opt", "apparmor=x"], "apparmor is not set by corral");
    refused(&["--pull", "always"], "there are no registries");
    refused(&["--pull", "sometimes"], "invalid pull option: 'sometimes'");
    refused(&["--platform", "linux/s390x"], "does not provide the specified platform (linux/s390x)");
    refused(&["--disable-content-trust=false"], "not verified by content trust");
    refused(&["--privileged"], "--privileged --confirm-privileged");
    refused(&["--dns", "one"], "one is not an ip address");
    refused(&["--dns-search", "a b"], "a b is not a valid domain");
    refused(&["--add-host", "db"], "bad format for add-host");
    refused(&["--add-host", "db:host-gateway"], "host-gateway needs a network");
    refused(&["--sysctl", "vm.swappiness=1"], "not in a separate kernel namespace");
    refused(&["--label-file", "/no/such"], "/no/such");
    let fine = [
        "--security-opt",
        "no-new-privileges",
        "--pull",
        "never",
        "--disable-content-trust",
        "--platform",
        "linux",
    ];
    assert_eq!(run(&corral, &fine, &["true"]).code, 0);
}
