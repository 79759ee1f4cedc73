//! The reading of raw samples, chunk after chunk.

use std::{collections::BTreeMap, sync::Arc};

use llm_autoscaler_engines::{
    exposition::Scratch,
    prometheus::{ScrapeId, Series},
};

use super::{
    cells::{Grid, cover},
    chunk::{Cell, Chunk, Window},
    increases::Start,
    pod::{Advance, Pod},
    series::{Measures, Quantity, Selection, UP},
};
use crate::error::SimulateError;

/// The state of all pods at the end of the samples that have been read.
#[derive(Debug)]
pub struct Ledger {
    from: f64,
    measures: Measures,
    selection: Selection,
    step: Option<f64>,
    pods: BTreeMap<Arc<str>, Pod>,
    /// The latest time that samples cover, from its start to its end.
    covered: Option<(f64, f64)>,
}

/// A chunk that is being read.
struct Reading<'a> {
    grid: Grid,
    chunk: Chunk,
    measures: &'a Measures,
    replica_labels: &'a [String],
    scratch: Scratch,
}

/// The series of one pod: those of its targets, and those of its pages.
#[derive(Default)]
struct PodSeries<'s> {
    targets: Vec<&'s Series>,
    pages: BTreeMap<ScrapeId, Vec<&'s Series>>,
}

impl Ledger {
    /// Returns an empty ledger for a recording that begins at `from`, in seconds since 1970. `step`
    /// is the interval of scrapes, if it is known from earlier chunks.
    pub fn new(from: f64, selection: Selection, measures: Measures, step: Option<f64>) -> Self {
        Self { from, measures, selection, step, pods: BTreeMap::new(), covered: None }
    }

    /// Reads the samples after `from` and up to `to`, which follow those that have been read.
    ///
    /// # Errors
    /// Fails if several pods have one name.
    pub fn read(&mut self, series: &[Series], from: f64, to: f64) -> Result<Chunk, SimulateError> {
        let is_within = move |at: f64| at > from && at <= to;
        if self.step.is_none() {
            self.step = spacing(series, is_within);
        }
        let mut chunk = Chunk { from, to, step: self.step, ..Chunk::default() };
        let Some(step) = self.step else { return Ok(chunk) };
        let grid = Grid { from: self.from, step };
        let mut times: Vec<f64> =
            series.iter().flat_map(|it| &it.samples).map(|(at, _)| *at).collect();
        times.retain(|at| is_within(*at));
        times.sort_by(f64::total_cmp);
        times.dedup();
        let covered = cover(grid, &times, self.covered);
        chunk.counts.native_histograms =
            series.iter().filter(|series| !series.histograms.is_empty()).count() as u64;
        let replica_labels = &self.selection.replica_labels;
        let mut reading = Reading {
            grid,
            chunk,
            measures: &self.measures,
            replica_labels,
            scratch: Scratch::default(),
        };
        for (name, of_pod) in by_pod(series, &self.selection) {
            let pod = self.pods.entry(name.clone()).or_default();
            reading.read_pod(&name, pod, &of_pod, &covered, is_within)?;
        }
        let mut chunk = reading.chunk;
        self.covered = covered.last().copied();
        chunk.covered = covered;
        if !times.is_empty() {
            let recent = from.min(to - grid.patience());
            self.pods.retain(|_, pod| pod.latest().is_some_and(|at| at >= recent));
            self.pods.values_mut().for_each(|pod| pod.forget(recent));
        }
        Ok(chunk)
    }
}

/// Returns the usual distance of two samples in whole seconds: the median over the series.
fn spacing(series: &[Series], is_within: impl Fn(f64) -> bool) -> Option<f64> {
    let mut distances: Vec<f64> = Vec::new();
    for series in series {
        let times: Vec<f64> =
            series.samples.iter().map(|(at, _)| *at).filter(|at| is_within(*at)).collect();
        let mut own: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        own.sort_by(f64::total_cmp);
        distances.extend(own.get(own.len() / 2));
    }
    distances.sort_by(f64::total_cmp);
    distances.get(distances.len() / 2).map(|median| median.round().max(1.0))
}

fn by_pod<'s>(series: &'s [Series], selection: &Selection) -> BTreeMap<Arc<str>, PodSeries<'s>> {
    let mut pods: BTreeMap<Arc<str>, PodSeries<'s>> = BTreeMap::new();
    for series in series.iter().filter(|series| series.histograms.is_empty()) {
        let Some(pod) = series.label(&selection.pod_label) else { continue };
        let pod = pods.entry(pod.into()).or_default();
        if &*series.name == UP {
            pod.targets.push(series);
        } else {
            let id = ScrapeId::of(series, &selection.replica_labels);
            pod.pages.entry(id).or_default().push(series);
        }
    }
    pods
}

/// A sample of a page, with the place of its counter unless it is a gauge.
type Sample<'s> = (&'s Series, Option<usize>, f64);
/// The pages by their time, as bits, and their scrape: the indices of their series, and the values.
type Pages<'s> = BTreeMap<(u64, &'s ScrapeId), Vec<(usize, f64)>>;

impl Reading<'_> {
    fn read_pod(
        &mut self,
        name: &str,
        pod: &mut Pod,
        series: &PodSeries<'_>,
        covered: &[(f64, f64)],
        is_within: impl Fn(f64) -> bool,
    ) -> Result<(), SimulateError> {
        let targets = targets(&series.targets, &is_within);
        let pages = pages(series, is_within);
        let mut places: BTreeMap<&ScrapeId, Vec<Option<usize>>> = BTreeMap::new();
        let mut targets = targets.into_iter().peekable();
        for ((at, id), page) in pages {
            let at = f64::from_bits(at);
            while let Some(target) = targets.next_if(|(time, _)| *time < at) {
                self.read_target(pod, target);
            }
            self.check(name, pod, id, at)?;
            let start = self.start(pod, at, covered);
            let is_first = !pod.has_page();
            self.chunk.counts.samples += page.len() as u64;
            let scrape = pod.scrape(id);
            let of_scrape = &series.pages[id];
            let places = places.entry(id).or_insert_with(|| {
                let mut place = |series: &Series| scrape.place(series, &own_labels(series, id));
                let is_gauge = |series: &Series| self.measures.is_gauge(&series.name);
                of_scrape.iter().map(|it| (!is_gauge(it)).then(|| place(it))).collect()
            });
            let page = page.into_iter();
            let page: Vec<Sample<'_>> =
                page.map(|(index, value)| (of_scrape[index], places[index], value)).collect();
            let growth = scrape.read(&page, self.measures, start, &mut self.scratch);
            if let Some(advance) = pod.advance(id, at, growth, self.grid) {
                self.record(at, &advance, start, is_first);
            }
        }
        targets.for_each(|target| self.read_target(pod, target));
        Ok(())
    }

    /// Fails if another pod of this name has pages at the same time.
    fn check(&self, name: &str, pod: &Pod, id: &ScrapeId, at: f64) -> Result<(), SimulateError> {
        let Some(counting) = pod.counting(at, self.grid) else { return Ok(()) };
        let Some(conflict) = counting.conflict(id, self.replica_labels) else { return Ok(()) };
        let [one, other] = &conflict.values;
        let label = &conflict.label;
        Err(SimulateError::new(format!(
            "the server has several pods called {name}, which differ in the label {label} \
             ({one:?}, {other:?}): select one by --matcher {label}=VALUE, or name {label} as a \
             --replica-label if they are the same pod"
        )))
    }

    /// Returns the meaning of counters that a pod has for the first time. They began at zero if the
    /// pod had pages of an earlier engine, if it was a target without a page a moment ago, or if
    /// other pods were seen for so long that this one would have been seen before.
    fn start(&self, pod: &Pod, at: f64, covered: &[(f64, f64)]) -> Start {
        let is_expected = pod
            .targeted
            .is_some_and(|(since, had_page)| !had_page && !self.grid.is_late(at - since));
        let index = covered.partition_point(|(start, _)| *start <= at);
        let since = index.checked_sub(1).map_or(at, |index| covered[index].0);
        let is_new = at - since > self.grid.patience();
        if pod.has_page() || is_expected || is_new { Start::Zero } else { Start::Unknown }
    }

    fn record(&mut self, at: f64, advance: &Advance, start: Start, is_first: bool) {
        let Advance { since, growth } = advance;
        let is_unknown = start == Start::Unknown && is_first;
        let counts = &mut self.chunk.counts;
        if is_unknown {
            counts.unknown_starts += 1;
        } else if is_first {
            counts.before_first_scrape += growth.arrivals.round() as u64;
        }
        if let Some(in_flight) = growth.restarted {
            counts.restarts += 1;
            counts.cut_off += in_flight.round() as u64;
        }
        let since = since.unwrap_or(at - self.grid.step);
        let time = at - since;
        let is_late = self.grid.is_late(time);
        // An engine that began anew was away for a part of a long time.
        let serving = if is_late && growth.restarted.is_some() { self.grid.step } else { time };
        let amounts = Cell {
            arrivals: growth.arrivals,
            spread: if is_late { growth.arrivals } else { 0.0 },
            ended: growth.ended,
            prompt_tokens: growth.prompt_tokens,
            output_tokens: growth.output_tokens,
            existing: 0.0,
            serving,
            unseen: if is_late { serving } else { 0.0 },
            running: growth.running * serving,
            waiting: growth.waiting * serving,
        };
        self.grid.spread(&mut self.chunk.cells, since, at, &amounts);
        let window = self.chunk.windows.entry(self.grid.window(at)).or_default();
        for (quantity, buckets) in &growth.histograms {
            let Window { ttft, itl, prompts, answers } = window;
            match quantity {
                Quantity::FirstTokens => ttft.add(buckets),
                Quantity::BetweenTokens => itl.add(buckets),
                Quantity::Prompts => prompts.add(buckets),
                Quantity::Answers => answers.add(buckets),
                _ => {}
            }
        }
    }

    fn read_target(&mut self, pod: &mut Pod, (at, had_page): (f64, bool)) {
        let before = pod.targeted.map(|(before, _)| before);
        let since = before.filter(|before| !self.grid.is_late(at - before));
        let since = since.unwrap_or(at - self.grid.step);
        if at > since {
            let amounts = Cell { existing: at - since, ..Cell::default() };
            self.grid.spread(&mut self.chunk.cells, since, at, &amounts);
        }
        pod.targeted = Some((at, had_page));
    }
}

/// Sorts the samples of a pod into pages. The samples of one page have one time.
fn pages<'s>(series: &'s PodSeries<'_>, is_within: impl Fn(f64) -> bool) -> Pages<'s> {
    let mut pages: Pages<'s> = BTreeMap::new();
    for (id, series) in &series.pages {
        for (index, series) in series.iter().enumerate() {
            let samples = series.samples.iter().filter(|(at, _)| is_within(*at));
            for (at, value) in samples.filter(|(_, value)| value.is_finite()) {
                // Times are not negative, so that their bits have their order.
                pages.entry((at.to_bits(), id)).or_default().push((index, *value));
            }
        }
    }
    pages
}

/// Returns the labels of a series but for those of its scrape, sorted.
fn own_labels<'s>(series: &'s Series, id: &ScrapeId) -> Vec<(&'s str, &'s str)> {
    let labels = series.labels.iter().map(|(name, value)| (&**name, &**value));
    let mut labels: Vec<_> =
        labels.filter(|(name, value)| !value.is_empty() && !id.has(name)).collect();
    labels.sort_unstable();
    labels
}

/// Returns the times at which a pod was scraped, and whether any of its pages was there.
fn targets(series: &[&Series], is_within: impl Fn(f64) -> bool) -> Vec<(f64, bool)> {
    let mut times: BTreeMap<u64, bool> = BTreeMap::new();
    let samples = series.iter().flat_map(|series| &series.samples);
    for (at, up) in samples.filter(|(at, up)| is_within(*at) && up.is_finite()) {
        *times.entry(at.to_bits()).or_default() |= *up > 0.0;
    }
    times.into_iter().map(|(at, had_page)| (f64::from_bits(at), had_page)).collect()
}

#[cfg(test)]
mod tests;
