//! `corral oci` against the runtime specification: one row a clause, judged from inside the container.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use corral_tests::bundle::{World, is_root, push, userns};
use corral_tests::eventually;
use serde_json::{Value, json};

/// Clause, change, script, standard output.
type Row = (&'static str, fn(&mut Value), &'static str, &'static str);

const ROWS: &[Row] = &[
    ("config: process.cwd", |c| c["process"]["cwd"] = json!("/tmp"), "pwd", "/tmp\n"),
    (
        "config: process.cwd, made where it is missing",
        |c| c["process"]["cwd"] = json!("/tmp/a/b"),
        "pwd",
        "/tmp/a/b\n",
    ),
    (
        "config: process.cwd, that only the runtime may enter",
        |c| {
            push(c, "/mounts", json!({"destination": "/x", "type": "tmpfs", "options": ["mode=700"]}));
            c["process"]["cwd"] = json!("/x");
            c["process"]["user"]["uid"] = json!(7);
        },
        "readlink /proc/self/cwd",
        "/x\n",
    ),
    ("config: process.env", |c| push(c, "/process/env", json!("A=b c")), "echo $A", "b c\n"),
    (
        "config: process.user",
        |c| c["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 63}),
        "id -u; id -g; id -G; umask",
        "5\n6\n6 7 8\n0077\n",
    ),
    (
        "config: process.rlimits",
        |c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]),
        "ulimit -Sn; ulimit -Hn",
        "100\n200\n",
    ),
    (
        "config: process.capabilities, five sets",
        |c| {
            c["process"]["capabilities"] = json!({"bounding": ["CAP_CHOWN", "CAP_KILL"],
                "effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"], "inheritable": ["CAP_CHOWN"],
                "ambient": ["CAP_CHOWN"]});
            c["process"]["user"]["uid"] = json!(9);
        },
        "awk '/^Cap/{print $2}' /proc/self/status",
        "0000000000000001\n0000000000000001\n0000000000000001\n0000000000000021\n0000000000000001\n",
    ),
    (
        "config: process.capabilities, what cannot be granted is left out",
        |c| c["process"]["capabilities"]["bounding"] = json!(["CAP_CHOWN", "CAP_NONE"]),
        "awk '/^CapBnd/{print $2}' /proc/self/status",
        "0000000000000001\n",
    ),
    (
        "config: process.noNewPrivileges",
        |c| c["process"]["noNewPrivileges"] = json!(false),
        "awk '/^NoNewPrivs/{print $2}' /proc/self/status",
        "0\n",
    ),
    (
        "config: process.oomScoreAdj",
        |c| c["process"]["oomScoreAdj"] = json!(77),
        "cat /proc/self/oom_score_adj",
        "77\n",
    ),
    (
        "config: process.scheduler",
        |c| c["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 3}),
        "awk '{print $41, $19}' /proc/self/stat",
        "3 3\n",
    ),
    (
        "config: process.ioPriority",
        |c| c["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6}),
        "busybox ionice -p $$",
        "best-effort: prio 6\n",
    ),
    (
        "config: root.readonly",
        |c| c["root"]["readonly"] = json!(true),
        "touch /x 2>/dev/null || echo no",
        "no\n",
    ),
    (
        "config: root.readonly false",
        |c| c["root"]["readonly"] = json!(false),
        "touch /x && echo yes",
        "yes\n",
    ),
    ("config: hostname", |c| c["hostname"] = json!("a-name"), "hostname", "a-name\n"),
    (
        "config: domainname",
        |c| c["domainname"] = json!("a.domain"),
        "cat /proc/sys/kernel/domainname",
        "a.domain\n",
    ),
    (
        "config: mounts, tmpfs options",
        |c| {
            push(
                c,
                "/mounts",
                json!({"destination": "/tmp", "type": "tmpfs", "source": "t", "options": ["size=64k", "noexec"]}),
            )
        },
        "awk '$2==\"/tmp\"{print $1, $4}' /proc/mounts | sed s/,inode64//",
        "t rw,noexec,relatime,size=64k\n",
    ),
    (
        "config: mounts, bind read-only and private",
        |c| {
            push(
                c,
                "/mounts",
                json!({"destination": "/data/deep", "source": "/etc", "options": ["rbind", "ro", "rprivate"]}),
            )
        },
        "test -e /data/deep/passwd && awk '$5==\"/data/deep\"{print substr($6,1,2), $7}' /proc/self/mountinfo",
        "ro -\n",
    ),
    (
        "config: mounts, a bind's source relative to the bundle",
        |c| push(c, "/mounts", json!({"destination": "/x", "source": "rootfs/bin", "options": ["bind"]})),
        "test -x /x/busybox && echo yes",
        "yes\n",
    ),
    (
        "config: mounts, a read-only /dev with what is below it",
        |c| push(&mut c["mounts"][1], "/options", json!("ro")),
        "test -c /dev/null && test -c /dev/pts/ptmx && touch /dev/x 2>&1 | grep -c Read-only",
        "1\n",
    ),
    (
        "config: mounts, a file system's options mean nothing to a bind mount",
        |c| {
            push(
                c,
                "/mounts",
                json!({"destination": "/data", "source": "/etc", "options": ["bind", "nosuid", "mode=755", "size=1k"]}),
            )
        },
        "awk '$5==\"/data\"{print substr($6,1,9)}' /proc/self/mountinfo",
        "rw,nosuid\n",
    ),
    (
        "config-linux: user namespace and id maps",
        userns,
        "cat /proc/self/uid_map; stat -c %u /dev/null",
        "         0     100000      65536\n0\n",
    ),
    (
        "config: mounts, idmap",
        |c| {
            userns(c);
            push(
                c,
                "/mounts",
                json!({"destination": "/tmp", "source": "/etc", "options": ["bind", "idmap"]}),
            );
        },
        "stat -c %u /tmp/passwd",
        "0\n",
    ),
    (
        "config-linux: time namespace",
        |c| {
            push(c, "/linux/namespaces", json!({"type": "time"}));
            c["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000}});
        },
        "awk '{print ($1 > 1000000)}' /proc/uptime",
        "1\n",
    ),
    ("config-linux: pid namespace", |_| {}, "echo $$", "1\n"),
    (
        "config-linux: network namespace, loopback",
        |_| {},
        "awk -F: '/:/{print $1}' /proc/net/dev",
        "    lo\n",
    ),
    ("config-linux: cgroup namespace", |_| {}, "grep ^0: /proc/self/cgroup", "0::/\n"),
    (
        "config-linux: devices with mode and owner",
        |c| c["linux"]["devices"] = json!([{"type": "c", "path": "/dev/x", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4}]),
        "stat -c '%t:%T %a %u %g' /dev/x",
        "1:5 640 3 4\n",
    ),
    (
        "config-linux: devices in a user namespace, which the host need not have",
        |c| {
            userns(c);
            c["linux"]["devices"] = json!([{"type": "b", "path": "/dev/deep/x", "major": 7, "minor": 77, "fileMode": 0o640, "uid": 3, "gid": 4}]);
        },
        "stat -c '%t:%T %a %u %g' /dev/deep/x; echo x >/dev/null; dd if=/dev/zero bs=1 count=2 2>/dev/null | wc -c",
        "7:4d 640 3 4\n2\n",
    ),
    (
        "config-linux: default devices and links",
        |_| {},
        "for d in null zero full random urandom tty; do test -c /dev/$d || echo $d; done; for l in fd stdin ptmx; do readlink /dev/$l; done",
        "/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n",
    ),
    (
        "config-linux: device cgroup",
        |c| c["linux"]["devices"] = json!([{"type": "c", "path": "/dev/x", "major": 1, "minor": 11}]),
        "dd if=/dev/zero of=/dev/null count=1 2>/dev/null && echo read; dd if=/dev/x count=1 2>&1 | grep -c 'not permitted'",
        "read\n1\n",
    ),
    (
        "config-linux: sysctl",
        |c| c["linux"]["sysctl"] = json!({"kernel.msgmax": "4096", "net.ipv4.ip_forward": "1"}),
        "cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward",
        "4096\n1\n",
    ),
    (
        "config-linux: maskedPaths and readonlyPaths",
        |_| {},
        "cat /proc/timer_list; ls /sys/firmware; echo 1 2>/dev/null >/proc/sys/kernel/msgmax || echo no",
        "no\n",
    ),
    (
        "config-linux: rootfsPropagation",
        |c| c["linux"]["rootfsPropagation"] = json!("shared"),
        "awk '$5==\"/\"{print substr($7,1,6)}' /proc/self/mountinfo",
        "shared\n",
    ),
    (
        "config-linux: rootfsPropagation unbindable",
        |c| c["linux"]["rootfsPropagation"] = json!("unbindable"),
        "awk '$5==\"/\"{print $7}' /proc/self/mountinfo",
        "unbindable\n",
    ),
    (
        "config-linux: rootfsPropagation slave and private, where nothing is shared",
        |c| c["linux"]["rootfsPropagation"] = json!("rslave"),
        "awk '$5==\"/\"{print $7}' /proc/self/mountinfo",
        "-\n",
    ),
    (
        "config: mounts, propagation of each",
        |c| {
            for (at, kind) in [("/tmp/s", "shared"), ("/tmp/u", "unbindable"), ("/tmp/p", "rprivate")] {
                push(c, "/mounts", json!({"destination": at, "type": "tmpfs", "options": [kind]}));
            }
        },
        "awk '$5~\"^/tmp/\"{print $5, substr($7,1,10)}' /proc/self/mountinfo | sed 's/:.*//'",
        "/tmp/s shared\n/tmp/u unbindable\n/tmp/p -\n",
    ),
    (
        "config-linux: personality",
        |c| c["linux"]["personality"] = json!({"domain": "LINUX32"}),
        "uname -m",
        "i686\n",
    ),
    (
        "config-linux: memoryPolicy",
        |c| {
            c["linux"]["memoryPolicy"] =
                json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]})
        },
        "awk 'NR==1{print $2}' /proc/self/numa_maps",
        "bind=static:0\n",
    ),
    (
        "config-linux: seccomp, errno for one call",
        |c| {
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]});
            c["root"]["readonly"] = json!(false);
        },
        "mkdir /tmp/y 2>&1 | grep -c 'No space'; awk '/^Seccomp:/{print $2}' /proc/self/status",
        "1\n2\n",
    ),
    (
        "config-linux: seccomp, arguments",
        |c| {
            c["process"]["noNewPrivileges"] = json!(false);
            c["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28,
                 "args": [{"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}]}]});
        },
        "kill -0 1 2>&1 | grep -c 'No space'; kill -CONT 1 && echo sent",
        "1\nsent\n",
    ),
];

#[test]
fn each_clause_holds_inside() {
    if !is_root("each_clause_holds_inside") {
        return;
    }
    let world = World::new();
    let mut wrong = Vec::new();
    for (clause, change, script, expect) in ROWS {
        if clause.contains("which the host need not have")
            && !corral_tests::since_linux(
                (6, 15),
                "each_clause_holds_inside",
                "detached mounts are not cloned",
            )
        {
            continue;
        }
        world.configure(script, change);
        let said = world.say(&["run", "row"]);
        if (said.code, said.out.as_str()) != (0, expect) {
            wrong.push(format!("{clause}: {} {:?} {}", said.code, said.out, said.err));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Clause, linux.resources, and the files that say it on cgroup v1 and on cgroup2, with what they say.
type Limit = (&'static str, Value, (&'static str, &'static str), (&'static str, &'static str));

/// Some device of this host that can be throttled.
fn block_device() -> String {
    let table = fs::read_to_string("/proc/partitions").unwrap();
    let line = table.lines().nth(2).expect("a block device");
    line.split_whitespace().take(2).collect::<Vec<_>>().join(":")
}

fn limits(device: &str) -> Vec<Limit> {
    let (major, minor) = device.split_once(':').unwrap();
    let numbers: [u32; 2] = [major.parse().unwrap(), minor.parse().unwrap()];
    let none = ("", "");
    let throttle = json!([{"major": numbers[0], "minor": numbers[1], "rate": 1_048_576}]);
    vec![
        (
            "memory.limit",
            json!({"memory": {"limit": 67_108_864}}),
            ("memory.limit_in_bytes", "67108864"),
            ("memory.max", "67108864"),
        ),
        (
            "memory.reservation",
            json!({"memory": {"reservation": 33_554_432}}),
            ("memory.soft_limit_in_bytes", "33554432"),
            ("memory.low", "33554432"),
        ),
        (
            "memory.swap",
            json!({"memory": {"limit": 67_108_864, "swap": 100_663_296}}),
            ("memory.memsw.limit_in_bytes", "100663296"),
            ("memory.swap.max", "33554432"),
        ),
        ("memory.swappiness", json!({"memory": {"swappiness": 30}}), ("memory.swappiness", "30"), none),
        (
            "memory.disableOOMKiller",
            json!({"memory": {"disableOOMKiller": true}}),
            ("memory.oom_control", "oom_kill_disable 1"),
            none,
        ),
        ("cpu.shares", json!({"cpu": {"shares": 512}}), ("cpu.shares", "512"), ("cpu.weight", "20")),
        (
            "cpu.quota",
            json!({"cpu": {"quota": 50_000, "period": 100_000}}),
            ("cpu.cfs_quota_us", "50000"),
            ("cpu.max", "50000 100000"),
        ),
        ("cpu.cpus", json!({"cpu": {"cpus": "0"}}), ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
        ("cpu.mems", json!({"cpu": {"mems": "0"}}), ("cpuset.mems", "0"), ("cpuset.mems", "0")),
        ("cpu.idle", json!({"cpu": {"idle": 1}}), ("cpu.idle", "1"), ("cpu.idle", "1")),
        ("pids.limit", json!({"pids": {"limit": 77}}), ("pids.max", "77"), ("pids.max", "77")),
        (
            "blockIO.weight",
            json!({"blockIO": {"weight": 500}}),
            ("blkio.bfq.weight", "500"),
            ("io.weight", "default 4950"),
        ),
        ("blockIO.leafWeight", json!({"blockIO": {"leafWeight": 500}}), ("blkio.leaf_weight", "500"), none),
        (
            "blockIO.throttle",
            json!({"blockIO": {"throttleReadBpsDevice": throttle}}),
            ("blkio.throttle.read_bps_device", "1048576"),
            ("io.max", "rbps=1048576"),
        ),
        (
            "hugepageLimits",
            json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4_194_304}]}),
            ("hugetlb.2MB.limit_in_bytes", "4194304"),
            ("hugetlb.2MB.max", "4194304"),
        ),
        ("network.classID", json!({"network": {"classID": 1_048_577}}), ("net_cls.classid", "1048577"), none),
        (
            "network.priorities",
            json!({"network": {"priorities": [{"name": "lo", "priority": 3}]}}),
            ("net_prio.ifpriomap", "lo 3"),
            none,
        ),
        (
            "rdma",
            json!({"rdma": {"none0": {"hcaHandles": 3}}}),
            ("rdma.max", "none0 hca_handle=3"),
            ("rdma.max", "none0 hca_handle=3"),
        ),
        ("unified", json!({"unified": {"memory.high": "50331648"}}), none, ("memory.high", "50331648")),
    ]
}

/// A value is in its file, or the container is refused by the value's name: never neither.
#[test]
fn each_limit_holds_or_is_refused_by_name() {
    let test = "each_limit_holds_or_is_refused_by_name";
    if !is_root(test) {
        return;
    }
    let world = World::new();
    let group = format!("corral-oci-limits-{}", std::process::id());
    let mut homes = vec![PathBuf::from("/sys/fs/cgroup")];
    homes.extend(fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()));
    let mut wrong = Vec::new();
    for (clause, resources, v1, v2) in limits(&block_device()) {
        world.configure("sleep 60", |config| {
            config["linux"]["cgroupsPath"] = json!(format!("/{group}"));
            config["linux"]["resources"] = resources.clone();
        });
        let said = world.quietly(&["run", "-d", "l"]);
        if said.code != 0 {
            match said.err.contains(clause) {
                true => println!("SKIP: oci_clauses::{test}: {}", said.err.trim()),
                false => wrong.push(format!("{clause}: {}", said.err)),
            }
            continue;
        }
        let says = |(file, text): (&str, &str)| {
            let read = homes.iter().filter_map(|home| fs::read_to_string(home.join(&group).join(file)).ok());
            !file.is_empty() && read.into_iter().any(|found| found.contains(text))
        };
        if !says(v1) && !says(v2) {
            wrong.push(format!("{clause}: neither {v1:?} nor {v2:?}"));
        }
        assert_eq!(world.say(&["delete", "-f", "l"]).code, 0, "{clause}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Joins those of a process that has each of its own.
#[test]
fn namespaces_are_joined_by_their_paths() {
    if !is_root("namespaces_are_joined_by_their_paths") {
        return;
    }
    let world = World::new();
    let mut other = Command::new("unshare");
    other.args(["--uts", "--ipc", "--net", "--cgroup", "--pid", "--fork", "--kill-child", "sleep", "60"]);
    let mut other = other.spawn().unwrap();
    let children = format!("/proc/{0}/task/{0}/children", other.id());
    eventually("it has forked", || fs::read_to_string(&children).is_ok_and(|text| !text.is_empty()));
    let pid = fs::read_to_string(&children).unwrap().trim().to_owned();
    let files = [("uts", "uts"), ("ipc", "ipc"), ("network", "net"), ("cgroup", "cgroup"), ("pid", "pid")];
    for (kind, file) in files {
        let path = format!("/proc/{pid}/ns/{file}");
        let theirs = fs::read_link(&path).unwrap();
        world.configure(&format!("readlink /proc/self/ns/{file}"), |config| {
            config["hostname"] = json!("");
            let list = config["linux"]["namespaces"].as_array_mut().unwrap();
            list.retain(|known| known["type"] != kind);
            list.push(json!({"type": kind, "path": path}));
        });
        let said = world.say(&["run", "j"]);
        assert_eq!(said.out.trim(), theirs.to_string_lossy(), "{kind}: {}", said.err);
        let mismatch = format!("/proc/{pid}/ns/mnt");
        world.configure("true", |config| {
            config["hostname"] = json!("");
            let list = config["linux"]["namespaces"].as_array_mut().unwrap();
            list.retain(|known| known["type"] != kind);
            list.push(json!({"type": kind, "path": mismatch}));
        });
        assert!(world.say(&["run", "j"]).code != 0, "{kind}: a namespace of another kind is refused");
    }
    other.kill().unwrap();
    other.wait().unwrap();
}
