//! Health checks: when the next one is due, what came of the last.
//!
//! ```text
//! due ── Check started (a child of ours, which joins the container) ── ended, or out of time ── status.json ── due again
//! ```
//!
//! A check may take as long as the container likes to make it, so it is a process of its own; what it writes is kept
//! up to a bound, and read on so that it does not block. A paused container is not checked.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use corral_runtime::Check;
use corral_spec::record::{Launch, Process, Status};
use corral_spec::{Health, HealthResult, HealthStatus};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::records::{Directory, now_ns};

/// Bytes of output that are kept of a check, as Docker does.
const OUTPUT: usize = 4096;

/// A container's checks.
#[derive(Debug)]
pub struct Checks {
    plan: Health,
    /// Where the launch is, for the child that runs a check.
    records: PathBuf,
    began: Instant,
    due: Instant,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    check: Check,
    began: Instant,
    started_ns: u64,
    output: Vec<u8>,
}

impl Checks {
    /// Of a container that has just been started; none if it has none.
    pub fn of(launch: &Launch, records: &std::path::Path) -> Option<Self> {
        let plan = launch.health.clone()?;
        let now = Instant::now();
        let mut checks = Self { plan, records: records.to_owned(), began: now, due: now, running: None };
        checks.due = now + checks.pause(&HealthStatus::default());
        Some(checks)
    }

    /// When [`turn`](Self::turn) has something to do, whatever happens.
    pub fn deadline(&self) -> Instant {
        match &self.running {
            Some(running) => running.began + Duration::from_millis(self.plan.timeout_ms),
            None => self.due,
        }
    }

    /// What it waits for besides.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.running.iter().flat_map(|running| [running.check.output(), running.check.pidfd()])
    }

    /// Does what is due. `Some` says that the status has a new result, and whether the state of health is another now.
    pub fn turn(&mut self, status: &mut Status) -> Option<bool> {
        let now = Instant::now();
        let Some(running) = &mut self.running else {
            if now >= self.due {
                self.start(now, status);
            }
            return None;
        };
        let ended = running.read();
        let late = now >= running.began + Duration::from_millis(self.plan.timeout_ms);
        if !ended && !late {
            return None;
        }
        let running = self.running.take()?;
        corral_fault::step!(CheckEnded);
        let grace = now < self.began + Duration::from_millis(self.plan.start_period_ms);
        let limit = Duration::from_millis(self.plan.timeout_ms);
        let health = status.health.get_or_insert_default();
        let changed = health.take(running.result(ended, limit), grace, self.plan.retries);
        self.due = Instant::now() + self.pause(health);
        Some(changed)
    }

    fn start(&mut self, now: Instant, status: &Status) {
        self.due = now + Duration::from_millis(self.plan.interval_ms);
        if status.paused {
            return;
        }
        let records = &self.records;
        let launch = || Directory::open(records).and_then(|records| records.launch()).ok();
        let argv = &self.plan.argv;
        let process = |launch: &Launch| Process {
            argv: argv.clone(),
            tty: false,
            stdin: false,
            init: false,
            ..launch.process.clone()
        };
        // Without a child there is no result, and the next one is tried when it is due.
        if let Ok(check) = Check::start(launch, status, process) {
            corral_fault::step!(CheckStarted);
            self.running = Some(Running { check, began: now, started_ns: now_ns(), output: Vec::new() });
        }
    }

    /// The time to the next check: shorter while the container is expected to be starting.
    fn pause(&self, health: &HealthStatus) -> Duration {
        let period = Duration::from_millis(self.plan.start_period_ms);
        let starting = health.state == corral_spec::HealthState::Starting && self.began.elapsed() < period;
        Duration::from_millis(if starting { self.plan.start_interval_ms } else { self.plan.interval_ms })
    }
}

impl Running {
    /// Takes what was written; true once the check has ended.
    fn read(&mut self) -> bool {
        let ended = self.has_ended();
        let mut buffer = [0; OUTPUT];
        // At most a pipe full: what is written faster than this reads waits for the next turn.
        for _ in 0..16 {
            match rustix::io::read(self.check.output(), &mut buffer[..]) {
                Ok(read @ 1..) => {
                    let room = OUTPUT.saturating_sub(self.output.len());
                    self.output.extend_from_slice(&buffer[..read.min(room)]);
                }
                _ => break,
            }
        }
        ended
    }

    fn has_ended(&self) -> bool {
        let pidfd = self.check.pidfd();
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
    }

    fn result(mut self, ended: bool, limit: Duration) -> HealthResult {
        let (code, output) = if ended {
            let code = self.check.wait().map_or(-1, i32::from);
            (code, String::from_utf8_lossy(&self.output).into_owned())
        } else {
            (-1, format!("Health check exceeded timeout ({limit:?})"))
        };
        HealthResult { started_ns: self.started_ns, ended_ns: now_ns(), code, output }
    }
}
