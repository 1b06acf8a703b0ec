//! What a container sees and cannot do.

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use corral_spec::record::{BindIds, Mount, MountKind};
use support::{Bench, HOST, bind, chown, mount, path};

#[test]
fn identity_of_root_and_of_a_user() {
    let root = Bench::new(
        "read /proc/self/uid_map -- read /proc/self/gid_map -- hostname -- cwd -- status CapEff -- status CapBnd \
         -- status CapAmb -- status NoNewPrivs -- status SigIgn -- status SigBlk -- status Uid -- status Groups",
    );
    let lines: Vec<_> =
        root.lines().iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let caps = format!("{:016x}", 0b100_1111_1011_u32);
    let map = format!("0 {HOST} 65536");
    let zero = "0000000000000000";
    // SIGPIPE: Rust's own start-up code in the probe ignores it; nothing else is inherited.
    let ignored = "0000000000001000";
    assert_eq!(lines, [&map, &map, "tested", "/", &caps, &caps, zero, "1", ignored, zero, "0 0 0 0", ""]);

    let mut user =
        Bench::new("status Uid -- status Groups -- status CapPrm -- status CapBnd -- stat /etc/motd");
    user.launch.process.uid = 1000;
    user.launch.process.gid = 100;
    user.launch.process.groups = vec![100, 27];
    user.launch.confinement.capabilities.clear();
    assert_eq!(user.lines(), ["1000 1000 1000 1000", "27 100", zero, zero, "100644 0:0 dev 0:0"]);
}

#[test]
fn no_descriptor_is_left_open() {
    let mut bench = Bench::new("list /proc/self/fd");
    // The fourth is the one that lists.
    assert_eq!(bench.lines(), ["[0 1 2 3]"]);
    bench.launch.process.init = true;
    assert_eq!(bench.lines(), ["[0 1 2 3]"]);
    let mut leaky = Bench::new("list /proc/self/fd");
    leaky.launch.process.uid = 1000;
    let command = "exec 7</etc/passwd 8</; exec \"$@\"";
    let ran = support::ran(
        std::process::Command::new("sh")
            .args(["-c", command, "sh"])
            .arg(leaky.command("run").get_program())
            .args(leaky.command("run").get_args())
            .output()
            .unwrap(),
    );
    assert_eq!(ran.lines(), ["[0 1 2 3]"]);
}

#[test]
fn a_working_directory_in_a_descriptor_is_refused() {
    for number in 3..20 {
        let mut bench = Bench::new("cwd");
        bench.launch.process.workdir = path(&format!("/proc/self/fd/{number}"));
        let ran = bench.run();
        assert_eq!(ran.code, 125, "{number}: {ran:?}");
        assert_eq!(ran.out, "");
    }
}

#[test]
fn a_missing_working_directory_belongs_to_the_user() {
    let mut bench = Bench::new("cwd -- stat /srv/deep/work -- write /srv/deep/work/x 1");
    bench.launch.process.workdir = path("/srv/deep/work");
    bench.launch.process.uid = 1000;
    bench.launch.process.gid = 1000;
    let expect = ["/srv/deep/work", "40755 1000:1000 dev 0:0", "wrote /srv/deep/work/x"];
    assert_eq!(bench.lines(), expect);
    // What is in the writable layer belongs to shifted ids on the host.
    use std::os::unix::fs::MetadataExt;
    let file = fs::metadata(bench.dir.join("writable/upper/srv/deep/work/x")).unwrap();
    assert_eq!((file.uid(), file.gid()), (HOST + 1000, HOST + 1000));
}

#[test]
fn read_only_root_masks_and_protected_paths() {
    let mut bench = Bench::new(
        "write /x 1 -- write /dev/shm/x 1 -- write /proc/sys/kernel/hostname x -- write /proc/irq/default_smp_affinity 1 \
         -- stat /proc/keys -- list /sys/firmware -- read /proc/timer_list -- write /sys/kernel/uevent_helper x \
         -- write /proc/sys/kernel/core_pattern x",
    );
    bench.launch.root.read_only = true;
    let expect = [
        "errno 30",
        "wrote /dev/shm/x",
        "errno 30",
        "errno 30",
        "20666 65534:65534 dev 1:3",
        "[]",
        "",
        "errno 30",
        "errno 30",
    ];
    assert_eq!(bench.lines(), expect);
}

#[test]
fn devices_links_and_namespaces_of_their_own() {
    let bench = Bench::new(
        "stat /dev/null -- write /dev/null x -- read /dev/fd/../hostname -- link /dev/stdout -- stat /dev/pts/ptmx \
         -- read /proc/self/cgroup -- dial -- status NSpid",
    );
    let lines = bench.lines();
    assert_eq!(lines[0], "20666 65534:65534 dev 1:3");
    assert_eq!(lines[1], "wrote /dev/null");
    assert_eq!(lines[3], "/proc/self/fd/1");
    assert_eq!(lines[4], "20666 0:0 dev 5:2");
    assert!(lines.iter().any(|line| line == "0::/"), "{lines:?}");
    assert_eq!(lines[lines.len() - 2..], ["connected", "1"]);
}

#[test]
fn the_host_s_files_are_not_there() {
    let canary = std::env::temp_dir().join(format!("corral-canary-{}", std::process::id()));
    fs::write(&canary, "secret").unwrap();
    let name = canary.display();
    let bench = Bench::new(&format!(
        "read {name} -- read /proc/1/root{name} -- read /proc/self/cwd/../../../..{name} -- read /etc/hostname"
    ));
    assert_eq!(bench.lines(), ["errno 2"; 4]);
    fs::remove_file(canary).unwrap();
}

#[test]
fn mount_targets_that_point_outside_stay_inside() {
    let outside = std::env::temp_dir().join(format!("corral-outside-{}", std::process::id()));
    fs::create_dir_all(&outside).unwrap();
    let mut bench = Bench::new("list /data -- list /up/made -- stat /proc/1/root/data");
    let layer = bench.layer();
    symlink(&outside, layer.join("data")).unwrap();
    symlink("../../../../../..", layer.join("up")).unwrap();
    symlink("/proc/1/root", layer.join("magic")).unwrap();
    let source = bench.dir.join("shared");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "x").unwrap();
    for target in ["/data", "/up/made"] {
        bench.launch.mounts.push(bind(&source, target, BindIds::Container));
    }
    let lines = bench.lines();
    assert_eq!(lines[..2], ["[file]", "[file]"], "{lines:?}");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    fs::remove_dir(outside).unwrap();
}

#[test]
fn a_dev_null_of_the_image_masks_nothing() {
    // CVE-2025-31133: a runtime that binds the container's /dev/null over a path binds this instead.
    let mut bench = Bench::new("stat /proc/timer_list -- stat /proc/keys");
    bench.launch.mounts.retain(|mount| mount.target != path("/dev"));
    bench.launch.mounts.retain(|mount| !mount.target.as_path().starts_with("/dev"));
    bench.launch.links.clear();
    fs::create_dir(bench.layer().join("dev")).unwrap();
    symlink("/proc/sysrq-trigger", bench.layer().join("dev/null")).unwrap();
    bench.launch.devices.clear();
    let expect = "20666 65534:65534 dev 1:3";
    assert_eq!(bench.lines(), [expect, expect]);
}

#[test]
fn proc_in_place_of_a_link_is_refused() {
    let bench = Bench::new("exit 0");
    symlink("/etc", bench.layer().join("proc")).unwrap();
    let ran = bench.run();
    assert_eq!(ran.code, 125);
    assert!(ran.err.contains("symbolic link at or above /proc"), "{ran:?}");
}

#[test]
fn owners_of_bound_directories() {
    use std::os::unix::fs::MetadataExt;
    let mut bench = Bench::new(
        "stat /work/kept -- write /work/new 1 -- stat /work/new -- mkdir /work/dir -- write /ro/x 1 -- stat /ro/kept",
    );
    for name in ["work", "ro"] {
        let dir = bench.dir.join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("kept"), "").unwrap();
        chown(&dir.join("kept"), 4321, 4321);
        chown(&dir, 4321, 4321);
    }
    let owner = BindIds::Owner { uid: 4321, gid: 4321, to_uid: 1000, to_gid: 1000 };
    bench.launch.process.uid = 1000;
    bench.launch.process.gid = 1000;
    bench.launch.mounts.push(bind(bench.dir.join("work"), "/work", owner.clone()));
    bench.launch.mounts.push(Mount { read_only: true, ..bind(bench.dir.join("ro"), "/ro", owner) });
    let expect = [
        "100644 1000:1000 dev 0:0",
        "wrote /work/new",
        "100644 1000:1000 dev 0:0",
        "made /work/dir",
        "errno 30",
        "100644 1000:1000 dev 0:0",
    ];
    assert_eq!(bench.lines(), expect);
    for name in ["new", "dir"] {
        let made = fs::metadata(bench.dir.join("work").join(name)).unwrap();
        assert_eq!((made.uid(), made.gid()), (4321, 4321), "{name}");
    }
}

#[test]
fn root_inside_writes_as_a_shifted_id() {
    use std::os::unix::fs::MetadataExt;
    let mut bench = Bench::new("write /work/new 1 -- write /single 2");
    let dir = bench.dir.join("work");
    fs::create_dir(&dir).unwrap();
    fs::write(bench.dir.join("single"), "").unwrap();
    chown(&dir, 4321, 0);
    chown(&bench.dir.join("single"), 4321, 4321);
    let owner = |gid| BindIds::Owner { uid: 4321, gid, to_uid: 1000, to_gid: 1000 };
    bench.launch.mounts.push(bind(&dir, "/work", owner(4321)));
    bench.launch.mounts.push(bind(bench.dir.join("single"), "/single", owner(4321)));
    chown(&dir, 4321, 4321);
    assert_eq!(bench.lines(), ["wrote /work/new", "wrote /single"]);
    let made = fs::metadata(dir.join("new")).unwrap();
    assert_eq!((made.uid(), made.gid()), (HOST, HOST));
    let error = {
        let mut bench = Bench::new("exit 0");
        let root_s = BindIds::Owner { uid: 0, gid: 0, to_uid: 0, to_gid: 0 };
        bench.launch.mounts.push(bind(&dir, "/work", root_s));
        bench.run()
    };
    assert!(error.err.contains("root cannot be given"), "{error:?}");
}

#[test]
fn a_file_system_without_id_maps_is_named() {
    let mut bench = Bench::new("exit 0");
    let source = std::path::Path::new("/sys/kernel");
    bench.launch.mounts.push(bind(source, "/data", BindIds::Container));
    let ran = bench.run();
    assert_eq!(ran.code, 125);
    assert!(ran.err.contains("/sys/kernel: its file system refuses id-mapped mounts"), "{ran:?}");
    assert!(ran.err.contains("--userns host"), "{ran:?}");
    let mut unmapped = Bench::new("list /data/nothing");
    unmapped.launch.mounts.push(Mount { read_only: true, ..bind(source, "/data", BindIds::Unmapped) });
    assert_eq!(unmapped.lines(), ["errno 2"]);
}

#[test]
fn layers_lie_on_each_other() {
    let mut bench = Bench::new("read /etc/motd -- read /etc/low");
    let upper = bench.dir.join("upper-layer");
    fs::create_dir_all(upper.join("etc")).unwrap();
    fs::write(upper.join("etc/motd"), "above\n").unwrap();
    fs::write(bench.layer().join("etc/low"), "below\n").unwrap();
    bench.launch.root.lowers.insert(0, upper);
    bench.launch.root.volatile = true;
    assert_eq!(bench.lines(), ["above", "below"]);
}

#[test]
fn without_a_user_namespace() {
    let mut bench = Bench::new("status CapEff -- stat /etc/motd -- status Uid -- write /etc/motd x");
    bench.launch.ids = None;
    bench.launch.network = corral_spec::NetworkMode::Host;
    bench.launch.process.uid = 1000;
    let expect = ["0000000000000000", "100644 0:0 dev 0:0", "1000 1000 1000 1000", "errno 13"];
    assert_eq!(bench.lines(), expect);
}

#[test]
fn the_host_s_network_with_a_user_namespace() {
    let mut bench = Bench::new("list /sys/class -- write /sys/kernel/uevent_helper x");
    bench.launch.network = corral_spec::NetworkMode::Host;
    let lines = bench.lines();
    assert!(lines[0].contains("net"), "{lines:?}");
    assert_eq!(lines[1], "errno 30");
}

#[test]
fn a_terminal_of_the_container_s_own() {
    let mut bench = Bench::new("tty -- stat /dev/console -- list /dev/pts -- link /proc/self/fd/0");
    bench.launch.process.tty = true;
    bench.launch.process.uid = 1000;
    let ran = bench.act("tty", &[]);
    assert_eq!(ran.lines(), ["tty true", "20620 1000:5 dev 136:0", "[0 ptmx]", "/dev/pts/0"]);
    bench.launch.process.init = true;
    assert_eq!(bench.act("tty", &[]).lines()[0], "tty true");
    bench.launch.mounts.retain(|mount| !matches!(mount.kind, MountKind::Devpts));
    assert!(bench.act("tty", &[]).err.contains("devpts"));
}

#[test]
fn tmpfs_size_and_flags() {
    let mut bench = Bench::new("read /proc/self/mountinfo");
    bench.launch.mounts.push(Mount {
        no_exec: true,
        ..mount("/scratch", MountKind::Tmpfs { size: Some(1 << 20), mode: 0o700, owner: None })
    });
    let lines = bench.lines();
    let find = |point: &str| {
        let line = lines.iter().find(|line| line.split(' ').nth(4) == Some(point));
        line.unwrap_or_else(|| panic!("{point} in {lines:#?}")).clone()
    };
    assert!(find("/scratch").contains(" rw,nosuid,nodev,noexec,relatime "), "{}", find("/scratch"));
    assert!(find("/scratch").contains("size=1024k,mode=700"), "{}", find("/scratch"));
    for line in &lines {
        let flags = line.split(' ').nth(5).unwrap();
        assert!(flags.split(',').any(|flag| flag == "nosuid"), "{line}");
        // Terminals and device nodes are devices.
        let devices = ["/dev", "/dev/pts", "/proc/kcore", "/proc/keys", "/proc/timer_list"];
        let device = devices.contains(&line.split(' ').nth(4).unwrap());
        assert!(device || flags.split(',').any(|flag| flag == "nodev"), "{line}");
    }
}

#[test]
fn without_a_user_namespace_no_node_can_be_made() {
    let mut bench = Bench::new("read /proc/self/mountinfo -- write /dev/null x -- stat /dev/zero");
    bench.launch.ids = None;
    bench.launch.confinement.userns = corral_spec::UserNamespace::Host;
    let lines = bench.lines();
    let dev = lines.iter().find(|line| line.split(' ').nth(4) == Some("/dev")).expect("/dev");
    assert!(dev.split(' ').nth(5).unwrap().split(',').any(|flag| flag == "nodev"), "{dev}");
    assert_eq!(lines[lines.len() - 2..], ["wrote /dev/null", "20666 0:0 dev 1:5"]);
}

#[test]
fn a_volatile_writable_layer_serves_once() {
    let mut bench = Bench::new("exit 0");
    bench.launch.root.volatile = true;
    assert_eq!(bench.run().code, 0);
    let again = bench.run();
    assert_eq!(again.code, 125);
    assert!(again.err.contains("can be used only once"), "{again:?}");
}
