//! Rules that must hold at every moment of a record.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::record::{Moment, Record, Sizes, story};

/// The time between the two writes of one decision, including the delay of the watch.
const BETWEEN_TWO_WRITES: Duration = Duration::from_secs(1);

/// The shared limits of all roles.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ceiling {
    pub replicas: i64,
    pub gpus: i64,
    pub gpus_per_replica: Sizes,
}

impl Ceiling {
    /// Returns the GPUs of these sizes.
    pub(crate) fn gpus_of(&self, sizes: Sizes) -> i64 {
        sizes.prefill * self.gpus_per_replica.prefill + sizes.decode * self.gpus_per_replica.decode
    }

    /// Checks that the limits were never exceeded by the existing pods, including terminating ones.
    /// A pod is a replica here.
    pub(crate) fn holds(&self, record: &Record) -> Result<()> {
        let all = record.all();
        let above = |moment: &Moment| {
            moment.pods.sum() > self.replicas || self.gpus_of(moment.pods) > self.gpus
        };
        let first = all.iter().position(above);
        let seen = first.map(|first| story(&all[..=first])).unwrap_or_default();
        ensure!(first.is_none(), "more pods than {self:?} allows:\n{seen}");
        Ok(())
    }
}

/// Checks that the requested sizes were within the ratio's range, except for the time between two
/// writes.
pub(crate) fn in_range(record: &Record, min: f64, max: f64) -> Result<()> {
    let what = format!("prefill / decode out of {min} to {max}");
    never_for_long(record, &what, |moment| !(min..=max).contains(&moment.requested.ratio()))
}

/// Checks that a violation never lasts longer than the time between two writes.
pub(crate) fn never_for_long(
    record: &Record,
    what: &str,
    is_wrong: impl Fn(&Moment) -> bool,
) -> Result<()> {
    let (all, end) = (record.all(), record.time());
    let mut since = None;
    for (index, moment) in all.iter().enumerate() {
        if !is_wrong(moment) {
            since = None;
            continue;
        }
        let since = *since.get_or_insert(moment.at);
        let until = all.get(index + 1).map_or(end, |next| next.at);
        let lasted = until.saturating_sub(since);
        ensure!(
            lasted <= BETWEEN_TWO_WRITES,
            "{what}, for {:.1} s:\n{}",
            lasted.as_secs_f64(),
            story(&all[..=index])
        );
    }
    Ok(())
}
