//! Between two lives of a container with a restart policy.
//!
//! ```text
//! ended ── policy? stopped? ── exit.json, status "restarting" ── back-off ── stopped? ── exit.json removed ── begun again
//!             │ no                                                              │ yes
//!             └──────────────────── finish ─────────────────────────────────────┘
//! ```
//!
//! Who stops the container leaves a mark among its records before the signal, so a monitor never starts again what
//! somebody wants to rest. In the back-off nothing runs and everything is recorded: whoever does not want to wait for
//! its end kills the monitor, and what is left is a container that has ended.

use std::time::{Duration, Instant};

use corral_spec::record::{Exit, Launch};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::AtFlags;

use crate::finish::{Ended, Ending, Place, see_off, tell};
use crate::peer::{Peer, Role};
use crate::protocol::{ToClient, ToMonitor};
use crate::records::{Directory, Durability, timespec};
use crate::supervise::Clients;
use crate::{EXIT, NOTES, STATUS, STOPPED};

/// The first wait; each one that follows is twice as long.
const FIRST: Duration = Duration::from_millis(100);
/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(60);
/// A container that ran for so long has not failed at its start: the next wait is the first again.
const SETTLED: Duration = Duration::from_secs(10);

/// How often it was started again, and how long it waits the next time.
#[derive(Debug, Default)]
pub struct Backoff {
    pub restarts: u32,
    waited: Option<Duration>,
}

impl Backoff {
    /// The wait after a life that ended so.
    fn next(&mut self, exit: &Exit) -> Duration {
        let ran = Duration::from_nanos(exit.finished_ns.saturating_sub(exit.started_ns));
        let wait = match self.waited {
            Some(waited) if ran < SETTLED => (waited * 2).min(LONGEST),
            _ => FIRST,
        };
        self.waited = Some(wait);
        self.restarts += 1;
        wait
    }
}

/// What runs in the container's next life, once its time has come; none if it has had its last.
pub fn again(ended: &mut Ended, place: &Place, ending: &Ending, backoff: &mut Backoff) -> Option<Launch> {
    // What is over its bound on disk would be over it again.
    if ending.remove || ended.exit.over_disk {
        return None;
    }
    // Read anew: `update` may have changed it.
    let launch = match place.records_dir.launch() {
        Ok(launch) => launch,
        Err(error) => {
            ended.run_dir.note(NOTES, &error.to_string());
            return None;
        }
    };
    let records = &place.records_dir;
    if !launch.restart.applies(ended.exit.code, backoff.restarts) || is_stopped(records) {
        return None;
    }
    let wait = backoff.next(&ended.exit);
    ended.status.restarting = true;
    let recorded = records
        .put(EXIT, &ended.exit, Durability::None)
        .and_then(|()| ended.run_dir.put(STATUS, &ended.status, Durability::None));
    if let Err(error) = recorded {
        ended.run_dir.note(NOTES, &error.to_string());
        return None;
    }
    corral_fault::step!(RestartPlanned);
    let last_word = ended.last_word();
    let viewers = ended.clients.peers.extract_if(.., |peer| peer.listens());
    let mut viewers: Vec<Peer> = viewers.collect();
    tell(&mut viewers, last_word);
    see_off(viewers, false);
    rest(&mut ended.clients, Instant::now() + wait);
    corral_fault::step!(RestartRested);
    if is_stopped(records) {
        return None;
    }
    // Gone before the next status: who sees neither sees a container at work.
    match rustix::fs::unlinkat(&records.fd, EXIT, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {
            corral_fault::step!(ExitForgotten);
            Some(launch)
        }
        Err(errno) => {
            ended.run_dir.note(NOTES, &format!("remove the last exit record: {errno}"));
            None
        }
    }
}

fn is_stopped(records: &Directory) -> bool {
    rustix::fs::statat(&records.fd, STOPPED, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Lets time pass, and tells clients how it stands.
fn rest(clients: &mut Clients, until: Instant) {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        let mut polled = vec![PollFd::new(&clients.listener, PollFlags::IN)];
        polled.extend(clients.peers.iter().map(|peer| PollFd::from_borrowed_fd(peer.fd(), peer.interest())));
        match poll(&mut polled, Some(&timespec(left))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // The container waits a little less than it should.
            Err(_) => return,
        }
        let ready: Vec<bool> = polled.iter().map(|fd| !fd.revents().is_empty()).collect();
        for (peer, _) in clients.peers.iter_mut().zip(&ready[1..]).filter(|(_, ready)| **ready) {
            answer(peer);
        }
        clients.peers.retain(|peer| !peer.is_gone());
        if ready[0] {
            clients.accept();
        }
    }
}

fn answer(peer: &mut Peer) {
    if peer.is_blocked() {
        peer.flush();
    }
    peer.receive();
    while let Some(frame) = peer.next_frame() {
        match frame {
            ToMonitor::Wait => peer.role = Role::Waiter,
            ToMonitor::Waiting | ToMonitor::StdinClosed | ToMonitor::Resize { .. } => {}
            _ => peer
                .send(ToClient::Refused { message: "the container is restarting: wait until it is running" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_until_a_life_was_long() {
        let exit = |seconds: u64| Exit {
            generation: 1,
            code: 1,
            oom_killed: false,
            oom_kills: 0,
            over_disk: false,
            error: String::new(),
            started_ns: 5,
            finished_ns: 5 + seconds * 1_000_000_000,
            restarts: 0,
        };
        let mut backoff = Backoff::default();
        let mut wait = |seconds| backoff.next(&exit(seconds)).as_millis();
        assert_eq!([wait(0), wait(0), wait(1), wait(9)], [100, 200, 400, 800]);
        assert_eq!([wait(10), wait(0)], [100, 200]);
        let most = (0..20).map(|_| wait(0)).max();
        assert_eq!(most, Some(60_000));
        assert_eq!(backoff.restarts, 26);
    }
}
