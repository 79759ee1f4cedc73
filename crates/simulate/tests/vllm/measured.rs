//! Requests to one replica at one rate, and what became of them.

use std::path::Path;

use llm_autoscaler_sim::{Finished, Job, Replica};
use llm_autoscaler_simulate::EngineProfile;
use serde::Deserialize;

/// The engine of a setting, with the time and the place of the measurement.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct About {
    pub(crate) date: String,
    pub(crate) version: String,
    pub(crate) machine: String,
    pub(crate) step_seconds: f64,
    /// The requests per second of a burst.
    pub(crate) capacity: f64,
}

/// A request, and its latencies in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) at: f64,
    pub(crate) prompt_tokens: u32,
    pub(crate) output_tokens: u32,
    pub(crate) ttft: f64,
    pub(crate) itl: f64,
}

/// The running and the waiting requests at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gauges {
    pub(crate) second: f64,
    pub(crate) running: f64,
    pub(crate) waiting: f64,
}

/// A run at one rate.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// The rate as percents of the capacity.
    pub(crate) share: u32,
    pub(crate) requests: Vec<Request>,
    pub(crate) gauges: Vec<Gauges>,
}

impl About {
    pub(crate) fn read(folder: &Path) -> Self {
        serde_json::from_str(&std::fs::read_to_string(folder.join("about.json")).unwrap()).unwrap()
    }
}

impl Run {
    /// Reads the run of a real engine.
    pub(crate) fn read(folder: &Path, share: u32) -> Self {
        let requests = table(&folder.join(format!("{share}.csv"))).into_iter().map(|row| {
            let [at, prompt, output, ttft, itl] = row[..] else { panic!("{row:?}") };
            let (prompt_tokens, output_tokens) = (prompt as u32, output as u32);
            Request { at, prompt_tokens, output_tokens, ttft, itl }
        });
        let gauges = table(&folder.join(format!("{share}.gauges.csv"))).into_iter().map(|row| {
            let [second, running, waiting] = row[..] else { panic!("{row:?}") };
            Gauges { second, running, waiting }
        });
        Self { share, requests: requests.collect(), gauges: gauges.collect() }
    }

    /// Returns what the model makes of the same requests, with the gauges of the same times.
    pub(crate) fn modelled(&self, profile: &EngineProfile) -> Self {
        let mut replica = Replica::new(profile.replica());
        let (mut finished, mut gauges) = (Vec::new(), Vec::new());
        let mut requests = self.requests.iter().peekable();
        let mut submit = |replica: &mut Replica, finished: &mut Vec<Finished>, until: f64| {
            while let Some(request) = requests.next_if(|request| request.at <= until) {
                replica.advance(request.at, finished);
                replica.synchronize(request.at);
                assert!(replica.submit(request.at, request.job()), "{request:?}");
            }
        };
        for Gauges { second, .. } in &self.gauges {
            submit(&mut replica, &mut finished, *second);
            replica.advance(*second, &mut finished);
            replica.synchronize(*second);
            let of_model = replica.gauges();
            let (running, waiting) = (of_model.running as f64, of_model.waiting as f64);
            gauges.push(Gauges { second: *second, running, waiting });
        }
        submit(&mut replica, &mut finished, f64::MAX);
        replica.advance(f64::MAX, &mut finished);
        finished.sort_by(|one, other| one.job.arrived_at.total_cmp(&other.job.arrived_at));
        assert_eq!(finished.len(), self.requests.len());
        let requests = finished.iter().map(Request::of_model).collect();
        Self { share: self.share, requests, gauges }
    }

    /// Returns a quantity of each request.
    pub(crate) fn each(&self, of: fn(&Request) -> f64) -> Vec<f64> {
        self.requests.iter().map(of).collect()
    }
}

impl Request {
    fn job(&self) -> Job {
        Job {
            arrived_at: self.at,
            first_token_at: None,
            prompt_tokens: self.prompt_tokens,
            prefill_tokens: self.prompt_tokens,
            output_tokens: self.output_tokens,
            ends_with_prefill: false,
        }
    }

    fn of_model(finished: &Finished) -> Self {
        Self {
            at: finished.job.arrived_at,
            prompt_tokens: finished.job.prompt_tokens,
            output_tokens: finished.job.output_tokens,
            ttft: finished.time_to_first_token(),
            itl: finished.inter_token_latency().unwrap(),
        }
    }
}

/// Reads the numbers of a table below its head.
fn table(file: &Path) -> Vec<Vec<f64>> {
    let text = std::fs::read_to_string(file).unwrap();
    let numbers = |line: &str| line.split(',').map(|number| number.parse().unwrap()).collect();
    text.lines().skip(1).map(numbers).collect()
}

pub(crate) fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

/// Returns the nearest-rank percentile.
pub(crate) fn percentile(mut numbers: Vec<f64>, percent: f64) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * numbers.len() as f64).ceil() as usize;
    numbers[rank.max(1) - 1]
}
