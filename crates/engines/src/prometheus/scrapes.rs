//! The scrapes that the series of one pod come from: one counts, and the others repeat it, are
//! over, or contradict it.
//!
//! The series of one page add up, whatever their labels, and have the same times, because a server
//! stamps a page as a whole. So labels that a page may have (`engine`, `model_name`, ranks) need no
//! list, and only labels that a server or a store adds do.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::Series;

/// The number of spacings after which a series that has got no further sample is late: a single
/// scrape may fail.
const LATE: f64 = 2.5;
/// The spacing, in seconds, that shorter ones count as. Samples reach a store with a delay.
const SHORTEST_SPACING: f64 = 3.0;
/// The number of latest samples whose distances make the spacing.
const LATEST: usize = 5;

/// Labels that identify a scrape, not a series. A pod that two jobs scrape has each of its series
/// twice, and the two differ in these.
const SCRAPE_LABELS: [&str; 9] = [
    INSTANCE,
    "job",
    "endpoint",
    "container",
    "prometheus",
    "__replica__",
    "ha_replica",
    "receive_replica",
    "thanos_replica",
];
/// The label of the address that was scraped.
const INSTANCE: &str = "instance";
/// Labels by which a store tells its clusters and servers apart. Pods of one name that differ in
/// these are different pods.
const STORE_LABELS: [&str; 23] = [
    "cluster",
    "cluster_name",
    "cluster_id",
    "clusterName",
    "clusterID",
    "k8s_cluster",
    "k8s_cluster_name",
    "k8s.cluster.name",
    "k8s_cluster_uid",
    "kubernetes_cluster",
    "kube_cluster",
    "prometheus_cluster",
    "prometheus_replica",
    "origin_prometheus",
    "project_id",
    "tenant_id",
    "__tenant_id__",
    "region",
    "datacenter",
    "data_center",
    "dc",
    "env",
    "environment",
];

/// A label in which the series of one pod and name differ, although they are not of one scrape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflict {
    /// The label. The pods may differ in others too.
    pub label: String,
    /// Two of its values; empty where a series has no such label.
    pub values: [String; 2],
}

/// The scrape that counts.
pub(super) struct Choice<'s> {
    pub(super) series: Vec<&'s Series>,
    /// The seconds from one sample to the next; `None` if there is one sample.
    pub(super) spacing: Option<f64>,
    /// The number of scrapes that are not over, without those of other replicas of a server.
    pub(super) scrapes: usize,
    /// The number of their addresses.
    pub(super) addresses: usize,
    pub(super) conflict: Option<Conflict>,
}

/// Labels and their values, sorted.
type Labels<'s> = Vec<(&'s str, &'s str)>;

/// The labels by which the scrapes of one pod are told apart: those of several jobs, of several
/// servers, or of the pod's addresses one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScrapeId(Vec<(Arc<str>, Arc<str>)>);

impl ScrapeId {
    /// Returns the labels of the scrape that a series is from.
    pub fn of(series: &Series, replica_labels: &[String]) -> Self {
        let is_replica = |name: &str| replica_labels.iter().any(|label| label == name);
        let is_id = |(name, value): &&(Arc<str>, Arc<str>)| {
            !value.is_empty() && (is_of_scrape(name) || is_replica(name))
        };
        let mut labels: Vec<_> = series.labels.iter().filter(is_id).cloned().collect();
        labels.sort_unstable();
        Self(labels)
    }

    /// Returns true if the label is one of those that tell scrapes apart.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(label, _)| **label == *name)
    }

    /// Returns the host of the scraped address; empty without one.
    pub fn host(&self) -> &str {
        host_of(self.label(INSTANCE))
    }

    /// Returns a label by which two scrapes are those of different pods, with both values.
    pub fn conflict(&self, other: &Self, replica_labels: &[String]) -> Option<Conflict> {
        let is_pod = |name: &&str| {
            !replica_labels.iter().any(|label| label == name)
                && self.label(name) != other.label(name)
        };
        let label = STORE_LABELS.into_iter().find(is_pod)?;
        Some(Conflict::new(label, self.label(label), other.label(label)))
    }

    fn label(&self, wanted: &str) -> &str {
        self.0.iter().find(|(name, _)| **name == *wanted).map_or("", |(_, value)| value)
    }
}

/// Returns the host of an address.
fn host_of(instance: &str) -> &str {
    instance.rsplit_once(':').map_or(instance, |(host, _)| host)
}

/// The series of one scrape.
struct Scrape<'s> {
    /// The labels that identify it, without the replica labels.
    labels: Labels<'s>,
    series: Vec<&'s Series>,
    /// The times of the earliest sample, of the latest one, and of the latest one with a number.
    first: f64,
    latest: f64,
    latest_number: f64,
    spacing: Option<f64>,
    /// True if all series end in NaN, by which some stores mark that a scrape has ended.
    ends_in_nan: bool,
}

/// Returns the age in seconds from which a sample of a series with this spacing is late: the next
/// ones should be there, so its pod is not scraped any more, or in vain.
pub fn late_after(spacing: f64) -> f64 {
    LATE * spacing.max(SHORTEST_SPACING)
}

/// Chooses the scrape with the latest sample. `None` without series.
pub(super) fn choose<'s>(
    series: impl Iterator<Item = &'s Series>,
    replica_labels: &[String],
) -> Option<Choice<'s>> {
    let is_replica = |name: &str| replica_labels.iter().any(|label| label == name);
    let mut groups: BTreeMap<[Labels<'_>; 2], Vec<&Series>> = BTreeMap::new();
    for series in series {
        let pairs = || series.labels.iter().map(|(name, value)| (&**name, &**value));
        let repeats = pairs().filter(|(name, _)| is_replica(name));
        let others = pairs().filter(|(name, _)| !is_replica(name) && is_of_scrape(name));
        groups.entry([sorted(others), sorted(repeats)]).or_default().push(series);
    }
    let scrapes = groups.into_iter().map(|([labels, _], series)| Scrape::new(labels, series));
    let mut scrapes: Vec<Scrape<'_>> = scrapes.collect();
    let order = |scrape: &Scrape<'_>| (!scrape.ends_in_nan, scrape.latest);
    let newest = scrapes.iter().enumerate().max_by(|(_, a), (_, b)| {
        let ((alive, latest), (other_alive, other)) = (order(a), order(b));
        alive.cmp(&other_alive).then(latest.total_cmp(&other))
    });
    let newest = scrapes.swap_remove(newest?.0);
    let conflict = scrapes.iter().find_map(|other| newest.conflict(other));
    scrapes.retain(|scrape| !scrape.is_gone(&newest));
    let conflict = conflict.or_else(|| newest.conflict_within());
    let all = || scrapes.iter().chain([&newest]);
    let distinct = all().map(|scrape| &scrape.labels).collect::<BTreeSet<_>>().len();
    let addresses = all().map(|scrape| scrape.label(INSTANCE)).collect::<BTreeSet<_>>().len();
    let Scrape { series, spacing, .. } = newest;
    Some(Choice { series, spacing, scrapes: distinct, addresses, conflict })
}

fn is_of_scrape(name: &str) -> bool {
    SCRAPE_LABELS.contains(&name) || STORE_LABELS.contains(&name)
}

fn sorted<'s>(labels: impl Iterator<Item = (&'s str, &'s str)>) -> Labels<'s> {
    // An empty value is the same as no label.
    let mut labels: Labels<'_> = labels.filter(|(_, value)| !value.is_empty()).collect();
    labels.sort_unstable();
    labels
}

impl<'s> Scrape<'s> {
    fn new(labels: Labels<'s>, series: Vec<&'s Series>) -> Self {
        let firsts = series.iter().filter_map(|series| Some(series.samples.first()?.0));
        let first = firsts.fold(f64::INFINITY, f64::min);
        let newest = series.iter().max_by(|a, b| latest(a).total_cmp(&latest(b)));
        let spacing = newest.and_then(|series| spacing(&series.samples));
        let at = newest.map_or(f64::NEG_INFINITY, |series| latest(series));
        let ends_in_nan = series
            .iter()
            .all(|series| series.samples.last().is_some_and(|(_, value)| value.is_nan()));
        let numbers = series.iter().filter_map(|series| {
            series.samples.iter().rev().find(|(_, value)| !value.is_nan()).map(|(at, _)| *at)
        });
        let latest_number = numbers.fold(f64::NEG_INFINITY, f64::max);
        Self { labels, series, first, latest: at, latest_number, spacing, ends_in_nan }
    }

    fn label(&self, wanted: &str) -> &'s str {
        self.labels.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| value)
    }

    /// Returns the host of the address. A pod has one, and may have several ports.
    fn host(&self) -> &'s str {
        host_of(self.label(INSTANCE))
    }

    /// Returns true if the scrape is over, and a newer one goes on: the pod has come back under its
    /// name at another address, or has another job.
    fn is_gone(&self, newest: &Self) -> bool {
        let spacing = self.spacing.or(newest.spacing);
        let is_late = |spacing| newest.latest - self.latest > late_after(spacing);
        (self.ends_in_nan && !newest.ends_in_nan) || spacing.is_some_and(is_late)
    }

    /// Returns true if both were scraped at the same time, so that neither follows the other.
    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.latest_number && other.first <= self.latest_number
    }

    /// Returns a label that shows the scrapes to be those of different pods. Another port of the
    /// same host is one of the same pod, and an address that follows another is its successor. If
    /// the other scrape is over and was not the predecessor, the question is still which of the two
    /// pods has died.
    fn conflict(&self, other: &Self) -> Option<Conflict> {
        let differing = |name: &&str| self.label(name) != other.label(name);
        let is_store = self.overlaps(other) || !other.is_gone(self);
        if let Some(label) = STORE_LABELS.into_iter().find(differing).filter(|_| is_store) {
            return Some(Conflict::new(label, self.label(label), other.label(label)));
        }
        if self.host() == other.host() || !self.overlaps(other) {
            return None;
        }
        let unlisted = || {
            let labels = self.series.first()?.labels.iter();
            let mut labels = labels.filter(|(name, _)| !is_of_scrape(name) && &**name != "le");
            labels.find_map(|(name, value)| {
                let theirs = other.series.first()?.label(name).unwrap_or_default();
                let is_apart =
                    value_set(&self.series, name).is_disjoint(&value_set(&other.series, name));
                is_apart.then(|| Conflict::new(name, value, theirs))
            })
        };
        unlisted().or_else(|| {
            let label = ["job", INSTANCE].into_iter().find(differing)?;
            Some(Conflict::new(label, self.label(label), other.label(label)))
        })
    }

    /// Returns a label in which series of one name differ that have no time in common, although
    /// their times overlap: they are not of one page.
    fn conflict_within(&self) -> Option<Conflict> {
        let mut newest: HashMap<&str, &Series> = HashMap::new();
        for series in &self.series {
            let known = newest.entry(&series.name).or_insert(series);
            if latest(series) > latest(known) {
                *known = series;
            }
        }
        let limit = late_after(self.spacing?);
        let strangers = self.series.iter().filter_map(|series| {
            let newest = newest.get(&*series.name)?;
            let is_stranger = latest(newest) - latest(series) <= limit
                && first(newest) <= latest(series)
                && !have_common_time(newest, series);
            let labels = if is_stranger { differing_labels(newest, series) } else { Vec::new() };
            (!labels.is_empty()).then_some((newest, series, labels))
        });
        let (newest, series, labels) = strangers.min_by_key(|(_, _, labels)| labels.len())?;
        let value = |series: &'s Series| series.label(labels[0]).unwrap_or_default();
        Some(Conflict::new(labels[0], value(newest), value(series)))
    }
}

impl Conflict {
    fn new(label: &str, ours: &str, theirs: &str) -> Self {
        // The order is that of the values, because the newest scrape changes from time to time.
        let mut values = [ours.to_owned(), theirs.to_owned()];
        values.sort_unstable();
        Self { label: label.to_owned(), values }
    }
}

fn first(series: &Series) -> f64 {
    series.samples.first().map_or(f64::INFINITY, |(at, _)| *at)
}

fn latest(series: &Series) -> f64 {
    series.samples.last().map_or(f64::NEG_INFINITY, |(at, _)| *at)
}

/// Returns the usual distance of the latest samples of a series, of whatever form.
pub(super) fn spacing_of(series: &Series) -> Option<f64> {
    let times: Vec<(f64, f64)> = series.times().map(|at| (at, 0.0)).collect();
    spacing(&times)
}

/// Returns the usual distance of the latest samples: the second longest of four, so that one failed
/// scrape does not stretch it, and samples that two servers have taken in turn do not shrink it.
fn spacing(samples: &[(f64, f64)]) -> Option<f64> {
    let latest = &samples[samples.len().saturating_sub(LATEST)..];
    let mut distances: Vec<f64> = latest.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    distances.retain(|distance| distance.is_finite() && *distance > 0.0);
    distances.sort_by(f64::total_cmp);
    match distances[..] {
        [.., second_longest, _] => Some(second_longest),
        [only] => Some(only),
        [] => None,
    }
}

/// Returns true if both have a sample of one time. The longer one is searched for each sample of
/// the other, so that thousands of short ones beside a long one take no time.
fn have_common_time(a: &Series, b: &Series) -> bool {
    let (short, long) = if a.samples.len() <= b.samples.len() { (a, b) } else { (b, a) };
    let has = |at: f64| long.samples.binary_search_by(|(found, _)| found.total_cmp(&at)).is_ok();
    short.samples.iter().rev().any(|(at, _)| has(*at))
}

/// Returns the labels in which two series differ, without `le`.
fn differing_labels<'s>(a: &'s Series, b: &'s Series) -> Vec<&'s str> {
    let names = a.labels.iter().chain(&b.labels).map(|(name, _)| &**name);
    let names: BTreeSet<&str> = names.filter(|name| *name != "le").collect();
    let value = |series: &'s Series, name| series.label(name).unwrap_or_default();
    names.into_iter().filter(|name| value(a, name) != value(b, name)).collect()
}

fn value_set<'s>(series: &[&'s Series], label: &str) -> BTreeSet<&'s str> {
    series.iter().map(|series| series.label(label).unwrap_or_default()).collect()
}
