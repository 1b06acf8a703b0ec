use corral_engine::{Engine, LimitChange};
use corral_monitor::client::Client;
use corral_spec::{ByteSize, CpuCount, RestartPolicy};

use crate::Words;
use crate::app::Globals;
use crate::failure::Failure;
use crate::limit_flags::BoundFlags;
use crate::run_flags::pids_limit;

#[derive(Debug, clap::Args)]
struct Flags {
    #[command(flatten)]
    bounds: BoundFlags,
    /// Number of CPUs
    #[arg(long, value_name = "DECIMAL")]
    cpus: Option<CpuCount>,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<ByteSize>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "N")]
    pids_limit: Option<i64>,
    /// Restart policy to apply when a container exits
    #[arg(long, value_name = "POLICY")]
    restart: Option<RestartPolicy>,
    /// Containers
    #[arg(required = true)]
    containers: Vec<String>,
}

impl Flags {
    fn change(&self) -> Result<LimitChange, Failure> {
        let (pids, pids_unlimited) = pids_limit(self.pids_limit)?;
        let mut change = LimitChange {
            memory: self.memory.map(|size| size.0).filter(|bytes| *bytes != 0),
            cpu_millis: self.cpus.map(CpuCount::millis),
            pids,
            restart: self.restart,
            ..LimitChange::default()
        };
        self.bounds.fill(&mut change.more)?;
        change.more.pids_unlimited = pids_unlimited;
        if change.is_empty() {
            return Err(Failure::new("you must provide one or more flags when using this command"));
        }
        Ok(change)
    }
}

/// `corral update`.
pub(super) fn update(globals: &Globals, words: Words) -> Result<u8, Failure> {
    let Some(flags) = super::parse::<Flags>("update", words)? else { return Ok(0) };
    let change = flags.change()?;
    let engine = globals.engine()?;
    super::for_each(&flags.containers, |name| update_one(&engine, name, &change))
}

fn update_one(engine: &Engine, name: &str, change: &LimitChange) -> Result<String, Failure> {
    let id = engine.find(name)?;
    let updating = engine.update(&id, change)?;
    if updating.is_for_the_monitor() {
        let mut monitor = Client::connect(&engine.layout().run(&id))?;
        let cannot = |error| Failure::new(format!("Cannot update container {}: {error}", id.short()));
        monitor.limit(&updating.to).map_err(cannot)?;
        corral_fault::step!(BoundsUnrecorded);
    }
    updating.record()?;
    Ok(name.to_owned())
}
