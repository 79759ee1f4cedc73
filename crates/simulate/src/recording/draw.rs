//! Traces: one of the ways in which the requests of a recording may have arrived.

use std::fmt::Write;

use fastrand::Rng;

use super::{
    chunk::{Events, WINDOW},
    lengths::LengthShape,
    record::Recording,
};
use crate::{
    arrivals::{Request, Trace},
    random::{Use, generator},
};

/// The windows before and after one whose tokens count for its lengths: a request may end long
/// after its arrival.
const REACH: u64 = 1;

impl Recording {
    /// Draws a trace: the times within each cell are uniform, and lengths have the shapes and sums
    /// of their windows. `sigma` is that of the logarithm of lengths where the engine has no
    /// histograms of them.
    pub fn trace(&self, seed: u64, sigma: f64) -> Trace {
        Trace::recorded(self.draw(seed, sigma), self.length())
    }

    /// Draws the requests of a trace, in the order of their arrivals; see [`trace`](Self::trace).
    pub fn draw(&self, seed: u64, sigma: f64) -> Vec<Request> {
        let times = self.times(&mut generator(seed, Use::Arrivals));
        let mut rng = generator(seed, Use::Lengths);
        let mut requests = Vec::with_capacity(times.len());
        let window = |at: f64| (at / WINDOW) as u64;
        for times in times.chunk_by(|a, b| window(*a) == window(*b)) {
            let index = window(times[0]);
            let [prompts, answers] = self.lengths(index, times.len(), sigma, &mut rng);
            let lengths = prompts.into_iter().zip(answers);
            requests.extend(times.iter().zip(lengths).map(
                |(at, (prompt_tokens, output_tokens))| Request {
                    at: *at,
                    prompt_tokens,
                    output_tokens,
                },
            ));
        }
        requests
    }

    /// Draws the times of arrivals, in their order. A cell with a part of a request passes it on,
    /// so that the number of requests is that of the recording.
    fn times(&self, rng: &mut Rng) -> Vec<f64> {
        let mut times = Vec::new();
        let mut owed = rng.f64();
        for (index, cell) in &self.cells {
            owed += cell.arrivals;
            let count = owed.floor();
            owed -= count;
            let start = *index as f64 * self.step;
            let drawn = (0..count as u64).map(|_| start + rng.f64() * self.step);
            let mut drawn: Vec<f64> = drawn.map(|at| at.min(self.length())).collect();
            drawn.sort_by(f64::total_cmp);
            times.extend(drawn);
        }
        times
    }

    /// Draws the lengths of the prompts and answers of this many requests of a window.
    fn lengths(&self, window: u64, count: usize, sigma: f64, rng: &mut Rng) -> [Vec<u32>; 2] {
        let cells_per_window = (WINDOW / self.step).max(1.0);
        let first = (window.saturating_sub(REACH) as f64 * cells_per_window) as u64;
        let last = ((window + REACH + 1) as f64 * cells_per_window).ceil() as u64;
        let near = || self.cells.range(first..last).map(|(_, cell)| cell);
        let sum = |of: fn(&super::Cell) -> f64| near().map(of).sum::<f64>();
        let arrivals = sum(|cell| cell.arrivals);
        let all = self.requests().max(1.0);
        let (all_prompts, all_outputs) = self.tokens();
        let mean = |tokens: f64, of_all: f64| {
            if tokens > 0.0 && arrivals >= 1.0 { tokens / arrivals } else { of_all / all }
        };
        let prompt = mean(sum(|cell| cell.prompt_tokens), all_prompts);
        let output = mean(sum(|cell| cell.output_tokens), all_outputs);
        let windows = || self.windows.range(window.saturating_sub(REACH)..=window + REACH);
        let shape = |of: fn(&super::Window) -> &Events| {
            let mut events = Events::default();
            for (_, window) in windows() {
                events.merge(of(window));
            }
            events.buckets().map_or(LengthShape::Lognormal(sigma), LengthShape::Buckets)
        };
        let of = |shape: LengthShape, mean: f64, rng: &mut Rng| {
            shape.draw(rng, count, mean * count as f64)
        };
        [
            of(shape(|window| &window.prompts), prompt, rng),
            of(shape(|window| &window.answers), output, rng),
        ]
    }
}

/// Returns requests as the CSV file that [`Trace::parse`] reads.
pub(super) fn csv(requests: &[Request]) -> String {
    let mut text = String::from("arrival_s,input_tokens,output_tokens\n");
    for Request { at, prompt_tokens, output_tokens } in requests {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{at:.3},{prompt_tokens},{output_tokens}");
    }
    text
}
