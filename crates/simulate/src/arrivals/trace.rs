//! Traces: the arrivals and lengths of requests that a service once had.

use super::Request;
use crate::error::SimulateError;

/// The first line of a trace.
const HEADER: &str = "arrival_s,input_tokens,output_tokens";

/// A recorded request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Record {
    pub(crate) at: f64,
    pub(crate) prompt_tokens: u32,
    pub(crate) output_tokens: u32,
}

/// Recorded requests, in the order of their arrivals.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    records: Vec<Record>,
    /// The length in seconds.
    length: f64,
}

impl Trace {
    /// Parses a trace: a line `arrival_s,input_tokens,output_tokens`, and then a line for each
    /// request, with its arrival in seconds. The first arrival becomes 0.
    ///
    /// # Errors
    /// Fails with the number of the first line that is not of this form, and without any request.
    pub fn parse(text: &str) -> Result<Self, SimulateError> {
        // Spreadsheets begin a file with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
        let header = lines.next().map(|(_, line)| line.trim());
        if header != Some(HEADER) {
            let found = header.unwrap_or("nothing");
            return Err(SimulateError::new(format!(
                "the trace begins with {found}; its first line is to be {HEADER}"
            )));
        }
        let records = lines.map(|(index, line)| {
            record(line).ok_or_else(|| {
                SimulateError::new(format!(
                    "line {} of the trace is {line}; it is to be {HEADER}, such as 4.315,396,109",
                    index + 1
                ))
            })
        });
        let mut records: Vec<Record> = records.collect::<Result<_, _>>()?;
        records.sort_by(|a, b| a.at.total_cmp(&b.at));
        let Some(start) = records.first().map(|record| record.at) else {
            return Err(SimulateError::new("the trace has no requests"));
        };
        for record in &mut records {
            record.at -= start;
        }
        Ok(Self::ending_with_the_last(records))
    }

    /// Returns a trace of requests in the order of their arrivals, over this many seconds. Nothing
    /// arrives before the first one and after the last one.
    pub(crate) fn recorded(requests: Vec<Request>, length: f64) -> Self {
        let record = |Request { at, prompt_tokens, output_tokens }| Record {
            at,
            prompt_tokens,
            output_tokens,
        };
        Self { records: requests.into_iter().map(record).collect(), length: length.max(1.0) }
    }

    fn ending_with_the_last(records: Vec<Record>) -> Self {
        let length = records.last().map_or(0.0, |last| last.at).max(1.0);
        Self { records, length }
    }

    /// Returns a trace of requests; the first arrival becomes 0. `None` without any.
    pub(crate) fn of(requests: &[Request]) -> Option<Self> {
        let start = requests.first()?.at;
        let record = |request: &Request| Record {
            at: request.at - start,
            prompt_tokens: request.prompt_tokens,
            output_tokens: request.output_tokens,
        };
        Some(Self::ending_with_the_last(requests.iter().map(record).collect()))
    }

    /// Returns the time from the first to the last arrival, or that of its recording, in seconds;
    /// never zero.
    pub fn duration(&self) -> f64 {
        self.length
    }

    /// Returns the mean lengths of prompts and answers, in tokens.
    pub fn mean_lengths(&self) -> (f64, f64) {
        let count = self.records.len() as f64;
        let sum = |length: fn(&Record) -> u32| {
            self.records.iter().map(|record| f64::from(length(record))).sum::<f64>() / count
        };
        (sum(|record| record.prompt_tokens), sum(|record| record.output_tokens))
    }

    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }
}

fn record(line: &str) -> Option<Record> {
    let mut fields = line.split(',').map(str::trim);
    let at: f64 = fields.next()?.parse().ok()?;
    let prompt_tokens = fields.next()?.parse().ok()?;
    let output_tokens: u32 = fields.next()?.parse().ok()?;
    let is_sound = at.is_finite() && fields.next().is_none();
    is_sound.then_some(Record { at, prompt_tokens, output_tokens: output_tokens.max(1) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_begins_at_zero_and_is_in_order() {
        let trace =
            Trace::parse("arrival_s,input_tokens,output_tokens\n12.5,100,10\n11,374,0\n\n13,5,7\n");
        let trace = trace.unwrap();
        let times: Vec<f64> = trace.records().iter().map(|record| record.at).collect();
        assert_eq!(times, [0.0, 1.5, 2.0]);
        assert_eq!(trace.records()[0].output_tokens, 1);
        assert!((trace.duration() - 2.0).abs() < 1e-12);
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        let header = "arrival_s,input_tokens,output_tokens\n";
        for (text, expected) in [
            ("", "begins with nothing"),
            ("at,in,out\n1,2,3\n", "begins with at,in,out"),
            (header, "no requests"),
            (&format!("{header}1,2,3\n2,x,3\n"), "line 3"),
            (&format!("{header}inf,2,3\n"), "line 2"),
            (&format!("{header}1,2,3,4\n"), "line 2"),
            (&format!("{header}1,2\n"), "line 2"),
        ] {
            let error = Trace::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }
}
