//! Containers under the profiles that are really used, and the weaker forms that can be named.

mod support;

use corral_policy::confinement;
use corral_runtime::seccomp::{Arch, compile};
use corral_spec::ProfileName;
use corral_spec::record::Confinement;
use support::{Bench, process};

/// The profile's capabilities, filter, masks and protected paths.
fn under(profile: ProfileName, words: &str) -> Bench {
    let arch = if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 };
    let profile = confinement(profile);
    let mut bench = Bench::new(words);
    let filter = compile(&profile.syscalls(profile.capabilities), arch).unwrap();
    bench.launch.confinement = Confinement {
        capabilities: profile.capabilities.numbers(),
        no_new_privileges: profile.no_new_privileges,
        seccomp: Some(filter),
        ..bench.launch.confinement.clone()
    };
    bench.launch.masked_paths = profile.masked_paths.iter().map(|path| support::path(path)).collect();
    bench.launch.readonly_paths = profile.readonly_paths.iter().map(|path| support::path(path)).collect();
    bench.launch.root.read_only = profile.read_only_root;
    bench
}

#[test]
fn the_program_is_filtered_and_lives() {
    for profile in [ProfileName::Standard, ProfileName::Build, ProfileName::Agent] {
        let mut bench = under(profile, "status Seccomp -- status NoNewPrivs -- fork 3 -- dial -- say done");
        bench.launch.process.uid = 1000;
        let expect = ["2", "1", "3 forked", "connected", "done"];
        assert_eq!(bench.lines(), expect, "{profile:?}");
        bench.launch.process.init = true;
        assert_eq!(bench.lines(), expect, "{profile:?} with init");
        let user = corral_spec::record::Process { uid: 1000, ..process("status Seccomp -- say joined") };
        let held = under(profile, "sleep 30");
        let joined = held.act("exec", &[&serde_json::to_string(&user).unwrap()]);
        assert_eq!(joined.lines(), ["2", "joined"], "{profile:?} joined");
    }
}

#[test]
fn a_missing_program_is_told_through_the_filter() {
    for init in [false, true] {
        let mut bench = under(ProfileName::Agent, "");
        bench.launch.process.argv = vec!["/bin/nothing".into()];
        bench.launch.process.init = init;
        let ran = bench.run();
        assert_eq!(ran.code, 127, "{ran:?}");
        assert!(ran.err.contains("/bin/nothing"), "{ran:?}");
    }
}

#[test]
fn without_no_new_privs_the_filter_is_loaded_all_the_same() {
    let mut bench =
        under(ProfileName::Standard, "status Seccomp -- status NoNewPrivs -- status CapEff -- status CapPrm");
    bench.launch.confinement.no_new_privileges = false;
    bench.launch.confinement.capabilities = vec![0, 1];
    assert_eq!(bench.lines(), ["2", "0", "0000000000000003", "0000000000000003"]);
    bench.launch.process.uid = 1000;
    let none = "0000000000000000";
    assert_eq!(bench.lines(), ["2", "0", none, none]);
}
