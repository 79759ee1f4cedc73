//! A chunk of a recording, as it is kept in its file.

use std::collections::BTreeMap;

use llm_autoscaler_engines::Buckets;
use serde::{Deserialize, Serialize};

/// The length of a window, in seconds: the lengths and the latencies of requests are known for
/// each.
pub(super) const WINDOW: f64 = 300.0;

/// The part of a service's past that the samples of one range of time tell.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Chunk {
    /// The start of the range, in seconds since 1970; a sample of this time is not in it.
    pub from: f64,
    /// The end of the range.
    pub to: f64,
    /// The interval of scrapes in seconds, as the samples show it; absent before the first samples.
    pub step: Option<f64>,
    /// The cells by their index, counted from the start of the recording. Several chunks may have
    /// parts of one cell.
    pub cells: BTreeMap<u64, Cell>,
    /// The windows by their index.
    pub windows: BTreeMap<u64, Window>,
    /// The times that samples cover, each with its start and its end.
    pub covered: Vec<(f64, f64)>,
    /// Counts over the whole chunk.
    pub counts: Counts,
}

/// Sums over a cell. All are amounts, so that parts of a cell add up.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Cell {
    /// The requests that arrived at the engines.
    pub arrivals: f64,
    /// Arrivals of which only a time longer than the usual interval of scrapes is known.
    pub spread: f64,
    /// The requests that ended.
    pub ended: f64,
    /// The prompt tokens.
    pub prompt_tokens: f64,
    /// The generated tokens.
    pub output_tokens: f64,
    /// The seconds of pods that Prometheus had as scrape targets.
    pub existing: f64,
    /// The seconds of pods with a page of their engine.
    pub serving: f64,
    /// The seconds of serving pods between two scrapes that are too far apart.
    pub unseen: f64,
    /// The seconds of running requests.
    pub running: f64,
    /// The seconds of waiting requests.
    pub waiting: f64,
}

/// The histograms of a window.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Window {
    /// The times to first token, in seconds.
    pub ttft: Events,
    /// The times between two tokens, in seconds.
    pub itl: Events,
    /// The lengths of prompts, in tokens.
    pub prompts: Events,
    /// The lengths of answers, in tokens.
    pub answers: Events,
}

/// Counts of events by size, as they are kept in a file: JSON has no infinity.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Events {
    /// The upper bounds, ascending, without the infinite one.
    bounds: Vec<f64>,
    /// The number of events up to each bound, and at the end that of all.
    counts: Vec<f64>,
}

/// Counts of what happened to the pods and their samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Counts {
    /// The samples that were read.
    pub samples: u64,
    /// The engines that began anew, as their counters tell.
    pub restarts: u64,
    /// The requests that were in flight on them.
    pub cut_off: u64,
    /// The requests that new pods had before their first scrape.
    pub before_first_scrape: u64,
    /// The pods that were there at the first scrape after a time without samples: the requests that
    /// they had before are not known.
    pub unknown_starts: u64,
    /// The series that are native histograms, which are not read.
    pub native_histograms: u64,
}

impl Chunk {
    /// Adds the chunk of the time that follows.
    pub fn append(&mut self, later: Self) {
        self.to = later.to;
        self.step = self.step.or(later.step);
        for (index, part) in &later.cells {
            self.cells.entry(*index).or_default().add(part);
        }
        for (index, part) in &later.windows {
            self.windows.entry(*index).or_default().add(part);
        }
        self.covered.extend(later.covered);
        self.counts.add(later.counts);
    }
}

impl Events {
    /// Returns the buckets; `None` without any event.
    pub fn buckets(&self) -> Option<Buckets> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        Buckets::new(bounds.zip(self.counts.iter().copied())).filter(|it| it.events() > 0.0)
    }

    /// Adds the events of a histogram.
    pub(super) fn add(&mut self, more: &Buckets) {
        let mut sum = self.buckets().unwrap_or_default();
        sum.add(more);
        self.bounds = sum.bounds().iter().copied().filter(|bound| bound.is_finite()).collect();
        self.counts = sum.counts().to_vec();
    }

    /// Adds the events of another part of the window.
    pub(super) fn merge(&mut self, other: &Self) {
        if let Some(more) = other.buckets() {
            self.add(&more);
        }
    }
}

impl Cell {
    /// Adds another part of the cell.
    pub(super) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.fields().into_iter().zip(other.values()) {
            *mine += theirs;
        }
    }

    fn fields(&mut self) -> [&mut f64; 10] {
        [
            &mut self.arrivals,
            &mut self.spread,
            &mut self.ended,
            &mut self.prompt_tokens,
            &mut self.output_tokens,
            &mut self.existing,
            &mut self.serving,
            &mut self.unseen,
            &mut self.running,
            &mut self.waiting,
        ]
    }

    fn values(&self) -> [f64; 10] {
        let mut copy = *self;
        copy.fields().map(|field| *field)
    }

    /// Returns this share of the cell.
    pub(super) fn share(&self, share: f64) -> Self {
        let mut part = *self;
        for field in part.fields() {
            *field *= share;
        }
        part
    }
}

impl Window {
    /// Adds another part of the window.
    pub(super) fn add(&mut self, other: &Self) {
        self.ttft.merge(&other.ttft);
        self.itl.merge(&other.itl);
        self.prompts.merge(&other.prompts);
        self.answers.merge(&other.answers);
    }
}

impl Counts {
    /// Adds the counts of another chunk.
    pub(super) fn add(&mut self, other: Self) {
        self.samples += other.samples;
        self.restarts += other.restarts;
        self.cut_off += other.cut_off;
        self.before_first_scrape += other.before_first_scrape;
        self.unknown_starts += other.unknown_starts;
        self.native_histograms += other.native_histograms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_their_file_and_add_up() {
        let buckets = |counts: [f64; 3]| {
            Buckets::new([(0.1, counts[0]), (1.0, counts[1]), (f64::INFINITY, counts[2])]).unwrap()
        };
        let mut events = Events::default();
        assert_eq!(events.buckets(), None);
        events.add(&buckets([1.0, 2.0, 2.0]));
        let text = serde_json::to_string(&events).unwrap();
        let mut read: Events = serde_json::from_str(&text).unwrap();
        assert_eq!(read, events);
        read.merge(&events);
        assert_eq!(read.buckets(), Some(buckets([2.0, 4.0, 4.0])));
    }

    #[test]
    fn parts_of_a_cell_add_up() {
        let whole = Cell { arrivals: 4.0, serving: 30.0, waiting: 2.0, ..Cell::default() };
        let mut sum = whole.share(0.25);
        sum.add(&whole.share(0.75));
        assert_eq!(sum, whole);
    }
}
