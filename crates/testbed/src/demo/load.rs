//! The demo's load: the testbed's own generator for emulated engines, vLLM's own benchmark for real
//! ones.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use llm_autoscaler_testbed::load::Summary;
use llm_autoscaler_testbed::process::{Process, Spec};
use llm_autoscaler_testbed::{Load, LoadGenerator};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::stage::{Stage, vllm_folder};
use super::{EngineKind, Story};

/// The timeout for all answers together.
const TIMEOUT: Duration = Duration::from_mins(15);
/// Progress is printed each time this many more requests are done.
const PROGRESS: usize = 50;

/// A load in progress; dropping it stops it.
pub(super) struct Traffic {
    requests: usize,
    sender: Sender,
}

enum Sender {
    Generator { generator: LoadGenerator, sending: JoinSet<Summary> },
    Benchmark(Process),
}

impl Traffic {
    pub(super) fn start(engine: EngineKind, stage: &Stage, story: &Story) -> Result<Self> {
        let load = Load::default();
        let requests = load.requests;
        let shape = format!(
            "{requests} prompts, {} tokens in and {} out, {} at a time",
            load.input_tokens, load.output_tokens, load.concurrency
        );
        let sender = match engine {
            EngineKind::Emulated => {
                story.log(&format!("load: {shape}"));
                let generator = LoadGenerator::new(&stage.front_url(), load);
                let mut sending = JoinSet::new();
                let running = generator.clone();
                sending.spawn(async move { running.run().await });
                Sender::Generator { generator, sending }
            }
            EngineKind::Vllm => {
                story.log(&format!("load: vLLM's own benchmark, {shape}"));
                story.log(
                    "it takes some 8 s to import its libraries, and sends a test request first",
                );
                Sender::Benchmark(start_benchmark(stage, &load)?)
            }
        };
        Ok(Self { requests, sender })
    }

    /// Prints the progress until all requests are answered, and returns the summary. The
    /// generator's first failure ends it at once; the benchmark reports failures at its end.
    pub(super) async fn finish(&mut self, story: &Story) -> Result<String> {
        let deadline = Instant::now() + TIMEOUT;
        let mut next = PROGRESS;
        loop {
            if let Some(summary) = self.sender.ended()? {
                return Ok(summary);
            }
            let done = self.sender.done(self.requests);
            if done >= next && done < self.requests {
                story.log(&format!("{done} of {} requests are done", self.requests));
                next = (done / PROGRESS + 1) * PROGRESS;
            }
            ensure!(
                Instant::now() < deadline,
                "{done} requests are done after {} s",
                TIMEOUT.as_secs()
            );
            sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Sender {
    fn done(&self, requests: usize) -> usize {
        match self {
            Self::Generator { generator, .. } => generator.done(),
            Self::Benchmark(benchmark) => progress(&output(benchmark), requests),
        }
    }

    /// Returns the summary if all requests are done and succeeded, and an error if one failed.
    fn ended(&mut self) -> Result<Option<String>> {
        match self {
            Self::Generator { generator, sending } => {
                if let Some(failure) = generator.first_failure() {
                    bail!("a request failed: {failure}");
                }
                let summary =
                    sending.try_join_next().transpose().context("running the load generator")?;
                Ok(summary.map(|summary| summary.to_string()))
            }
            Self::Benchmark(benchmark) => {
                let Some(status) = benchmark.exited() else { return Ok(None) };
                let output = output(benchmark);
                ensure!(
                    status.success(),
                    "vLLM's benchmark exited with {status}; the end of its output:\n{}",
                    without_bars(&output)
                );
                Ok(Some(table(&output).to_owned()))
            }
        }
    }
}

fn start_benchmark(stage: &Stage, load: &Load) -> Result<Process> {
    let spec =
        Spec::new("benchmark", vllm_folder()?.join("bench.sh"), stage.dir().join("benchmark.log"))
            .args([stage.front_url()])
            .args(["--num-prompts".to_owned(), load.requests.to_string()])
            .args(["--random-input-len".to_owned(), load.input_tokens.to_string()])
            .args(["--random-output-len".to_owned(), load.output_tokens.to_string()])
            .args(["--max-concurrency".to_owned(), load.concurrency.to_string()])
            .grace(Duration::from_secs(5)); // it removes its files when it is terminated
    Process::start(spec)
}

fn output(benchmark: &Process) -> String {
    String::from_utf8_lossy(&std::fs::read(benchmark.log()).unwrap_or_default()).into_owned()
}

/// Parses the count of the progress bar, which is drawn as `5%|5   | 20/400 [00:08<02:30,
/// 2.5it/s]`.
fn progress(output: &str, requests: usize) -> usize {
    let Some((before, _)) = output.rsplit_once(&format!("/{requests} [")) else { return 0 };
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Returns the summary, which is framed by lines of `=`; all of the output if there is no frame.
fn table(output: &str) -> &str {
    let start = output.find("============ Serving Benchmark Result").unwrap_or(0);
    let table = &output[start..];
    let end = table.find("\n=====").and_then(|end| Some(end + 1 + table[end + 1..].find('\n')?));
    &table[..end.unwrap_or(table.len())]
}

/// Returns the last lines. Of lines that a progress bar has overwritten, only the final state
/// remains.
fn without_bars(output: &str) -> String {
    let lines: Vec<_> =
        output.lines().map(|line| line.rsplit('\r').next().unwrap_or_default()).collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAR: &str = "Burstiness factor: 1.0\n  0%|   | 0/400 [00:00<?, ?it/s]\r 30%|##  | 120/400 [00:48<01:52, 2.5it/s]";

    #[test]
    fn progress_is_read_from_the_last_bar() {
        for (output, done) in [("", 0), ("Namespace(num_prompts=400)", 0), (BAR, 120)] {
            assert_eq!(progress(output, 400), done, "{output}");
        }
    }

    #[test]
    fn the_table_is_cut_out_of_the_benchmarks_output() {
        let summary = "============ Serving Benchmark Result ============\nSuccessful requests:   400\n==================================================";
        let output = format!("{BAR}\n{summary}\nvLLM: bye\n");
        assert_eq!(table(&output), summary);
        assert_eq!(table("no table\n"), "no table\n");
    }

    #[test]
    fn only_the_last_state_of_a_bar_remains() {
        let left = " 30%|##  | 120/400 [00:48<01:52, 2.5it/s]";
        assert_eq!(without_bars(BAR), format!("Burstiness factor: 1.0\n{left}"));
    }
}
