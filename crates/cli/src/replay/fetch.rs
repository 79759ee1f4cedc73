//! The recording of a service, chunk after chunk.

use std::time::Duration;

use llm_autoscaler_engines::prometheus::Series;
use llm_autoscaler_simulate::recording::{Chunk, Header, Ledger, Measures, Selection};

use super::{
    folder::ChunkFile,
    server::{Answer, QueryError, Server},
};
use crate::simulate::{Line, print_notes};

/// The shortest range that is asked in parts, in seconds.
const SHORTEST: f64 = 60.0;
/// The waits before a query is sent again, in seconds.
const WAITS: [u64; 4] = [1, 2, 5, 10];
/// The number of the server's warnings that are shown.
const MOST_WARNINGS: usize = 10;

/// Records from a server.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) server: Server,
    pub(super) selection: Selection,
    pub(super) measures: Measures,
}

/// The samples of a range of time: those after `from` and up to `to`.
#[derive(Debug)]
struct Samples {
    from: f64,
    to: f64,
    series: Vec<Series>,
}

impl Recorder {
    /// Records the chunks that the file lacks. Each is on the disk before the next one is read.
    ///
    /// # Errors
    /// A query failed, the file cannot be written, or the pods are ambiguous.
    pub(super) async fn record(&self, header: &Header, mut file: ChunkFile) -> anyhow::Result<()> {
        let ranges = header.chunks();
        let step = file.known.iter().find_map(|chunk| chunk.step);
        let (selection, measures) = (self.selection.clone(), self.measures.clone());
        let mut ledger = Ledger::new(header.from, selection, measures, step);
        let mut line = Line::of("recording");
        let done = file.known.len();
        // The counters of the latest chunk with samples are where the next increases begin.
        let latest = file.known.iter().rposition(|chunk| chunk.counts.samples > 0);
        if let Some(latest) = latest.filter(|_| done < ranges.len()) {
            line.report(0.0, "reading the latest chunk again");
            let (from, to) = ranges[latest];
            self.chunk(&mut ledger, from, to, &mut Vec::new()).await?;
        }
        let (mut samples, mut warnings) = (0, Vec::new());
        let rest = ranges.len().saturating_sub(done);
        for (index, (from, to)) in ranges.iter().enumerate().skip(done) {
            let share = (index - done) as f64 / rest as f64;
            let words = format!("chunk {} of {}, {samples} samples", index + 1, ranges.len());
            line.report(share, &words);
            let chunk = self.chunk(&mut ledger, *from, *to, &mut warnings).await?;
            samples += chunk.counts.samples;
            file.append(&chunk)?;
        }
        drop(line);
        print_notes(&warnings);
        Ok(())
    }

    async fn chunk(
        &self,
        ledger: &mut Ledger,
        from: f64,
        to: f64,
        warnings: &mut Vec<String>,
    ) -> anyhow::Result<Chunk> {
        let mut chunk = Chunk { from, to, ..Chunk::default() };
        // The ranges that are to be read, the next one at the end.
        let mut ranges = vec![(from, to)];
        while let Some((from, to)) = ranges.pop() {
            match self.samples(from, to, warnings).await {
                Ok(Samples { from, to, series }) => chunk.append(ledger.read(&series, from, to)?),
                Err(error) if error.may_be_of_the_length() && to - from > SHORTEST => {
                    let middle = f64::midpoint(from, to).round();
                    ranges.extend([(middle, to), (from, middle)]);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(chunk)
    }

    /// Reads the samples of all series at once, or name by name if the server does not know that
    /// form of a query.
    async fn samples(
        &self,
        from: f64,
        to: f64,
        warnings: &mut Vec<String>,
    ) -> Result<Samples, QueryError> {
        let names = self.measures.names();
        // Older servers include the start of a range, others do not; the ledger leaves it out.
        let range = Duration::from_secs_f64((to - from).max(0.001));
        let selector = |names: &[&str]| self.selection.selector(names, range);
        let Answer { series, warnings: told } = match self.patiently(&selector(&names), to).await {
            Err(QueryError::Wording(refusal)) => {
                let mut all = Answer::default();
                for name in &names {
                    match self.patiently(&selector(&[name]), to).await {
                        Ok(Answer { series, warnings }) => {
                            all.series.extend(series);
                            all.warnings.extend(warnings);
                        }
                        // The form was not the reason.
                        Err(QueryError::Wording(_)) => return Err(QueryError::Final(refusal)),
                        Err(error) => return Err(error),
                    }
                }
                all
            }
            answer => answer?,
        };
        for warning in told {
            let note = format!("the server warns, so samples may be missing: {warning}");
            if warnings.len() < MOST_WARNINGS && !warnings.contains(&note) {
                warnings.push(note);
            }
        }
        Ok(Samples { from, to, series })
    }

    /// Sends a query, and again if it failed in passing.
    async fn patiently(&self, expression: &str, at: f64) -> Result<Answer, QueryError> {
        for wait in WAITS {
            match self.server.query(expression, at).await {
                Err(QueryError::Passing(_)) => {
                    tokio::time::sleep(Duration::from_secs(wait)).await;
                }
                result => return result,
            }
        }
        self.server.query(expression, at).await
    }
}
