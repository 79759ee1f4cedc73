//! The content of a Lease, as far as the election needs it.

use std::{collections::BTreeMap, fmt, time::Duration};

use chrono::{DateTime, Utc};

/// The longest duration of a Lease. A longer one in a record counts as this one: otherwise a single
/// odd record would lock out all copies for years.
pub(super) const LONGEST: Duration = Duration::from_mins(10);

/// The content of a Lease.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Record {
    /// The `resourceVersion`; empty before the Lease is created. It changes with each write, so a
    /// record that differs is a sign of life of its holder, whatever its clock says.
    pub version: String,
    /// The UID; empty before the Lease is created. An update names it, because an update of a Lease
    /// that was deleted would create it again, whatever version it names (measured: 201, and 409
    /// with the UID).
    pub uid: String,
    /// The identity of the holder; empty if the Lease is released.
    pub holder: String,
    /// The duration in seconds.
    pub seconds: Option<i32>,
    /// The number of changes of the holder.
    pub transitions: i32,
    /// The moment of the holder's first write, by its own wall clock. Only people read it.
    pub acquired: Option<DateTime<Utc>>,
    /// The moment of the holder's latest write, by its own wall clock. Only people read it.
    pub renewed: Option<DateTime<Utc>>,
    /// The number of buckets that the holder divides the namespaces by.
    pub layout: Option<Layout>,
    /// The identity of a copy that holds fewer Leases and wishes for this one. A Lease that is
    /// given to it has no holder, and this wish still.
    pub wanted_by: Option<String>,
    /// Labels and annotations of others, which an update keeps.
    pub labels: Option<BTreeMap<String, String>>,
    pub annotations: Option<BTreeMap<String, String>>,
}

impl Record {
    /// Returns the duration that the record states, or `usual` if it states none that can be.
    pub(super) fn duration(&self, usual: Duration) -> Duration {
        let stated = self.seconds.and_then(|seconds| u64::try_from(seconds).ok());
        let stated = stated.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        stated.unwrap_or(usual).min(LONGEST)
    }
}

/// The number of buckets, as an annotation of a Lease says it.
///
/// With another number, namespaces belong to other Leases, so that two copies with different
/// numbers could both hold "the" Lease of a namespace. Therefore a number is first announced, for
/// one duration, and writes begin when it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// The number is to be this one; nothing is written by it yet.
    Announced(usize),
    /// The number is this one.
    Settled(usize),
}

const ANNOUNCED: &str = "changing to ";

impl Layout {
    /// Reads the annotation; `None` if it has another text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix(ANNOUNCED) {
            Some(count) => count.parse().ok().map(Self::Announced),
            None => text.parse().ok().map(Self::Settled),
        }
    }

    /// Returns the number of buckets.
    pub(super) fn buckets(self) -> usize {
        let (Self::Announced(count) | Self::Settled(count)) = self;
        count
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Announced(count) => write!(formatter, "{ANNOUNCED}{count}"),
            Self::Settled(count) => write!(formatter, "{count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_that_cannot_be_is_the_usual_one() {
        let usual = Duration::from_secs(15);
        // the record's seconds, the duration
        let table = [
            (None, 15),
            (Some(0), 15),
            (Some(-1), 15),
            (Some(i32::MIN), 15),
            (Some(1), 1),
            (Some(60), 60),
            (Some(i32::MAX), 600),
        ];
        for (seconds, expected) in table {
            let record = Record { seconds, ..Record::default() };
            assert_eq!(record.duration(usual).as_secs(), expected, "{seconds:?}");
        }
    }

    #[test]
    fn a_layout_is_written_as_it_is_read() {
        for layout in [Layout::Announced(4), Layout::Settled(1)] {
            assert_eq!(Layout::parse(&layout.to_string()), Some(layout));
        }
        for text in ["", "four", "-1", "changing to", "changing to x", "4 "] {
            assert_eq!(Layout::parse(text), None, "{text}");
        }
    }
}
