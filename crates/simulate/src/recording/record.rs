//! A recording: its header and its chunks, and what they tell together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    cells::Grid,
    chunk::{Cell, Chunk, Counts, Window},
};
use crate::error::SimulateError;

/// The version of the file's format.
const VERSION: u32 = 1;

/// The first line of a recording's file: what is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    /// The version of the format.
    pub version: u32,
    /// The URL of the server, without credentials.
    pub server: String,
    /// The namespace of the pods.
    pub namespace: String,
    /// The regular expression of their names.
    pub pods: String,
    /// Further labels of the series, with their values.
    pub matchers: Vec<(String, String)>,
    /// The name of the engine, as in a spec.
    pub engine: String,
    /// The start of the recording, in seconds since 1970.
    pub from: f64,
    /// Its end.
    pub to: f64,
    /// The length of its chunks, in seconds.
    pub chunk: f64,
}

/// A time without samples of the service: there was no pod, or it was not scraped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Gap {
    /// The start, in seconds since the start of the recording.
    pub from: f64,
    /// The end.
    pub to: f64,
    /// The requests of this time that counters before and after it tell of. They are spread evenly.
    pub requests: f64,
}

/// The load and the fleet of a service over a range of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    /// The service and the range of time.
    pub header: Header,
    /// The interval of scrapes in seconds, which is the length of a cell.
    pub step: f64,
    pub(super) cells: BTreeMap<u64, Cell>,
    pub(super) windows: BTreeMap<u64, Window>,
    /// The times that samples cover, in seconds since the start of the recording.
    pub(super) covered: Vec<(f64, f64)>,
    /// Counts over the whole recording.
    pub counts: Counts,
}

impl Header {
    /// Returns the version that this program writes.
    pub const fn version() -> u32 {
        VERSION
    }

    /// Returns the ranges of all chunks.
    pub fn chunks(&self) -> Vec<(f64, f64)> {
        let length = self.chunk.max(1.0);
        let count = ((self.to - self.from) / length).ceil().max(1.0) as u64;
        let start = |index: u64| (self.from + index as f64 * length).min(self.to);
        (0..count).map(|index| (start(index), start(index + 1))).collect()
    }
}

impl Recording {
    /// Reads a recording from the text of its file: a line with the header, and then one for each
    /// chunk. The last line may have been cut off when its writer was killed; then it does not
    /// count. Returns the header, the chunks, and the number of bytes that they take.
    ///
    /// # Errors
    /// Fails if a line is not of this form, or of another version.
    pub fn parse(text: &str) -> Result<(Header, Vec<Chunk>, usize), SimulateError> {
        let end = text.rfind('\n').map_or(0, |end| end + 1);
        let mut lines = text[..end].lines();
        let header = lines.next().ok_or_else(|| SimulateError::new("the recording is empty"))?;
        let header: Header = serde_json::from_str(header).map_err(|error| {
            SimulateError::new(format!("line 1 of the recording is no header: {error}"))
        })?;
        if header.version != VERSION {
            let version = header.version;
            return Err(SimulateError::new(format!(
                "the recording has version {version} of the format, and this program reads \
                 {VERSION}: record it again"
            )));
        }
        let chunks = lines.enumerate().map(|(index, line)| {
            serde_json::from_str(line).map_err(|error| {
                let line = index + 2;
                SimulateError::new(format!("line {line} of the recording is no chunk: {error}"))
            })
        });
        Ok((header, chunks.collect::<Result<_, _>>()?, end))
    }

    /// Puts the chunks of a recording together.
    ///
    /// # Errors
    /// Fails if there are no samples at all.
    pub fn of(header: Header, chunks: &[Chunk]) -> Result<Self, SimulateError> {
        let step = chunks.iter().find_map(|chunk| chunk.step).ok_or_else(|| {
            SimulateError::new(format!(
                "the server has no two samples of a pod called {} in the namespace {}: check \
                 --namespace, --pods, --engine and the range of time",
                header.pods, header.namespace
            ))
        })?;
        let mut all = Chunk::default();
        for chunk in chunks {
            all.append(chunk.clone());
        }
        let Chunk { cells, windows, covered: times, counts, .. } = all;
        let since = |(start, end)| (start - header.from, end - header.from);
        let mut times: Vec<(f64, f64)> = times.into_iter().map(since).collect();
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut covered: Vec<(f64, f64)> = Vec::new();
        for (start, end) in times {
            match covered.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => covered.push((start, end)),
            }
        }
        Ok(Self { header, step, cells, windows, covered, counts })
    }

    /// Returns the length of the recording, in seconds.
    pub fn length(&self) -> f64 {
        self.header.to - self.header.from
    }

    /// Returns the times without samples.
    pub fn gaps(&self) -> Vec<Gap> {
        let patience = self.grid().patience();
        let starts = std::iter::once(0.0).chain(self.covered.iter().map(|(_, end)| *end));
        let ends = self.covered.iter().map(|(start, _)| *start).chain([self.length()]);
        let gaps = starts.zip(ends).filter(|(from, to)| to - from > patience);
        gaps.map(|(from, to)| Gap { from, to, requests: self.spread_within(from, to) }).collect()
    }

    /// Returns the number of requests that arrived.
    pub fn requests(&self) -> f64 {
        self.sum(|cell| cell.arrivals)
    }

    /// Returns the prompt tokens and the generated tokens.
    pub fn tokens(&self) -> (f64, f64) {
        (self.sum(|cell| cell.prompt_tokens), self.sum(|cell| cell.output_tokens))
    }

    /// Returns the requests of which only a time longer than the interval of scrapes is known.
    pub fn spread(&self) -> f64 {
        self.sum(|cell| cell.spread)
    }

    /// Returns the time, in seconds of pods, between scrapes of a pod that are too far apart.
    pub fn unseen(&self) -> f64 {
        self.sum(|cell| cell.unseen)
    }

    pub(super) fn sum(&self, of: impl Fn(&Cell) -> f64) -> f64 {
        self.cells.values().map(of).sum()
    }

    pub(super) fn grid(&self) -> Grid {
        Grid { from: 0.0, step: self.step }
    }

    /// Returns the number of cells.
    pub(super) fn cell_count(&self) -> u64 {
        (self.length() / self.step).ceil().max(1.0) as u64
    }

    fn spread_within(&self, from: f64, to: f64) -> f64 {
        let cells = self.cells.range((from / self.step) as u64..=(to / self.step) as u64);
        cells.map(|(_, cell)| cell.spread).sum()
    }
}
