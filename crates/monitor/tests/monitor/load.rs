//! Much output, slow readers, little memory.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use corral_monitor::client::Client;
use corral_monitor::log::Stream;
use corral_spec::record::Log;

use crate::Case;
use crate::bench::{Bench, eventually, lives};

pub const CASES: &[Case] = &[
    ("a_million_lines_arrive_in_order", a_million_lines_arrive_in_order),
    ("a_gigabyte_without_newline_is_bounded", a_gigabyte_without_newline_is_bounded),
    ("a_slow_reader_holds_the_container_not_the_monitor", a_slow_reader_holds_the_container_not_the_monitor),
    ("an_idle_monitor_is_small", an_idle_monitor_is_small),
];

/// A figure of /proc/PID/FILE, in kB.
fn kilobytes(pid: i32, file: &str, names: &[&str]) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let figure = |line: &str| line.split_ascii_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
    text.lines().filter(|line| names.iter().any(|name| line.starts_with(name))).filter_map(figure).sum()
}

fn a_million_lines_arrive_in_order() {
    let bench = Bench::new(&["lines", "1000000"]);
    let begun = Instant::now();
    let output = bench.client(&[]).output().unwrap();
    let took = begun.elapsed();
    let expect: String = (0..1_000_000).map(|number| format!("{number:09}\n")).collect();
    assert!(output.stdout == expect.as_bytes(), "{} of {} bytes", output.stdout.len(), expect.len());
    assert!(bench.log(Stream::Stdout) == expect);
    println!(
        "    {:.0} MB/s through monitor, log and client",
        expect.len() as f64 / 1e6 / took.as_secs_f64()
    );
}

fn a_gigabyte_without_newline_is_bounded() {
    let small = Log { max_size: 1 << 20, max_files: 1, ..Log::default() };
    let bench = Bench::new(&["flood", "1024"]).with(|launch| launch.log = small);
    let begun = Instant::now();
    let mut client = bench.client(&[]).stdout(Stdio::null()).spawn().unwrap();
    let mut peaks = [0; 2];
    let status = loop {
        if let Some(status) = client.try_wait().unwrap() {
            break status;
        }
        if bench.run_dir().join("status.json").exists() {
            for (peak, pid) in peaks.iter_mut().zip([bench.status().monitor.pid, client.id() as i32]) {
                // It may end while it is asked.
                *peak = kilobytes(pid, "status", &["VmHWM"]).max(*peak);
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(120));
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!(status.code(), Some(0));
    let files = fs::read_dir(bench.dir.join("container/log")).unwrap();
    let log: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!((1 << 20..=2 << 20).contains(&log), "{log} bytes of log");
    let rate = 1074.0 / begun.elapsed().as_secs_f64();
    println!("    peaks: monitor {} kB, client {} kB resident; {rate:.0} MB/s", peaks[0], peaks[1]);
    assert!(peaks.iter().all(|peak| (1..6144).contains(peak)), "{peaks:?} kB");
}

fn a_slow_reader_holds_the_container_not_the_monitor() {
    let bench = Bench::new(&["flood", "32"]);
    let mut client = bench.client(&[]).stdout(Stdio::piped()).spawn().unwrap();
    eventually("status.json", || bench.run_dir().join("status.json").exists());
    let status = bench.status();
    std::thread::sleep(Duration::from_millis(300));
    assert!(lives(status.init.pid), "it waits for the reader");
    let written = bench.log(Stream::Stdout).len();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(bench.log(Stream::Stdout).len(), written, "pressure is constant");
    assert!(written < 4 << 20, "{written} bytes went ahead of the reader");
    // The monitor serves others meanwhile.
    let mut other = Client::connect(&bench.run_dir()).unwrap();
    other.pause().unwrap();
    other.unpause().unwrap();
    let mut all = Vec::new();
    client.stdout.take().unwrap().read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 32 << 20);
    assert_eq!(client.wait().unwrap().code(), Some(0));
    assert_eq!(bench.log(Stream::Stdout).len(), 32 << 20);
}

fn an_idle_monitor_is_small() {
    let mut bench = Bench::new(&["sleep"]);
    bench.started().detach().unwrap();
    eventually("its output", || bench.log(Stream::Stdout) == "asleep\n");
    let pid = bench.status().monitor.pid;
    let dirty = kilobytes(pid, "smaps_rollup", &["Private_Dirty"]);
    let clean = kilobytes(pid, "smaps_rollup", &["Private_Clean"]);
    println!(
        "    {dirty} kB private dirty, {clean} kB private clean, {} kB PSS",
        kilobytes(pid, "smaps_rollup", &["Pss:"])
    );
    assert!(dirty + clean < 1024, "{dirty} + {clean} kB");
}
