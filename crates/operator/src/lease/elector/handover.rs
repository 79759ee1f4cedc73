//! A Lease that another copy is given: the wish, the gift, and the copy that goes first.
//!
//! - **The wish** is an annotation, which a copy that holds fewer Leases writes. Each write
//!   restarts the time after which other copies take the Lease of a holder that is gone. So it is
//!   written only just after a renewal was seen, and once; and the copy that has written it goes on
//!   waiting since that renewal.
//! - **The gift.** The holder lets no write of the bucket begin any more, waits until none is on
//!   its way, and writes the Lease without a holder. If that takes too long, it keeps the Lease,
//!   and its next renewal ends the wish. Once the gift was sent, the renewals before it permit
//!   nothing: it may arrive, with or without an answer.
//! - **The next holder** is the copy that wished. Others let it go first for a time, in case that
//!   it is gone.

use std::time::Duration;

use llm_autoscaler_core::Monotonic;

use super::{Elector, Stage};
use crate::{
    clock::Readings,
    lease::{
        record::Record,
        steps::{Call, Evening, Step, Surroundings},
    },
};

/// The time by which a copy that holds a Lease lets others go first: longer than it takes them to
/// look.
const COURTESY: Duration = Duration::from_millis(500);
/// The additional time of a copy that holds all Leases; one that holds a part of them has that part
/// of it, so that the copy that holds the fewest goes first.
const MORE_COURTESY: Duration = Duration::from_millis(300);
/// The longest additional time by which a copy lets the one go first that a Lease is given to.
const MOST_COURTESY_TO_HEIR: Duration = Duration::from_secs(2);
/// The time between two looks at whether writes are on their way.
const POLL: Duration = Duration::from_millis(5);

impl Elector {
    /// Returns true while the Lease is being given away: no further write may begin.
    pub(in crate::lease) fn is_giving(&self) -> bool {
        self.giving.is_some() && self.stage == Stage::TakesPart
    }

    /// Returns true if a wish of this copy may stand.
    pub(in crate::lease) fn has_asked(&self) -> bool {
        self.has_asked
    }

    /// Releases the Lease, if its release lets no other copy write too early.
    pub(super) fn give_up(&mut self, now: Readings) -> Step {
        let released = self.record().filter(|record| record.layout == Some(self.settled()));
        let released = released.map(|record| Record {
            holder: String::new(),
            wanted_by: None,
            ..record.clone()
        });
        released.map_or(Step::Done, |record| self.call(Call::Update(record), now))
    }

    /// Returns the next step of a gift; `None` if this copy keeps the Lease.
    pub(super) fn give(&mut self, around: Surroundings, now: Readings) -> Option<Step> {
        let (begun, duration) = (self.giving, self.settings.duration);
        let goes_on = match begun {
            Some(since) => now.since(since) < duration / 2,
            None => around.evening == Evening::Give && now.monotonic >= self.keeps_until,
        };
        if begun.is_some() && !goes_on {
            self.keeps_until = now.monotonic.after(duration * 2);
        }
        let is_wanted = |record: &&Record| record.wanted_by.is_some() && goes_on;
        let settled = Some(self.settled());
        let record = self.record().filter(is_wanted).filter(|record| record.layout == settled);
        let Some(record) = record.cloned() else {
            self.giving = None;
            return None;
        };
        self.giving = begun.or(Some(now));
        // What begins is stopped after this step, so the first look is the next one.
        if begun.is_none() || !around.is_idle {
            return Some(Step::Wait(POLL));
        }
        self.renewed = None;
        let released = Record { holder: String::new(), ..record };
        Some(self.call(Call::Update(released), now))
    }

    /// Returns the step by which this copy wishes for the Lease of another one; `None` if it does
    /// not.
    pub(super) fn wish(&mut self, around: Surroundings, now: Readings) -> Option<Step> {
        let seen = self.seen.as_ref().filter(|_| !self.is_nudged)?;
        if around.evening != Evening::Wish {
            return None;
        }
        let age = now.monotonic.since(seen.since);
        let is_late = age > self.settings.duration / 10;
        let record = seen.record.as_ref().filter(|_| seen.is_fresh && !is_late)?;
        let may_be = record.wanted_by.is_none() && record.layout == Some(self.settled());
        let record = may_be.then(|| record.clone())?;
        let wanted_by = Some(self.settings.me.clone());
        self.has_asked = true;
        Some(self.call(Call::Update(Record { wanted_by, ..record }), now))
    }

    /// Returns true if a record is another copy's Lease with this copy's wish.
    pub(super) fn is_wish(&self, record: &Record) -> bool {
        self.has_asked && record.wanted_by.as_ref() == Some(&self.settings.me)
    }

    /// Goes on waiting for the end of a Lease since an earlier moment: what has changed it is a
    /// wish of this copy, and no sign of life of its holder.
    pub(super) fn keep_waiting(&mut self, since: Option<Monotonic>) {
        if let Some((seen, since)) = self.seen.as_mut().zip(since) {
            seen.since = since;
        }
    }

    /// Returns the time by which this copy lets others go first, so that copies that begin together
    /// share the buckets, and the one that a Lease is given to gets it.
    pub(super) fn courtesy(&self, record: &Record, around: Surroundings) -> Duration {
        let heir = record.wanted_by.as_ref().filter(|_| record.holder.is_empty());
        if heir == Some(&self.settings.me) {
            return Duration::ZERO;
        }
        let to_heir = (self.settings.duration / 2).min(MOST_COURTESY_TO_HEIR);
        let to_heir = if heir.is_some() { to_heir } else { Duration::ZERO };
        let all = u32::try_from(self.settings.buckets).unwrap_or(u32::MAX).max(1);
        let more = MORE_COURTESY * around.held.min(all) / all;
        if around.held > 0 { to_heir + COURTESY + more } else { to_heir }
    }
}
