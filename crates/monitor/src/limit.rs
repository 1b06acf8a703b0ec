//! Other bounds for the container while it runs. The monitor does it, because the container's groups are its own, and
//! nobody else writes which ones there are.

use corral_spec::record::Cgroup;

use crate::Error;
use crate::records::Durability;
use crate::supervise::Supervisor;

/// The bounds in a client's frame.
pub fn bounds(bytes: &[u8]) -> Result<Cgroup, Error> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::Refused(format!("these bounds do not parse: {error}")))
}

impl Supervisor {
    /// Puts other bounds in force. A new group stands in the status before it is made: a monitor that dies
    /// in between leaves nothing that the next command does not find.
    pub fn set_bounds(&mut self, to: &Cgroup) -> Result<(), Error> {
        let group = self.running.cgroup_mut();
        let update = group.plan_update(to)?;
        let before = self.status.cgroup1.clone();
        let new: Vec<_> = update.groups().cloned().collect();
        if new.is_empty() {
            return Ok(group.carry_out(update)?);
        }
        self.status.cgroup1.extend(new);
        self.run_dir.put(crate::STATUS, &self.status, Durability::None)?;
        let done = self.running.cgroup_mut().carry_out(update);
        corral_fault::step!(BoundsSet);
        if done.is_err() {
            self.status.cgroup1 = before;
            self.run_dir.put(crate::STATUS, &self.status, Durability::None)?;
        }
        Ok(done?)
    }
}
