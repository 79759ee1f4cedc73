//! What is wanted: the validated, resolved form of a spec. Fields are public; build it once, keep it.

use chrono::TimeDelta;

use crate::{Milli, Profile};

/// Everything that a decision depends on and that a person has written (or a default has filled in).
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Lower bound in replicas; 0 is possible with an object or external metric.
    pub min_replicas: i32,
    /// Upper bound in replicas.
    pub max_replicas: i32,
    /// The metrics in the order of the spec; the highest proposal wins.
    pub metrics: Vec<MetricPolicy>,
    /// How far the ratio of usage to target may be from 1 without a move.
    pub tolerance: Tolerances,
    /// Windows and rate policies; `None` is the HPA's legacy path of a spec without `behavior`.
    pub behavior: Option<Behavior>,
    /// Whether and when the target goes to zero, and that something wakes it; ours. `None` is the HPA's rule: with
    /// `min_replicas` 0 at once, where an outside metric can say when to come back.
    pub to_zero: Option<ToZero>,
    /// What is asked for once no metric has been there for a while; `None`, as with the HPA, holds what there is.
    pub fallback: Option<Fallback>,
    /// Whether decisions are the HPA's to the bit, or ours.
    pub profile: Profile,
    /// What a cluster administrator sets on the controller.
    pub settings: Settings,
}

/// When a target goes to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToZero {
    /// For how long nothing must have been asked for.
    pub after: TimeDelta,
}

/// How many replicas are to be there when nobody knows how many are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// For how long every metric must have failed.
    pub after: TimeDelta,
    /// At least so many; never fewer than there are.
    pub replicas: i32,
}

/// One metric and its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricPolicy {
    /// Whose values it is made of.
    pub kind: MetricKind,
    /// What it is compared with.
    pub target: Target,
}

/// Where a metric's value comes from, in the terms of `autoscaling/v2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// One sample per replica (`type: Pods`).
    PerReplica,
    /// One value that describes one object (`type: Object`).
    Object,
    /// A list of values that belong to no object of the cluster (`type: External`).
    External,
    /// One value that is made of all replicas together; ours.
    Pooled,
}

/// The target of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The value as it is; the answer is ratio × ready replicas.
    Value(Milli),
    /// The value divided by the number of replicas.
    AverageValue(Milli),
    /// Neither was given: the HPA accepts such a spec and fails at this metric.
    Missing,
}

/// How far the ratio may go below and above 1, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerances {
    /// For scale-down.
    pub down: f64,
    /// For scale-up.
    pub up: f64,
}

/// `spec.behavior`, with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behavior {
    /// Rules for growing.
    pub scale_up: Rules,
    /// Rules for shrinking.
    pub scale_down: Rules,
}

/// The rules of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The stabilization window.
    pub window: TimeDelta,
    /// Which of the policies counts.
    pub select: Select,
    /// The rate policies.
    pub policies: Vec<RatePolicy>,
}

/// Which policy of a direction counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// The one that allows the largest change.
    Max,
    /// The one that allows the smallest change.
    Min,
    /// None: this direction is switched off.
    Disabled,
}

/// How fast the number of replicas may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RatePolicy {
    /// The change that is allowed in one period.
    pub amount: Amount,
    /// The length of the period.
    pub period: TimeDelta,
}

/// The change that a [`RatePolicy`] allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// A number of replicas (`type: Pods`).
    Replicas(i32),
    /// A share of the replicas at the start of the period (`type: Percent`).
    Percent(i32),
}

/// Settings of the controller, not of a spec. [`Settings::HPA`] are those of kube-controller-manager.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The legacy path's scale-down window (`--horizontal-pod-autoscaler-downscale-stabilization`).
    pub downscale_stabilization: TimeDelta,
    /// The legacy path never grows beyond this factor at once, or 4 replicas.
    pub scale_up_limit_factor: f64,
    /// The feature gate `HPAScaleToZero`.
    pub scale_to_zero: bool,
}

impl Settings {
    /// The defaults of kube-controller-manager 1.37.
    pub const HPA: Self = Self {
        downscale_stabilization: TimeDelta::seconds(300),
        scale_up_limit_factor: 2.0,
        scale_to_zero: true,
    };
}

impl Behavior {
    /// What the limits of a spec without `behavior` look back on: the changes of the last 15 s.
    pub(crate) fn legacy() -> Self {
        let none = TimeDelta::zero();
        Self { scale_up: Rules::default_scale_up(), scale_down: Rules::default_scale_down(none) }
    }
}

impl Rules {
    /// Scale up at once; per 15 s by 4 replicas or to the double, whichever is more.
    pub fn default_scale_up() -> Self {
        let period = TimeDelta::seconds(15);
        Self {
            window: TimeDelta::zero(),
            select: Select::Max,
            policies: vec![
                RatePolicy { amount: Amount::Replicas(4), period },
                RatePolicy { amount: Amount::Percent(100), period },
            ],
        }
    }

    /// Scale down to the highest recommendation of the window, without a limit of rate.
    pub fn default_scale_down(window: TimeDelta) -> Self {
        let period = TimeDelta::seconds(15);
        Self {
            window,
            select: Select::Max,
            policies: vec![RatePolicy { amount: Amount::Percent(100), period }],
        }
    }

    /// The longest period of the policies; older scale events are of no use.
    pub fn longest_period(&self) -> TimeDelta {
        self.policies.iter().map(|policy| policy.period).max().unwrap_or_default()
    }
}

impl Policy {
    /// Whether zero replicas can be left: by a metric from outside, because at zero samples of replicas say nothing, or by
    /// whatever [`ToZero`] relies on.
    pub fn can_leave_zero(&self) -> bool {
        let outside = |kind| matches!(kind, MetricKind::Object | MetricKind::External);
        self.to_zero.is_some() || self.metrics.iter().any(|metric| outside(metric.kind))
    }
}
