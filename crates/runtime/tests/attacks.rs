//! What a container that means ill gets, under the profiles as they are. Calls that the filter denies are
//! tried in `src/seccomp/tests/kernel.rs`; walls that do not depend on a profile, in `walls.rs`.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use corral_policy::{confinement, judge_launch};
use corral_runtime::seccomp::{Arch, compile};
use corral_spec::record::Cgroup;
use corral_spec::{NetworkMode, ProfileName};
use support::{Bench, path};

/// A bench whose launch is confined by a profile, as its judge demands.
fn under(name: ProfileName, words: &str) -> Bench {
    let mut bench = Bench::new(words);
    let profile = confinement(name);
    let launch = &mut bench.launch;
    launch.confinement.capabilities = profile.capabilities.numbers();
    let arch = Arch::NATIVE.expect("tests run where filters are supported");
    launch.confinement.seccomp =
        Some(compile(&profile.syscalls(profile.capabilities), arch).expect("compiles"));
    launch.masked_paths = profile.masked_paths.iter().map(|masked| path(masked)).collect();
    launch.readonly_paths = profile.readonly_paths.iter().map(|kept| path(kept)).collect();
    launch.devices = profile.devices.iter().map(|device| path(device)).collect();
    launch.root.read_only = profile.read_only_root;
    launch.cgroup = Cgroup {
        memory: profile.limits.memory,
        cpu_millis: profile.limits.cpu_millis,
        pids: Some(profile.limits.pids),
        ..Cgroup::default()
    };
    if name == ProfileName::Agent {
        launch.process.uid = 1000;
        launch.process.gid = 1000;
    }
    judge_launch(name, launch).expect("a launch as the engine makes it");
    bench
}

#[test]
fn an_agent_holds_nothing() {
    let words = "status CapEff -- status CapPrm -- status CapBnd -- status CapAmb -- status NoNewPrivs -- status Seccomp";
    let none = "0000000000000000";
    assert_eq!(under(ProfileName::Agent, words).lines(), [none, none, none, none, "1", "2"]);
    let eleven = format!(
        "{:016x}",
        confinement(ProfileName::Standard).capabilities.numbers().iter().fold(0_u64, |set, n| set | 1 << n)
    );
    let standard = under(ProfileName::Standard, words).lines();
    assert_eq!(standard, [&*eleven, &eleven, &eleven, none, "1", "2"]);
}

#[test]
fn a_setuid_program_gains_nothing() {
    let mut bench = under(ProfileName::Agent, "");
    let su = bench.layer().join("bin/su");
    fs::copy(bench.layer().join("bin/probe"), &su).unwrap();
    fs::set_permissions(&su, fs::Permissions::from_mode(0o6755)).unwrap();
    bench.launch.process.argv =
        ["/bin/su", "status", "Uid", "--", "status", "Gid", "--", "stat", "/bin/su"].map(Into::into).into();
    let expect = ["1000 1000 1000 1000", "1000 1000 1000 1000", "106755 0:0 dev 0:0"];
    assert_eq!(bench.lines(), expect);
}

#[test]
fn switches_of_the_kernel_are_out_of_reach() {
    const SWITCHES: [&str; 8] = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/modprobe",
        "/proc/sys/fs/binfmt_misc/register",
        "/proc/sys/kernel/randomize_va_space",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/uevent_helper",
        "/sys/kernel/mm/transparent_hugepage/enabled",
    ];
    let words = SWITCHES.map(|switch| format!("write {switch} 1")).join(" -- ");
    for profile in [ProfileName::Agent, ProfileName::Standard] {
        for (switch, answer) in SWITCHES.iter().zip(under(profile, &words).lines()) {
            // EPERM, ENOENT, EACCES, EROFS
            assert!(["errno 1", "errno 2", "errno 13", "errno 30"].contains(&&*answer), "{switch}: {answer}");
        }
    }
}

#[test]
fn the_engines_program_cannot_be_overwritten() {
    // CVE-2019-5736: an interpreter line makes the runtime execute its own program inside, where the
    // container then opens it for writing.
    for profile in [ProfileName::Agent, ProfileName::Standard] {
        let mut bench = under(profile, "");
        let evil = bench.layer().join("bin/evil");
        fs::write(&evil, "#!/proc/self/exe say\n").unwrap();
        fs::set_permissions(&evil, fs::Permissions::from_mode(0o755)).unwrap();
        bench.launch.process.argv =
            ["/bin/evil", "--", "write", "/proc/self/exe", "x", "--", "write", "/proc/1/exe", "x"]
                .map(Into::into)
                .into();
        let engine = bench.command("run").get_program().to_owned();
        let before = fs::read(&engine).unwrap();
        let lines = bench.lines();
        // EACCES comes before ETXTBSY: it is the owner outside the id map that refuses, not the running.
        assert_eq!(lines, ["/bin/evil", "errno 13", "errno 13"]);
        assert_eq!(before, fs::read(&engine).unwrap());
    }
}

#[test]
fn a_fork_bomb_ends_at_the_tasks_limit() {
    let bench = under(ProfileName::Agent, "fork 2000");
    let lines = bench.lines();
    let forked: u32 = lines[0].split(' ').next().and_then(|count| count.parse().ok()).expect("a count");
    assert!((400..512).contains(&forked), "{forked} of 512");
}

#[test]
fn the_host_s_abstract_sockets_are_out_of_reach() {
    use std::os::linux::net::SocketAddrExt;
    let name = format!("corral-canary-{}", std::process::id());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _canary = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    // Another network namespace has other abstract names.
    assert_eq!(under(ProfileName::Standard, &format!("knock {name}")).lines(), ["errno 111"]);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let version: Vec<u32> = release.split(['.', '-']).take(2).map(|part| part.parse().unwrap()).collect();
    if version < vec![6, 12] {
        println!(
            "SKIP: attacks::the_host_s_abstract_sockets_are_out_of_reach: Landlock scopes sockets since Linux 6.12"
        );
        return;
    }
    let mut bench = under(ProfileName::Standard, &format!("knock {name}"));
    bench.launch.network = NetworkMode::Host;
    assert_eq!(bench.lines(), ["errno 1"]);
}
