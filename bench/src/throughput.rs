//! A hundred containers, eight at a time: the floor, corral, and those peers that are fast enough to be worth the wait.

use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::figure::Figure;
use crate::fixture::Fixture;
use crate::measure;
use crate::peers::{self, Contestant};

const CONTAINERS: usize = 100;
const AT_ONCE: usize = 8;
/// The best of so many turns: what else the machine does only adds.
const TURNS: usize = 3;

/// Seconds for all of them, in turns.
pub fn run(fixture: &Fixture, _runs: usize) -> Result<Vec<Figure>> {
    let contestants = peers::contestants(fixture)?;
    // Two containers of a peer's bundle cannot have one name, and some peers cannot run here.
    let able = |one: &&Contestant| {
        ["floor", "corral", "bwrap"].contains(&one.name)
            && measure::sample_within(fixture, &one.wrapper, &one.words).is_ok()
    };
    let able: Vec<&Contestant> = contestants.iter().filter(able).collect();
    let mut best = vec![f64::INFINITY; able.len()];
    for _ in 0..TURNS {
        for (contestant, best) in able.iter().zip(&mut best) {
            *best = best.min(all(fixture, contestant)?);
        }
    }
    for (contestant, seconds) in able.iter().zip(&best) {
        eprintln!("  {:8} {:6.0} a second", contestant.name, CONTAINERS as f64 / seconds);
    }
    let of = |name: &str| able.iter().zip(&best).find(|(one, _)| one.name == name).map(|(_, best)| *best);
    let (floor, corral) =
        (of("floor").context("the floor did not run")?, of("corral").context("corral did not run")?);
    Ok(vec![
        Figure::new("100 containers, 8 at a time / floor", corral / floor, "×").at_most(2.0),
        Figure::new("containers a second, 8 at a time", CONTAINERS as f64 / corral, ""),
    ])
}

fn all(fixture: &Fixture, contestant: &Contestant) -> Result<f64> {
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let one = || {
        let mut command = std::process::Command::new(&contestant.words[0]);
        fixture.environment(command.args(&contestant.words[1..]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let work = || {
        while next.fetch_add(1, Ordering::Relaxed) < CONTAINERS {
            failed.fetch_add(usize::from(!one()), Ordering::Relaxed);
        }
    };
    let begun = Instant::now();
    std::thread::scope(|scope| drop([(); AT_ONCE].map(|()| scope.spawn(work))));
    match failed.into_inner() {
        0 => Ok(begun.elapsed().as_secs_f64()),
        failed => bail!("{}: {failed} of {CONTAINERS} failed", contestant.name),
    }
}
