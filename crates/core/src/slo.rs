//! Sizes by a promise to the users instead of a threshold of a metric.
//!
//! ```text
//! samples ─> Tracker ─┬─> arrivals ──┬─> trend ─────┐
//!                     ├─> lengths ───┤              v
//!                     ├─> fit ───────┴─> Sizing: smallest number ─> window ─┬─> SloSize
//!                     ├─> feedback ─────────^                               │
//!                     └─> forecasts ─> bursts ──────────────────────────────┘
//! ```
//!
//! Nothing is configured but the promise: the time of an engine's step is fitted online to counters
//! of its page, and the smallest number of replicas that keeps the promise at the rate of arrivals
//! follows in closed form. Every constant is a time, a number of requests or a share, so that
//! scraping or deciding more often changes nothing but the delay.
//!
//! Arrivals are those of the last minute, and carried on over the time that a replica takes to
//! start, as loads have gone on before. What will still wait when it is ready is answered within a
//! minute. Headroom follows from how far such forecasts have been off: a regular load gets little.
//! A fall is followed after a window; what was ordered for a rise that does not go on is cancelled
//! earlier. Sudden changes have rules of their own: a burst orders more than needed and cancels the
//! rest.
//!
//! Reference for the model of a step and the staffing rule: Vidur (arXiv 2405.05465) and Aladdin
//! (arXiv 2405.06856) predict steps by the same terms; Halfin and Whitt, "Heavy-traffic limits for
//! queues with many exponential servers" (1981).

mod arrivals;
mod burst;
mod feedback;
mod fit;
mod forecast;
mod lengths;
mod observation;
mod peak;
mod queue;
mod record;
mod regression;
mod shortage;
mod size;
mod starts;
#[cfg(test)]
mod tests;
mod track;
mod turns;

pub use burst::Burst;
pub use fit::{StepTime, Unfit};
pub use lengths::Lengths;
pub use observation::{EngineSample, ServingState, SloObservation, SloReplica};
pub use record::Learned;
pub use size::{Binding, Margins, SloRole};

use arrivals::{Arrivals, Flow};
use burst::{Bursts, Standing};
use feedback::Feedback;
use fit::Fit;
use forecast::Forecasts;
use lengths::LengthSums;
use peak::Peak;
use queue::Queue;
use size::Sizing;
use starts::Starts;
use track::Tracker;
use turns::Turns;

/// The share of the mean error of forecasts that is added to the arrivals.
const HEADROOM: f64 = 0.53;
/// The window before a scale-down, by the start-up time, and its bounds in seconds. An idle replica
/// may cost as much as the restart that it avoids.
const WINDOW_STARTS: f64 = 2.0;
const WINDOW_MORE: f64 = 60.0;
const WINDOW: (f64, f64) = (300.0, 600.0);
/// The window in which replicas are kept that only a rise has asked for, in seconds: if it does not
/// go on, most of them have not started yet.
const RISING: f64 = 90.0;
/// The age of a sample, by the newest one, from which its replica counts as missing, in seconds.
const MISSING_AFTER: f64 = 30.0;
/// The share of the serving replicas that need samples for a scale-down.
const QUORUM: f64 = 0.8;
/// The age of the newest sample from which nothing is known, in seconds.
const STALE_AFTER: f64 = 120.0;
/// The share of a size that is added for stuck replicas at most.
const REPLACED: f64 = 0.25;

/// The promise of a service to its users, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promise {
    /// The time to first token.
    pub time_to_first_token: f64,
    /// The mean time between two tokens of a request.
    pub inter_token_latency: f64,
}

/// A promise, and the limits of the size that keeps it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SloPolicy {
    /// The promise.
    pub promise: Promise,
    /// The lower limit of the size.
    pub min: u32,
    /// The upper limit of the size.
    pub max: u32,
    /// The share of the requests that may be late.
    pub late: f64,
    /// The share of the arrivals that is added beside the learned headroom.
    pub headroom: f64,
    /// The part of each request that the replicas do.
    pub role: SloRole,
    /// The seconds of the window before a scale-down that the caller applies to the size itself.
    /// Here only the rest of the window is.
    pub stabilized: f64,
}

/// A size, and everything that it follows from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SloSize {
    /// The desired replicas.
    pub replicas: u32,
    /// The smallest number that keeps the promise now.
    pub needed: u32,
    /// The requirement that one replica fewer than needed fails.
    pub binding: Binding,
    /// The requests per second.
    pub arrivals: f64,
    /// The share of them that a rise adds by the time that a new replica is ready.
    pub trend: f64,
    /// The share of both that is added since forecasts have been off.
    pub headroom: f64,
    /// The mean lengths of the requests.
    pub lengths: Lengths,
    /// The time of a step of the engine.
    pub model: StepTime,
    /// The margins that the size keeps.
    pub margins: Margins,
    /// The replicas that are added for those that are clogged or stuck.
    pub replaced: u32,
    /// The burst, while there is one.
    pub burst: Option<Burst>,
    /// The reason why the desired replicas are more than needed now, if they are.
    pub held: Option<SloHold>,
}

/// A reason for more replicas than the load needs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SloHold {
    /// More were needed within the window before a scale-down.
    Window,
    /// Too few of the serving replicas have a fresh sample.
    Samples,
    /// The size has turned from growing to shrinking as often as an hour allows.
    Turns,
}

/// A reason why no size is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NoSize {
    /// There has been no new sample for a while.
    Samples,
    /// Arrivals or lengths are not known yet.
    Arrivals,
    /// The model of the engine cannot be used.
    Model(Unfit),
}

/// The memory of the SLO mode for one target.
#[derive(Clone, Debug, Default)]
pub struct Slo {
    tracker: Tracker,
    arrivals: Arrivals,
    lengths: LengthSums,
    fit: Fit,
    feedback: Feedback,
    starts: Starts,
    forecasts: Forecasts,
    bursts: Bursts,
    /// The highest size of the window by the load as it is, and by what it may rise to.
    peak: Peak,
    rising: Peak,
    turns: Turns,
    /// The smallest KV cache of a replica, in tokens.
    kv_capacity: Option<f64>,
    /// The sequences that a batch can have: the size at which one stayed while requests waited. It
    /// is forgotten when a batch is larger.
    sequences: Option<f64>,
    /// The work of a request in seconds, as of the last step with a model.
    work: Option<f64>,
    queue: Queue,
    /// The time until which late requests are those of a shortage of replicas.
    short_until: f64,
}

impl Slo {
    /// Makes a step: takes the samples over, and returns a size.
    ///
    /// # Errors
    /// Fails where no size is known; the caller then decides by something else.
    pub fn step(
        &mut self,
        observation: &SloObservation,
        policy: &SloPolicy,
    ) -> Result<SloSize, NoSize> {
        self.take(observation, policy.role);
        let end = self.arrivals.end();
        if observation.now - end > STALE_AFTER {
            return Err(NoSize::Samples);
        }
        let model = self.fit.usable().map_err(NoSize::Model)?;
        let lengths = self.lengths.means().ok_or(NoSize::Arrivals)?.of(policy.role);
        let rate = self.arrivals.rate(forecast::MEAN, 0.0, f64::NEG_INFINITY);
        let rate = rate.ok_or(NoSize::Arrivals)?;
        let arrivals = rate.requests.max(0.0);
        let (promise, margins) = (policy.promise, self.feedback.margins());
        let Self { kv_capacity, sequences, .. } = *self;
        let role = policy.role;
        let sizing = Sizing { model, lengths, kv_capacity, sequences, promise, margins, role };
        let work = sizing.work();
        if self.work.replace(work).is_none() {
            // The work of what has arrived before was not known.
            self.bursts.changed_at = end;
        }
        let start = self.starts.time();
        // A new replica meets the load of the time when it is ready; what is known is as old as the
        // samples are.
        let age = observation.now - end;
        let lead = start + age;
        let trend = self.forecasts.trend(&self.arrivals, self.bursts.changed_at, lead);
        let headroom = self.headroom();
        let steady = arrivals * (1.0 + headroom) * (1.0 + policy.headroom);
        let sized = |rate| self.with_backlog(&sizing, rate, lead, observation.queued);
        let (rising, steady) = (steady * (1.0 + trend), sized(steady));
        let needed = if trend > 0.0 { sized(rising) } else { steady };
        if self.is_short(needed.replicas, work, promise, observation) {
            // Requests are late for want of replicas, by no fault of the margins.
            self.feedback.forget(observation.now);
        }
        let clogged = self.clogged(work, start, observation.queued);
        let stuck = self.stuck().min((REPLACED * f64::from(needed.replicas)).ceil() as u32);
        let replaced = clogged.min(needed.replicas) + stuck;
        let calm = needed.replicas.saturating_add(replaced);
        let burst = self.burst(&sizing, observation, policy);
        let steady = steady.replicas.saturating_add(replaced);
        let peak = self.highest(observation.now, (steady, calm), age, policy.stabilized);
        let size = peak.max(burst.map_or(0, |burst| burst.ordered));
        let size = size.clamp(policy.min, policy.max.max(policy.min));
        let is_doubtful = size < observation.requested && !self.has_quorum();
        let size = if is_doubtful { observation.requested } else { size };
        let replicas = self.turns.keep(observation.now, size);
        let held = if is_doubtful {
            Some(SloHold::Samples)
        } else if replicas > size {
            Some(SloHold::Turns)
        } else {
            (peak > calm && burst.is_none()).then_some(SloHold::Window)
        };
        Ok(SloSize {
            replicas,
            needed: needed.replicas,
            binding: needed.binding,
            arrivals,
            trend,
            headroom,
            lengths,
            model,
            margins,
            replaced,
            burst,
            held,
        })
    }

    /// Takes new samples over into everything that is learned.
    fn take(&mut self, observation: &SloObservation, role: SloRole) {
        let now = observation.now;
        self.lengths.begin(now);
        self.fit.begin(now);
        let work = self.work.unwrap_or(0.0);
        let Self { tracker, arrivals, lengths, fit, feedback, starts, queue, sequences, .. } = self;
        let each = |interval: track::Interval| {
            let requests = interval.arrivals;
            let flow = Flow { requests, work: requests * work };
            arrivals.count(interval.from, interval.to, flow);
            lengths.add(&interval);
            if let Some(row) = &interval.row {
                fit.add(row);
            }
            if let Some(late) = interval.late {
                feedback.count(interval.finished, late);
            }
            *sequences = interval.full.or(*sequences);
        };
        tracker.observe(now, &observation.replicas, role, each, |age| starts.learn(age));
        if let Some(growth) = queue.push(now, observation.queued, arrivals.end()) {
            let requests = growth.requests;
            arrivals.count(growth.from, growth.to, Flow { requests, work: requests * work });
        }
        arrivals.begin_expecting();
        for replica in tracker.iter().filter(|it| it.state != ServingState::Terminating) {
            if let Some(latest) = &replica.latest {
                let requests = replica.rate;
                arrivals.expect(latest.at, Flow { requests, work: requests * work });
            }
        }
        let samples = || observation.replicas.iter().filter_map(|replica| replica.sample);
        let largest = samples().map(|sample| sample.running).fold(0.0, f64::max);
        self.sequences = self.sequences.filter(|limit| largest <= *limit);
        let capacities = observation.replicas.iter();
        let capacities = capacities.filter_map(|replica| replica.sample?.kv_capacity);
        self.kv_capacity = capacities.reduce(f64::min).or(self.kv_capacity);
    }

    /// Returns the share of the load that is added by how far forecasts have been off.
    fn headroom(&self) -> f64 {
        HEADROOM * self.forecasts.mean_error()
    }

    /// Returns the highest size of the window before a scale-down, by those without and with what
    /// a rise adds. The window counts from the time that the samples are of.
    fn highest(&mut self, now: f64, sizes: (u32, u32), age: f64, stabilized: f64) -> u32 {
        let start = self.starts.time();
        let window = (WINDOW_STARTS * start + WINDOW_MORE).clamp(WINDOW.0, WINDOW.1);
        let rest = |window: f64| (window - stabilized).max(0.0);
        let steady = self.peak.push(now, sizes.0, rest((window - age).max(start)));
        steady.max(self.rising.push(now, sizes.1, rest(RISING)))
    }

    /// Returns what a burst orders, while there is one, and moves the margins otherwise.
    fn burst(
        &mut self,
        sizing: &Sizing,
        observation: &SloObservation,
        policy: &SloPolicy,
    ) -> Option<Burst> {
        let (now, start) = (observation.now, self.starts.time());
        let start = start + now - self.arrivals.end();
        self.forecasts.compare(&self.arrivals, self.bursts.changed_at, start);
        self.bursts.detect(&self.arrivals, &self.forecasts, start);
        let Some(rate) = self.bursts.rate(&self.arrivals) else {
            self.feedback.judge(now, policy.late);
            return None;
        };
        self.feedback.forget(now);
        let standing = Standing {
            serving: self.count(ServingState::Serving),
            clogged: self.clogged(
                sizing.work(),
                policy.promise.time_to_first_token,
                observation.queued,
            ),
            starting: self.count(ServingState::Starting),
            requested: observation.requested,
            independence: self.starts.independence(),
        };
        let needed = sizing.smallest(rate).replicas;
        Some(self.bursts.order(needed, &standing, &self.arrivals, &self.forecasts))
    }

    fn count(&self, state: ServingState) -> u32 {
        self.tracker.iter().filter(|replica| replica.state == state).count() as u32
    }

    /// Returns whether enough of the serving replicas have a fresh sample.
    fn has_quorum(&self) -> bool {
        let since = self.arrivals.end() - MISSING_AFTER;
        let (mut serving, mut fresh) = (0, 0);
        for replica in self.tracker.iter().filter(|it| it.state == ServingState::Serving) {
            serving += 1;
            let latest = replica.latest.filter(|_| replica.has_reported);
            fresh += i32::from(latest.is_some_and(|latest| latest.at >= since));
        }
        f64::from(fresh) >= QUORUM * f64::from(serving)
    }
}
