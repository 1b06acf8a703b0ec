//! What `corral doctor` asks, asked of this host. One test only: trials fork, and a test harness with one
//! test has no second thread that could hold a lock meanwhile.

use std::path::Path;

use corral_runtime::probe::{Outcome, run};

#[test]
fn what_containers_need_works_here() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP: probe::what_containers_need_works_here: mounts and control groups need root");
        return;
    }
    let store = std::env::temp_dir().join(format!("corral-doctor-test-{}", std::process::id()));
    std::fs::create_dir(&store).expect("a store");
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let before = mounts();
    let probes = run(&store, None);
    for probe in &probes {
        println!("{:>7} µs  {:<32} {:?}", probe.micros, probe.name, probe.outcome);
    }
    for probe in &probes {
        assert!(probe.is_good_enough(), "{probe:?}");
        assert!(probe.micros < 5_000_000, "{probe:?}");
        let (Outcome::Works { detail: text } | Outcome::Missing { remedy: text, .. }) = &probe.outcome;
        assert!(!text.is_empty(), "{probe:?}");
    }
    assert_eq!(before, mounts(), "nothing stays mounted");
    assert_eq!(std::fs::read_dir(&store).expect("the store").count(), 0, "nothing stays in the store");
    std::fs::remove_dir(&store).expect("remove");
    assert!(!left_behind(Path::new("/sys/fs/cgroup"), 3), "no control group stays");
}

/// Whether a group of this process's trials is still there.
fn left_behind(dir: &Path, depth: u32) -> bool {
    let name = format!("corral-doctor-{}", std::process::id());
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        is_dir && (entry.file_name() == *name || depth > 0 && left_behind(&entry.path(), depth - 1))
    })
}
