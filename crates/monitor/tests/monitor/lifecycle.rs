//! From start to end, and what happens when one of those involved dies.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use corral_monitor::client::{Beginning, Client};
use corral_monitor::log::Stream;
use corral_spec::Signal;

use crate::Case;
use crate::bench::{Bench, eventually, lives};

pub const CASES: &[Case] = &[
    ("output_exit_code_and_records", output_exit_code_and_records),
    ("a_program_that_is_missing_is_reported", a_program_that_is_missing_is_reported),
    ("a_quick_end_is_an_end_not_an_error", a_quick_end_is_an_end_not_an_error),
    ("an_end_for_memory_is_told_apart", an_end_for_memory_is_told_apart),
    ("half_close_of_stdin_reaches_the_program", half_close_of_stdin_reaches_the_program),
    (
        "the_first_clients_death_ends_stdin_not_the_container",
        the_first_clients_death_ends_stdin_not_the_container,
    ),
    ("a_detached_client_leaves_stdin_open", a_detached_client_leaves_stdin_open),
    ("a_killed_monitor_takes_the_container_along", a_killed_monitor_takes_the_container_along),
    ("remove_waits_for_the_client", remove_waits_for_the_client),
    ("one_monitor_per_run_directory", one_monitor_per_run_directory),
    ("hostile_clients_are_dropped", hostile_clients_are_dropped),
    ("pause_is_one_writers_fact", pause_is_one_writers_fact),
    ("signals_are_forwarded", signals_are_forwarded),
    ("stdout_can_be_opened_again", stdout_can_be_opened_again),
    ("signals_are_as_a_program_expects", signals_are_as_a_program_expects),
];

fn output_exit_code_and_records() {
    let mut bench = Bench::new(&["say", "hello", "7"]);
    let output = bench.client(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "hello on stderr\n");
    let exit = bench.exit();
    assert_eq!((exit.code, exit.oom_killed, exit.error.as_str()), (7, false, ""));
    assert!(exit.started_ns > 0 && exit.finished_ns > exit.started_ns);
    assert_eq!(bench.log(Stream::Stdout), "hello\n");
    assert_eq!(bench.log(Stream::Stderr), "hello on stderr\n");
    assert_eq!(bench.after(), format!("reap {}", bench.launch.id));
    assert!(!bench.run_dir().join("monitor.log").exists(), "nothing failed on the way");
    // The same place again: what a monitor leaves does not hinder the next one.
    fs::remove_file(bench.dir.join("container/exit.json")).unwrap();
    drop(bench.started());
    assert_eq!(bench.exit().code, 7);
}

fn a_program_that_is_missing_is_reported() {
    let bench = Bench::new(&[]).with(|launch| launch.process.argv = vec!["/bin/nothing".to_owned()]);
    let output = bench.client(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(127), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("/bin/nothing"), "{output:?}");
    let exit = bench.exit();
    assert_eq!((exit.code, exit.started_ns), (127, 0));
    assert!(exit.error.contains("/bin/nothing"));
    assert_eq!(bench.after(), format!("reap {}", bench.launch.id));
}

/// Whatever the client is about to send when the monitor is gone already.
fn a_quick_end_is_an_end_not_an_error() {
    for _ in 0..25 {
        let bench = Bench::new(&["say", "quick", "3"]).with(|launch| launch.process.stdin = true);
        let output = bench.client(&["-i"]).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "quick\n");
        bench.after();
    }
}

fn an_end_for_memory_is_told_apart() {
    let limit = |launch: &mut corral_spec::record::Launch| launch.cgroup.memory = Some(32 << 20);
    let bench = Bench::new(&["eat", "256"]).with(limit);
    assert_eq!(bench.client(&[]).output().unwrap().status.code(), Some(137));
    let exit = bench.exit();
    assert_eq!((exit.code, exit.oom_killed), (137, true));
    let bench = Bench::new(&["say", "x", "137"]).with(limit);
    assert_eq!(bench.client(&[]).output().unwrap().status.code(), Some(137));
    let exit = bench.exit();
    assert_eq!((exit.code, exit.oom_killed), (137, false));
}

fn half_close_of_stdin_reaches_the_program() {
    let bench = Bench::new(&["cat"]).with(|launch| launch.process.stdin = true);
    // More than a pipe and a frame hold.
    let input: Vec<u8> = (0..400_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut child = bench
        .client(&["-i"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feed = input.clone();
    let feeder = std::thread::spawn(move || stdin.write_all(&feed).unwrap());
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.stdout == input, "{} of {} bytes", output.stdout.len(), input.len());
    assert_eq!(String::from_utf8_lossy(&output.stderr), format!("end after {} bytes\n", input.len()));
    assert_eq!(output.status.code(), Some(0));
}

fn the_first_clients_death_ends_stdin_not_the_container() {
    // One that reads ends by itself,
    let bench = Bench::new(&["cat"]).with(|launch| launch.process.stdin = true);
    let mut child = bench.client(&["-i"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    eventually("status.json", || bench.run_dir().join("status.json").exists());
    assert!(lives(bench.status().init.pid));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(bench.exit().code, 0);
    // one that does not goes on.
    let mut bench = Bench::new(&["ticks"]);
    let client = bench.started();
    drop(client);
    let size = || bench.log(Stream::Stdout).len();
    let before = size();
    eventually("more output", || size() > before + 50);
    assert!(lives(bench.status().init.pid));
}

fn a_detached_client_leaves_stdin_open() {
    let mut bench = Bench::new(&["cat"]).with(|launch| launch.process.stdin = true);
    bench.started().detach().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    let pid = bench.status().init.pid;
    assert!(lives(pid), "it waits for input");
    let mut later = Client::connect(&bench.run_dir()).unwrap();
    assert_eq!(later.attach(true).unwrap(), Beginning::Started { pid });
    drop(later);
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(lives(pid), "a later client's end is not the end of input");
}

fn a_killed_monitor_takes_the_container_along() {
    let mut bench = Bench::new(&["sleep"]);
    let _client = bench.started();
    let status = bench.status();
    assert!(lives(status.init.pid));
    assert_eq!(status.monitor.pid, bench.monitor().id() as i32);
    bench.monitor().kill().unwrap();
    bench.monitor().wait().unwrap();
    eventually("the container's end", || !lives(status.init.pid));
    assert!(!bench.dir.join("container/exit.json").exists());
    let lock = fs::File::open(bench.run_dir().join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("the lock is free");
}

fn remove_waits_for_the_client() {
    let remove = || Bench::new(&["say", "x", "0"]).with(|launch| launch.remove = true);
    // The client removes the container: nothing is left to do.
    let mut bench = remove();
    let client = bench.started();
    bench.exit();
    assert!(bench.monitor().try_wait().unwrap().is_none(), "it waits for us");
    let status = bench.status();
    fs::rename(bench.dir.join("container"), bench.dir.join("moved")).unwrap();
    fs::remove_dir_all(bench.dir.join("moved")).unwrap();
    fs::remove_dir_all(bench.run_dir()).unwrap();
    assert!(!lives(status.init.pid));
    drop(client);
    assert_eq!(bench.after(), "exit 0");
    // The client dies instead.
    let mut bench = remove();
    drop(bench.started());
    assert_eq!(bench.after(), format!("reap {}", bench.launch.id));
}

fn one_monitor_per_run_directory() {
    let mut bench = Bench::new(&["sleep"]);
    let _client = bench.started();
    let output = bench.client(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("another monitor"), "{output:?}");
    assert!(lives(bench.status().init.pid), "the first one is not disturbed");
    assert!(!bench.dir.join("container/exit.json").exists());
}

fn hostile_clients_are_dropped() {
    let mut bench = Bench::new(&["sleep"]);
    let _client = bench.started();
    let path = bench.run_dir().join("attach.sock");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[255; 64],
        &[2, 0, 0, 0, 255, 255, 255, 255],
        // Input without having been attached, and attached twice.
        &[2, 0, 0, 0, 1, 0, 0, 0, b'x'],
        &[1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1],
    ] {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(bytes).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let mut answer = Vec::new();
        // A reset is as good as an end: what was sent was not all read.
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{bytes:?}"),
        }
    }
    // A crowd is not admitted; who leaves makes room.
    let crowd: Vec<UnixStream> = (0..100).map(|_| UnixStream::connect(&path).unwrap()).collect();
    drop(crowd);
    eventually("room for one more", || {
        Client::connect(&bench.run_dir()).is_ok_and(|mut client| client.attach(false).is_ok())
    });
    assert!(lives(bench.status().init.pid));
}

fn pause_is_one_writers_fact() {
    let mut bench = Bench::new(&["ticks"]);
    let _first = bench.started();
    let mut client = Client::connect(&bench.run_dir()).unwrap();
    assert!(client.unpause().unwrap_err().to_string().contains("not paused"));
    client.pause().unwrap();
    assert!(bench.status().paused);
    assert!(client.pause().unwrap_err().to_string().contains("already paused"));
    std::thread::sleep(std::time::Duration::from_millis(30));
    let frozen = bench.log(Stream::Stdout).len();
    std::thread::sleep(std::time::Duration::from_millis(60));
    assert_eq!(bench.log(Stream::Stdout).len(), frozen);
    client.unpause().unwrap();
    assert!(!bench.status().paused);
    eventually("more output", || bench.log(Stream::Stdout).len() > frozen);
}

fn signals_are_forwarded() {
    let bench = Bench::new(&["trap"]);
    let child = bench.client(&[]).stdout(Stdio::piped()).spawn().unwrap();
    eventually("the program", || bench.log(Stream::Stdout) == "ready\n");
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(42));

    let mut bench = Bench::new(&["sleep"]);
    let mut client = bench.started();
    client.signal(Signal::KILL).unwrap();
    assert_eq!(bench.exit().code, 137);
}

fn stdout_can_be_opened_again() {
    let bench = Bench::new(&["reopen"]);
    let output = bench.client(&[]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "reopened\n", "{output:?}");
}

fn signals_are_as_a_program_expects() {
    let bench = Bench::new(&["signals"]);
    let output = bench.client(&[]).output().unwrap();
    // The program is Rust's: it ignores SIGPIPE itself, and nothing else.
    let expect = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001000\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expect);
}
