//! Faults for the simulation, which has to find them.

use llm_autoscaler_core::Monotonic;

use super::Elector;
use crate::clock::Readings;

impl Elector {
    /// Takes the time since the record's `renewTime` for the time since it was seen.
    pub(in crate::lease) fn believe_renew_time(&mut self, now: Readings) {
        let Some(seen) = &mut self.seen else { return };
        let renewed = seen.record.as_ref().and_then(|record| record.renewed);
        let age = renewed.and_then(|renewed| (now.system - renewed).to_std().ok());
        seen.since = Monotonic(now.monotonic.0.saturating_sub(age.unwrap_or_default()));
    }

    /// Lets a new Lease, or number of buckets, permit writes at once.
    pub(in crate::lease) fn skip_quarantine(&mut self) {
        self.longest = std::time::Duration::ZERO;
    }

    /// Returns the moment before the latest accepted renewal was sent.
    pub(in crate::lease) fn renewed(&self) -> Option<Readings> {
        self.renewed
    }

    /// Lets a renewal count still that came before a gift of the Lease.
    pub(in crate::lease) fn revive(&mut self, renewed: Option<Readings>) {
        self.renewed = self.renewed.or(renewed);
    }
}
