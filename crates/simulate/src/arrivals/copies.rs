//! A trace, several times over.

use std::{cmp::Ordering, collections::BinaryHeap, sync::Arc};

use fastrand::Rng;

use super::{Request, Trace};
use crate::random::{Use, generator};

/// The way in which several copies of a trace differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// Each arrival is up to so many seconds late. Bursts stay bursts: the users act together.
    Jitter(f64),
    /// Each copy begins at another place of the trace, and goes on at its start. The users are
    /// independent.
    Shift,
}

/// The arrivals of a trace, after a warm-up that mirrors its start.
#[derive(Debug, Clone)]
pub struct TraceLoad {
    /// The trace.
    pub trace: Arc<Trace>,
    /// The number of copies of each request.
    pub copies: u32,
    /// The way in which copies differ.
    pub spread: Spread,
    /// The length of the warm-up in seconds.
    pub warm_up: f64,
}

impl TraceLoad {
    /// Returns the time of the last possible arrival, in seconds.
    pub(super) fn duration(&self) -> f64 {
        let late = if let Spread::Jitter(jitter) = self.spread { jitter } else { 0.0 };
        self.warm_up + self.trace.duration() + late
    }

    /// Returns the arrivals, in the order of time.
    pub(super) fn stream(&self, seed: u64) -> TraceStream<'_> {
        let mut rng = generator(seed, Use::Arrivals);
        let cursors = match self.spread {
            Spread::Jitter(_) => vec![Cursor::new(self, 0.0)],
            Spread::Shift => (0..self.copies)
                .map(|_| Cursor::new(self, rng.f64() * self.trace.duration()))
                .collect(),
        };
        TraceStream { load: self, rng, cursors, late: BinaryHeap::new() }
    }
}

/// A place of a copy.
#[derive(Debug)]
struct Cursor {
    /// The time of the copy that the trace's start has.
    shift: f64,
    /// The index of the next record, counted from the first one after the shift.
    index: usize,
    /// True during the mirrored warm-up, in which the index counts down.
    mirrored: bool,
    /// The index of the first record that is not before the shift.
    first: usize,
}

impl Cursor {
    fn new(load: &TraceLoad, shift: f64) -> Self {
        let records = load.trace.records();
        let first = records.partition_point(|record| record.at < shift);
        let mut cursor = Self { shift, index: 0, mirrored: true, first };
        // The warm-up begins with the latest record that it mirrors.
        let mirrored = (0..records.len()).take_while(|index| {
            cursor.offset(load, *index).is_some_and(|offset| offset <= load.warm_up)
        });
        cursor.index = mirrored.count();
        cursor
    }

    /// Returns the time of a record since the start of the copy; `None` after its end.
    fn offset(&self, load: &TraceLoad, index: usize) -> Option<f64> {
        let (records, duration) = (load.trace.records(), load.trace.duration());
        if index >= records.len() {
            return None;
        }
        let place = self.first + index;
        Some(match records.get(place) {
            Some(record) => record.at - self.shift,
            None => records[place - records.len()].at + duration - self.shift,
        })
    }

    /// Returns the next arrival without moving on.
    fn peek(&self, load: &TraceLoad) -> Option<Request> {
        // The first record is not mirrored: it is where the warm-up ends.
        let index = if self.mirrored { self.index.saturating_sub(1) } else { self.index };
        if self.mirrored && index == 0 {
            return Self { index: 0, mirrored: false, ..*self }.peek(load);
        }
        let offset = self.offset(load, index)?;
        let records = load.trace.records();
        let record = records[(self.first + index) % records.len()];
        let at = if self.mirrored { load.warm_up - offset } else { load.warm_up + offset };
        let (prompt_tokens, output_tokens) = (record.prompt_tokens, record.output_tokens);
        Some(Request { at, prompt_tokens, output_tokens })
    }

    fn advance(&mut self) {
        match (self.mirrored, self.index) {
            (true, 0 | 1) => (self.mirrored, self.index) = (false, 1),
            (true, _) => self.index -= 1,
            (false, _) => self.index += 1,
        }
    }
}

/// A request that is late, in the order of a heap: the earliest is the greatest.
#[derive(Debug)]
struct Late(Request);

impl PartialEq for Late {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Late {}
impl PartialOrd for Late {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Late {
    fn cmp(&self, other: &Self) -> Ordering {
        other.0.at.total_cmp(&self.0.at)
    }
}

/// The arrivals of a [`TraceLoad`].
#[derive(Debug)]
pub(super) struct TraceStream<'a> {
    load: &'a TraceLoad,
    rng: Rng,
    cursors: Vec<Cursor>,
    /// The requests of which the time is known, and that others may still come before.
    late: BinaryHeap<Late>,
}

impl TraceStream<'_> {
    /// Returns the earliest arrival of the cursors, before any jitter, and its cursor.
    fn earliest(&self) -> Option<(usize, Request)> {
        let arrivals = self.cursors.iter().enumerate();
        let arrivals = arrivals.filter_map(|(at, cursor)| Some((at, cursor.peek(self.load)?)));
        arrivals.min_by(|(_, a), (_, b)| a.at.total_cmp(&b.at))
    }
}

impl Iterator for TraceStream<'_> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        loop {
            let earliest = self.earliest();
            let is_due = |Late(late): &Late| earliest.is_none_or(|(_, next)| late.at <= next.at);
            if self.late.peek().is_some_and(is_due) {
                return self.late.pop().map(|Late(late)| late);
            }
            let (cursor, next) = earliest?;
            self.cursors[cursor].advance();
            match self.load.spread {
                Spread::Shift => return Some(next),
                Spread::Jitter(jitter) => {
                    for _ in 0..self.load.copies {
                        let at = next.at + jitter * self.rng.f64();
                        self.late.push(Late(Request { at, ..next }));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(copies: u32, spread: Spread, warm_up: f64) -> TraceLoad {
        let header = "arrival_s,input_tokens,output_tokens";
        let text = format!("{header}\n0,1,1\n1,2,2\n3,3,3\n7,4,4\n8,5,5\n");
        TraceLoad { trace: Arc::new(Trace::parse(&text).unwrap()), copies, spread, warm_up }
    }

    #[test]
    fn a_warm_up_mirrors_the_start() {
        let load = load(1, Spread::Jitter(0.0), 4.0);
        let requests: Vec<_> = load.stream(1).map(|it| (it.at, it.prompt_tokens)).collect();
        let mirrored = [(1.0, 3), (3.0, 2)];
        let rest = [(4.0, 1), (5.0, 2), (7.0, 3), (11.0, 4), (12.0, 5)];
        assert_eq!(requests, [&mirrored[..], &rest[..]].concat());
    }

    #[test]
    fn copies_are_complete_and_in_order() {
        for spread in [Spread::Jitter(2.0), Spread::Shift] {
            let load = load(4, spread, 0.0);
            let requests: Vec<_> = load.stream(7).collect();
            let mut tokens = [0; 6];
            for request in &requests {
                tokens[request.prompt_tokens as usize] += 1;
            }
            assert_eq!(tokens, [0, 4, 4, 4, 4, 4], "{spread:?}");
            assert!(requests.is_sorted_by(|a, b| a.at <= b.at));
            assert!(requests.iter().all(|it| it.at <= load.duration()));
            assert_eq!(requests, load.stream(7).collect::<Vec<_>>());
            assert_ne!(requests, load.stream(8).collect::<Vec<_>>());
        }
    }
}
