//! Kinds of series, and how values of several series become one.

use std::fmt;

/// The end of the names of a histogram's buckets.
const BUCKET: &str = "_bucket";

/// The type of a metric in Prometheus's sense. It decides how a number is made of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A value that goes up and down. It is read as the latest value, or as the mean over a window.
    Gauge,
    /// A value that only grows until its process restarts. It is read as the rate per second over a
    /// window.
    Counter,
    /// Cumulative counts of events by size. It is read as a quantile of the events of a window,
    /// pooled over all replicas.
    Histogram,
}

/// The rule by which several series of one family on the page of one replica become one number.
///
/// A replica has several series where it runs data-parallel engines or publishes one for each rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fold {
    /// The series are parts of a whole, such as requests.
    Sum,
    /// The series repeat one value, or the largest of them decides.
    Max,
    /// The series are shares of parts of equal size, so their mean is the share of the whole.
    Mean,
}

/// The type of a target, in the terms of `autoscaling/v2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetType {
    /// The mean over the replicas is compared with the target.
    AverageValue,
    /// The value itself is compared with the target. It belongs to the service, not to a replica.
    Value,
}

impl Kind {
    /// Returns the kind of a series by the end of its name, as Prometheus's conventions have it. A
    /// single bucket, which `has_bound` as a label that selects it, counts the events up to that
    /// bound.
    pub fn of_name(series: &str, has_bound: bool) -> Self {
        const COUNTERS: [&str; 3] = ["_total", "_count", "_sum"];
        match series {
            name if COUNTERS.iter().any(|end| name.ends_with(end)) => Self::Counter,
            name if name.ends_with(BUCKET) && has_bound => Self::Counter,
            name if name.ends_with(BUCKET) => Self::Histogram,
            _ => Self::Gauge,
        }
    }

    /// Returns the name by which a recipe of this kind selects a series: a histogram's is without
    /// `_bucket`.
    pub fn selected_name(self, series: &str) -> &str {
        match (self, series.strip_suffix(BUCKET)) {
            (Self::Histogram, Some(name)) => name,
            _ => series,
        }
    }

    /// Returns the type of target that makes sense for this kind: gauges and counters add up over
    /// replicas and have a mean, while a pooled quantile is one value of the service.
    pub const fn target(self) -> TargetType {
        match self {
            Self::Gauge | Self::Counter => TargetType::AverageValue,
            Self::Histogram => TargetType::Value,
        }
    }

    /// Returns the name that the documentation uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }

    /// Returns the family that a series is read from. A histogram is read from its buckets.
    pub fn family(self, series: &str) -> String {
        match self {
            Self::Gauge | Self::Counter => series.to_owned(),
            Self::Histogram => format!("{series}{BUCKET}"),
        }
    }
}

impl Fold {
    /// Returns the name that the documentation uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sum => "sum",
            Self::Max => "maximum",
            Self::Mean => "mean",
        }
    }
}

impl TargetType {
    /// Both types, in the order of the documentation.
    pub const ALL: [Self; 2] = [Self::AverageValue, Self::Value];

    /// Returns the name that a spec uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AverageValue => "AverageValue",
            Self::Value => "Value",
        }
    }
}

impl fmt::Display for TargetType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_kind_by_its_end() {
        for (name, has_bound, kind, selected) in [
            ("a_total", false, Kind::Counter, "a_total"),
            ("a_count", false, Kind::Counter, "a_count"),
            ("a_sum", true, Kind::Counter, "a_sum"),
            ("a_bucket", false, Kind::Histogram, "a"),
            ("a_bucket", true, Kind::Counter, "a_bucket"),
            ("a_bucket_size", false, Kind::Gauge, "a_bucket_size"),
            ("a", true, Kind::Gauge, "a"),
        ] {
            let found = Kind::of_name(name, has_bound);
            assert_eq!((found, found.selected_name(name)), (kind, selected), "{name} {has_bound}");
        }
    }
}
