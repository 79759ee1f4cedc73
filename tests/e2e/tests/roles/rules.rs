//! What has to hold at every moment of a record.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::record::{Moment, Record, Sizes, story};

/// The time between two writes of one decision, and until we hear of both.
const BETWEEN_TWO_WRITES: Duration = Duration::from_secs(1);

/// What all roles together may have.
#[derive(Debug, Clone, Copy)]
pub struct Ceiling {
    pub replicas: i64,
    pub gpus: i64,
    pub gpus_per_replica: Sizes,
}

impl Ceiling {
    /// The GPUs of so many replicas.
    pub fn gpus_of(&self, sizes: Sizes) -> i64 {
        sizes.prefill * self.gpus_per_replica.prefill + sizes.decode * self.gpus_per_replica.decode
    }

    /// There were never more pods, those that end included. A pod is a replica here.
    pub fn holds(&self, record: &Record) -> Result<()> {
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

/// The sizes asked for were in the range, but for the time between two writes.
pub fn in_range(record: &Record, min: f64, max: f64) -> Result<()> {
    let what = format!("prefill / decode out of {min} to {max}");
    never_for_long(record, &what, |moment| !(min..=max).contains(&moment.asked.ratio()))
}

/// Whatever is wrong is so no longer than it takes to write two sizes.
pub fn never_for_long(
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
