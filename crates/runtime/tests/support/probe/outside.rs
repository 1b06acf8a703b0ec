//! The host's side.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use corral_runtime::{Created, Error, Io, Running, create, exec};
use corral_spec::record::{GENERATION, Launch, Process, Status};

/// Does what the words ask, if they are this side's.
pub fn act(words: &[&str]) -> Option<u8> {
    let done = match words {
        ["run", launch] => run(&read(launch)),
        ["hold", launch, status] => hold(&read(launch), status),
        ["tty", launch] => tty(&read(launch)),
        ["exec", launch, process] => exec_in(&read(launch), process),
        ["join", launch, status, process] => join(&read(launch), status, process),
        ["drop", launch] => create(&read(launch), streams()).map(|_created| 0),
        ["loop", launch, count] => repeat(&read(launch), count.parse().expect("a number")),
        _ => return None,
    };
    Some(done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        error.exit_code()
    }))
}

fn read(path: &str) -> Launch {
    serde_json::from_slice(&std::fs::read(path).expect("launch")).expect("a launch")
}

fn streams() -> Io {
    let copy = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().expect("dup");
    Io::Pipes {
        stdin: copy(std::io::stdin().as_fd()),
        stdout: copy(std::io::stdout().as_fd()),
        stderr: copy(std::io::stderr().as_fd()),
    }
}

fn end(mut running: Running) -> Result<u8, Error> {
    let ended = running.wait()?;
    if running.cgroup().oom_kills()? > 0 {
        eprintln!("oom");
    }
    for left in running.cleanup() {
        eprintln!("left: {left}");
    }
    Ok(ended.code())
}

fn run(launch: &Launch) -> Result<u8, Error> {
    end(create(launch, streams())?.start()?)
}

fn status(created: &Created) -> Status {
    let own = std::process::id() as i32;
    Status {
        generation: GENERATION,
        monitor: corral_spec::record::ProcessName { pid: own, start_ticks: 0 },
        init: created.name(),
        started_ns: 0,
        paused: false,
        restarting: false,
        restarts: 0,
        health: None,
        cgroup2: created.cgroup().v2().map(ToOwned::to_owned),
        cgroup1: created.cgroup().v1().to_vec(),
    }
}

/// Says in a file how the container can be reached, then waits for its end.
fn hold(launch: &Launch, path: &str) -> Result<u8, Error> {
    let created = create(launch, streams())?;
    let status = serde_json::to_vec(&status(&created)).expect("json");
    let running = created.start()?;
    let partial = format!("{path}.partial");
    std::fs::write(&partial, status).and_then(|()| std::fs::rename(&partial, path)).expect("status");
    end(running)
}

fn drain(console: OwnedFd) {
    let mut output = Vec::new();
    // EIO is how a terminal says that its other side is closed.
    drop(File::from(console).read_to_end(&mut output));
    std::io::stdout().write_all(&output).expect("stdout");
}

fn tty(launch: &Launch) -> Result<u8, Error> {
    let mut created = create(launch, Io::Terminal)?;
    let console = created.console.take().expect("a console");
    let running = created.start()?;
    drain(console);
    end(running)
}

/// Runs the launch's program in the background and `process` beside it.
fn exec_in(launch: &Launch, process: &str) -> Result<u8, Error> {
    let created = create(launch, streams())?;
    let status = status(&created);
    let running = created.start()?;
    let code = join_status(launch, &status, process);
    for left in running.cleanup() {
        eprintln!("left: {left}");
    }
    code
}

fn join(launch: &Launch, status: &str, process: &str) -> Result<u8, Error> {
    let status: Status = serde_json::from_slice(&std::fs::read(status).expect("status")).expect("a status");
    join_status(launch, &status, process)
}

fn join_status(launch: &Launch, status: &Status, process: &str) -> Result<u8, Error> {
    let process: Process = serde_json::from_str(process).expect("a process");
    let io = if process.tty { Io::Terminal } else { streams() };
    let mut joined = exec(launch, status, &process, io)?;
    if let Some(console) = joined.console.take() {
        drain(console);
    }
    Ok(joined.wait()?.code())
}

/// Prints microseconds of wall time and of CPU time (this process and its children) for each round.
fn repeat(launch: &Launch, count: u32) -> Result<u8, Error> {
    let start = Instant::now();
    let before = cpu_ticks();
    for _ in 0..count {
        let code = run(launch)?;
        assert_eq!(code, 0);
    }
    let wall = start.elapsed().as_micros() / u128::from(count.max(1));
    let cpu = (cpu_ticks() - before) * 10_000 / u64::from(count.max(1));
    println!("{wall} us wall, {cpu} us cpu a round");
    Ok(0)
}

/// utime, stime, cutime, cstime of proc_pid_stat(5), in hundredths of a second.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("stat");
    let fields = stat.rsplit_once(')').expect("name").1.split_ascii_whitespace().skip(11).take(4);
    fields.map(|field| field.parse::<u64>().expect("ticks")).sum()
}
