//! The state of a fleet over time, and the changes of its size.

use llm_autoscaler_sim::Finished;
use serde::Serialize;

use crate::{fleet::States, sketch::Sketch};

/// The interval of the timeline in seconds, and that of runs that are longer than [`LONG`].
const INTERVALS: (f64, f64) = (15.0, 60.0);
/// The length of a long run in seconds: six hours.
const LONG: f64 = 21_600.0;

/// The state of the fleet at one moment. Latencies are those of the requests that ended since the
/// moment before; they are absent if there was none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moment {
    /// The seconds since the end of the warm-up.
    pub t: f64,
    /// The requests that arrived since the moment before.
    pub arrivals: u64,
    /// The work that they brought, in replicas that would be busy all the time.
    pub load: f64,
    /// The requested size.
    pub requested: u32,
    /// The replicas that serve.
    pub serving: u32,
    /// The replicas that start.
    pub starting: u32,
    /// The replicas on their way out: out of service, or terminating.
    pub draining: u32,
    /// The running requests.
    pub running: u64,
    /// The waiting requests, those of the gateway included.
    pub waiting: u64,
    /// The median time to first token, in seconds.
    pub ttft_p50: Option<f64>,
    /// The 99th percentile of it.
    pub ttft_p99: Option<f64>,
    /// The median over requests of their mean time between tokens, in seconds.
    pub itl_p50: Option<f64>,
    /// The 99th percentile of it.
    pub itl_p99: Option<f64>,
}

/// A change of the requested size, and the state in which it was decided.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SizeChange {
    /// The seconds since the end of the warm-up.
    pub t: f64,
    /// The size before.
    pub from: u32,
    /// The size that was written.
    pub to: u32,
    /// The replicas that served.
    pub serving: u32,
    /// The running requests.
    pub running: u64,
    /// The waiting requests, those of the gateway included.
    pub waiting: u64,
    /// The reason, if the policy states one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The state of a fleet as the timeline records it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FleetState {
    pub(crate) requested: u32,
    pub(crate) states: States,
    pub(crate) running: u64,
    pub(crate) waiting: u64,
}

/// The timeline of a run, while it goes on.
#[derive(Debug)]
pub(crate) struct Timeline {
    interval: f64,
    counted_from: f64,
    pub(crate) next_at: f64,
    arrivals: u64,
    work: f64,
    ttft: Sketch,
    itl: Sketch,
    pub(crate) moments: Vec<Moment>,
    pub(crate) changes: Vec<SizeChange>,
}

impl Timeline {
    pub(crate) fn new(counted_from: f64, ends_at: f64) -> Self {
        let is_long = ends_at - counted_from > LONG;
        Self {
            interval: if is_long { INTERVALS.1 } else { INTERVALS.0 },
            counted_from,
            next_at: 0.0,
            arrivals: 0,
            work: 0.0,
            ttft: Sketch::default(),
            itl: Sketch::default(),
            moments: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Counts a request with its work in replica-seconds.
    pub(crate) fn record_arrival(&mut self, work: f64) {
        self.arrivals += 1;
        self.work += work;
    }

    pub(crate) fn record_finish(&mut self, finished: &Finished) {
        self.ttft.observe(finished.time_to_first_token());
        if let Some(itl) = finished.inter_token_latency() {
            self.itl.observe(itl);
        }
    }

    pub(crate) fn record_change(
        &mut self,
        now: f64,
        to: u32,
        state: FleetState,
        why: Option<String>,
    ) {
        if now < self.counted_from {
            return;
        }
        let FleetState { requested, states, running, waiting } = state;
        let (t, serving) = (now - self.counted_from, states.serving);
        self.changes.push(SizeChange { t, from: requested, to, serving, running, waiting, why });
    }

    /// Records a moment, if it is after the warm-up.
    pub(crate) fn record_moment(&mut self, now: f64, state: FleetState) {
        self.next_at += self.interval;
        if now >= self.counted_from {
            let (ttft, itl) = (&self.ttft, &self.itl);
            self.moments.push(Moment {
                t: now - self.counted_from,
                arrivals: self.arrivals,
                load: self.work / self.interval,
                requested: state.requested,
                serving: state.states.serving,
                starting: state.states.starting,
                draining: state.states.draining,
                running: state.running,
                waiting: state.waiting,
                ttft_p50: ttft.quantile(0.5),
                ttft_p99: ttft.quantile(0.99),
                itl_p50: itl.quantile(0.5),
                itl_p99: itl.quantile(0.99),
            });
        }
        (self.arrivals, self.work) = (0, 0.0);
        self.ttft.clear();
        self.itl.clear();
    }
}

#[cfg(test)]
mod tests {
    use llm_autoscaler_sim::Job;

    use super::*;

    const STATE: FleetState = FleetState {
        requested: 3,
        states: States { serving: 2, starting: 1, draining: 0 },
        running: 7,
        waiting: 5,
    };

    #[test]
    fn a_moment_has_the_requests_since_the_one_before() {
        let job = Job {
            arrived_at: 1.0,
            first_token_at: None,
            prompt_tokens: 10,
            prefill_tokens: 10,
            output_tokens: 11,
            ends_with_prefill: false,
        };
        let mut timeline = Timeline::new(15.0, 300.0);
        timeline.record_arrival(100.0);
        timeline.record_moment(0.0, STATE);
        assert!(timeline.moments.is_empty(), "a moment of the warm-up");
        timeline.record_arrival(30.0);
        timeline.record_finish(&Finished { job, first_token_at: 3.0, finished_at: 4.0 });
        timeline.record_moment(15.0, STATE);
        timeline.record_moment(30.0, STATE);
        let [first, second] = timeline.moments[..] else { panic!("{:?}", timeline.moments) };
        assert_eq!((first.t, first.arrivals, first.load), (0.0, 1, 2.0));
        assert!((first.ttft_p99.unwrap() / 2.0 - 1.0).abs() < 0.01, "{first:?}");
        assert!((first.itl_p50.unwrap() / 0.1 - 1.0).abs() < 0.01, "{first:?}");
        assert_eq!((second.t, second.arrivals, second.ttft_p50), (15.0, 0, None));
        assert!((timeline.next_at - 45.0).abs() < 1e-9);
    }

    #[test]
    fn long_runs_have_a_moment_a_minute() {
        for (ends_at, expected) in [(21_615.0, 15.0), (21_616.0, 60.0)] {
            let mut timeline = Timeline::new(15.0, ends_at);
            timeline.record_moment(0.0, STATE);
            assert!((timeline.next_at - expected).abs() < 1e-9, "{ends_at}");
        }
    }

    #[test]
    fn a_change_has_its_state_and_none_is_of_the_warm_up() {
        let mut timeline = Timeline::new(15.0, 300.0);
        timeline.record_change(14.0, 4, STATE, None);
        timeline.record_change(20.0, 5, STATE, Some("why".to_owned()));
        let [change] = &timeline.changes[..] else { panic!("{:?}", timeline.changes) };
        assert_eq!((change.t, change.from, change.to, change.serving), (5.0, 3, 5, 2));
        assert_eq!(change.why.as_deref(), Some("why"));
    }
}
