//! The fleet of today and its latencies, as the samples tell them.

use llm_autoscaler_engines::Buckets;
use serde::Serialize;

use super::{
    chunk::{Cell, Events, Window},
    record::Recording,
};
use crate::score::Promise;

/// A number of replicas changes if it is off by more than this: a cell in which a pod came has a
/// part of it.
const CHANGES_BY: f64 = 0.75;

/// The shortest time at an end of the samples in which scrapes may still be missing, in seconds: a
/// server spreads them over its interval, and may be late.
const SHORTEST_EDGE: f64 = 3.0;

/// The fleet that ran, and how fast its engines were.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// The requests that arrived at the engines.
    pub requests: f64,
    /// The prompt tokens.
    pub prompt_tokens: f64,
    /// The generated tokens.
    pub output_tokens: f64,
    /// The hours of all replicas, starting ones included as far as they were scraped. Times without
    /// samples are not in it.
    pub replica_hours: f64,
    /// The hours of replicas with a page of their engine.
    pub serving_hours: f64,
    /// The mean number of replicas while there were samples.
    pub mean_replicas: f64,
    /// The highest number of replicas.
    pub peak_replicas: u32,
    /// The changes of the number of replicas.
    pub changes: u32,
    /// The times to first token.
    pub ttft: Option<Latency>,
    /// The times between two tokens, of all tokens of all requests.
    pub itl: Option<Latency>,
    /// The number of replicas over time: seconds since the start of the recording, replicas, and
    /// those with a page of their engine.
    pub fleet: Vec<(f64, u32, u32)>,
}

/// The latencies of a histogram of the engines.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    /// The number of events.
    pub events: f64,
    /// The least share of them, from 0 to 1, that was within the promise.
    pub kept_at_least: f64,
    /// The greatest one. The two differ if the promise is inside of a bucket.
    pub kept_at_most: f64,
    /// The median, estimated within its bucket.
    pub p50: Option<f64>,
    /// The 99th percentile, estimated within its bucket.
    pub p99: Option<f64>,
}

impl Latency {
    /// Returns the latencies of a histogram against a promised one, in seconds.
    fn of(buckets: &Buckets, promised: f64) -> Self {
        let (bounds, events) = (buckets.bounds(), buckets.events());
        let at_most = bounds.partition_point(|bound| *bound <= promised);
        let below = at_most.checked_sub(1).map_or(0.0, |index| buckets.counts()[index]);
        let is_bound = at_most.checked_sub(1).is_some_and(|index| bounds[index] >= promised);
        let above =
            if is_bound { below } else { buckets.counts().get(at_most).copied().unwrap_or(events) };
        Self {
            events,
            kept_at_least: below / events,
            kept_at_most: above / events,
            p50: buckets.quantile(0.5),
            p99: buckets.quantile(0.99),
        }
    }
}

impl Recording {
    /// Returns what the autoscaler of today did, with the latencies held against a promise.
    pub fn measured(&self, promise: Promise) -> Measured {
        let hours = |of: fn(&Cell) -> f64| self.sum(of) / 3_600.0;
        let latency = |of: fn(&Window) -> &Events, promised: f64| {
            let mut all = Events::default();
            for window in self.windows.values() {
                all.merge(of(window));
            }
            all.buckets().map(|buckets| Latency::of(&buckets, promised))
        };
        let replica_hours = hours(Cell::existing_or_serving);
        let covered: f64 = self.covered.iter().map(|(start, end)| end - start).sum();
        let fleet = self.fleet();
        let changes = fleet.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
        let (prompt_tokens, output_tokens) = self.tokens();
        Measured {
            requests: self.requests(),
            prompt_tokens,
            output_tokens,
            replica_hours,
            serving_hours: hours(|cell| cell.serving),
            mean_replicas: replica_hours * 3_600.0 / covered.max(self.step),
            peak_replicas: fleet.iter().map(|(_, replicas, _)| *replicas).max().unwrap_or_default(),
            changes: changes as u32,
            ttft: latency(|window| &window.ttft, promise.time_to_first_token),
            itl: latency(|window| &window.itl, promise.inter_token_latency),
            fleet,
        }
    }

    /// Returns the replicas over time, and those that served. In a time without samples the former
    /// numbers stay: an empty result is no fleet of zero. So they do where samples end, because the
    /// next scrape of a pod is not there yet.
    fn fleet(&self) -> Vec<(f64, u32, u32)> {
        let edge = self.step.max(SHORTEST_EDGE);
        let mut fleet: Vec<(f64, u32, u32)> = Vec::new();
        for index in 0..self.cell_count() {
            let Some((start, end)) = self.covering(index) else { continue };
            let at = index as f64 * self.step;
            let cell = self.cells.get(&index).copied().unwrap_or_default();
            let seconds = self.covered_seconds(index).max(self.step / 2.0);
            let is_ending = end - at < 2.0 * edge;
            let number = |seconds_of_pods: f64, former: Option<u32>| {
                let exact = seconds_of_pods / seconds;
                let is_former = |former: &u32| {
                    let off = exact - f64::from(*former);
                    off.abs() < CHANGES_BY || (is_ending && off < 0.0)
                };
                former.filter(is_former).unwrap_or(exact.round() as u32)
            };
            let former = fleet.last().copied();
            let replicas = number(cell.existing_or_serving(), former.map(|it| it.1));
            let serving = number(cell.serving, former.map(|it| it.2)).min(replicas);
            match fleet.last_mut() {
                // Where samples begin, the first scrapes come one after the other.
                Some(last) if at - start < edge && last.0 >= start - self.step => {
                    (last.1, last.2) = (last.1.max(replicas), last.2.max(serving));
                }
                Some(last) if (last.1, last.2) == (replicas, serving) => {}
                _ => fleet.push((at, replicas, serving)),
            }
        }
        fleet
    }

    /// Returns the time with samples that the middle of a cell is in.
    fn covering(&self, index: u64) -> Option<(f64, f64)> {
        let middle = (index as f64 + 0.5) * self.step;
        let before = self.covered.partition_point(|(start, _)| *start <= middle);
        let found = self.covered[before.checked_sub(1)?];
        (middle <= found.1).then_some(found)
    }

    /// Returns the seconds of a cell that samples tell of: a first sample stands for the interval
    /// before it.
    fn covered_seconds(&self, index: u64) -> f64 {
        let (from, to) = (index as f64 * self.step, (index + 1) as f64 * self.step);
        let since = |start: f64| (start - self.step).max(from);
        let overlap = |(start, end): &(f64, f64)| (end.min(to) - since(*start)).max(0.0);
        self.covered.iter().map(overlap).sum()
    }

    /// Returns the fleet as the CSV file beside the trace: the times at which the number of
    /// replicas changed.
    pub fn fleet_csv(&self) -> String {
        let rows = self.fleet().into_iter();
        let rows = rows.map(|(at, replicas, serving)| format!("{at:.0},{replicas},{serving}\n"));
        format!("time_s,replicas,serving\n{}", rows.collect::<String>())
    }

    /// Returns a trace as the CSV file that [`Trace::parse`](crate::arrivals::Trace::parse) reads.
    pub fn trace_csv(&self, seed: u64, sigma: f64) -> String {
        super::draw::csv(&self.draw(seed, sigma))
    }
}

impl Cell {
    /// Returns the seconds of pods. A pod that serves exists, whether or not the server has its
    /// target.
    fn existing_or_serving(&self) -> f64 {
        self.existing.max(self.serving)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_inside_of_a_bucket_is_kept_between_two_shares() {
        let buckets = Buckets::new([(0.5, 60.0), (1.0, 80.0), (2.5, 95.0), (f64::INFINITY, 100.0)]);
        let buckets = buckets.unwrap();
        for (promised, at_least, at_most) in
            [(0.1, 0.0, 0.6), (0.5, 0.6, 0.6), (0.7, 0.6, 0.8), (2.5, 0.95, 0.95), (9.0, 0.95, 1.0)]
        {
            let latency = Latency::of(&buckets, promised);
            let found = (latency.kept_at_least, latency.kept_at_most);
            assert_eq!(found, (at_least, at_most), "{promised}");
        }
    }
}
