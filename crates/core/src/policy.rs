//! The policy: a spec after validation, with every default filled in. Its fields are public; build
//! it once and keep it.

use chrono::TimeDelta;

use crate::{profile::Profile, units::Milli};

/// The input of a decision that a person has written or a default has filled in.
///
/// ```
/// use llm_autoscaler_core::{
///     MetricKind, MetricPolicy, Milli, Policy, Profile, Settings, Target, Tolerances,
/// };
///
/// // 1 to 10 replicas, with a mean of 5 waiting requests each.
/// let policy = Policy {
///     min_replicas: 1,
///     max_replicas: 10,
///     metrics: vec![MetricPolicy {
///         kind: MetricKind::PerReplica,
///         target: Target::AverageValue(Milli::whole(5)),
///     }],
///     tolerance: Tolerances { down: 0.1, up: 0.1 },
///     behavior: None,
///     to_zero: None,
///     fallback: None,
///     profile: Profile::Default,
///     settings: Settings::HPA,
/// };
/// assert!(!policy.can_leave_zero(), "at zero replicas no replica reports waiting requests");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The lower bound in replicas; 0 is possible with an object or external metric, or with
    /// `to_zero`.
    pub min_replicas: i32,
    /// The upper bound in replicas.
    pub max_replicas: i32,
    /// The metrics in the order of the spec; the highest proposal wins.
    pub metrics: Vec<MetricPolicy>,
    /// The distance of the ratio of usage to target from 1 that changes nothing.
    pub tolerance: Tolerances,
    /// The stabilization windows and rate policies; `None` is the HPA's older rule for a spec
    /// without `behavior`.
    pub behavior: Option<Behavior>,
    /// The rule for scaling to zero and back on a wake call, which the HPA does not have. `None` is
    /// the HPA's rule: with `min_replicas` 0, at once, if an object or external metric can scale up
    /// again.
    pub to_zero: Option<ToZero>,
    /// The size for a time without metrics; `None`, as with the HPA, keeps the current size.
    pub fallback: Option<Fallback>,
    /// The profile: the HPA's decisions to the bit, or with our deviations.
    pub profile: Profile,
    /// The settings that a cluster administrator makes on the controller.
    pub settings: Settings,
}

/// The rule for scaling a target to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToZero {
    /// The time for which the target must be idle (no load and no wake calls) before it goes to
    /// zero.
    pub after: TimeDelta,
}

/// The size for a time in which every metric fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The time for which every metric must have failed.
    pub after: TimeDelta,
    /// The number of replicas; a larger current size stays.
    pub replicas: i32,
}

/// A metric and its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricPolicy {
    /// The kind of the metric's values.
    pub kind: MetricKind,
    /// The target that they are compared with.
    pub target: Target,
}

/// The kind of a metric's values, in the terms of `autoscaling/v2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A sample for each replica (`type: Pods`).
    PerReplica,
    /// A value that describes one object (`type: Object`).
    Object,
    /// A list of values that belong to no object of the cluster (`type: External`).
    External,
    /// A value computed over all replicas; the HPA has no such kind.
    Pooled,
}

/// The target of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A target for the value as it is; the proposal is value ÷ target × ready replicas.
    Value(Milli),
    /// A target for the value per replica.
    AverageValue(Milli),
    /// No target: the HPA accepts such a spec and fails at this metric.
    Missing,
}

/// The tolerated distances of the ratio of usage to target from 1, both ends included: 0.1
/// tolerates ratios from 0.9 and up to 1.1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerances {
    /// The distance below 1, for scale-down; from 0.
    pub down: f64,
    /// The distance above 1, for scale-up; from 0.
    pub up: f64,
}

/// `spec.behavior`, with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behavior {
    /// The rules for scale-up.
    pub scale_up: Rules,
    /// The rules for scale-down.
    pub scale_down: Rules,
}

/// The scaling rules of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The stabilization window.
    pub window: TimeDelta,
    /// The rule that selects one of the policies.
    pub select: Select,
    /// The rate policies.
    pub policies: Vec<RatePolicy>,
}

/// The rule that selects one of a direction's rate policies (`selectPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// The policy that allows the largest change applies.
    Max,
    /// The policy that allows the smallest change applies.
    Min,
    /// Scaling in this direction is disabled.
    Disabled,
}

/// A limit on the rate of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RatePolicy {
    /// The change that is allowed within one period.
    pub amount: Amount,
    /// The length of the period.
    pub period: TimeDelta,
}

/// The change that a [`RatePolicy`] allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// A number of replicas (`type: Pods`).
    Replicas(i32),
    /// A percentage of the replicas at the start of the period (`type: Percent`).
    Percent(i32),
}

/// The settings of the controller, which apply to all specs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// The scale-down window of a spec without `behavior`
    /// (`--horizontal-pod-autoscaler-downscale-stabilization`).
    pub downscale_stabilization: TimeDelta,
    /// The factor by which a spec without `behavior` may grow at once (or to 4 replicas, if that is
    /// more).
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
    /// Returns rules with the periods that
    /// [`Deviation::GrowthByTime`](crate::Deviation::GrowthByTime) needs for a spec without
    /// `behavior`: scale events of the last 15 s count.
    pub(crate) fn legacy() -> Self {
        let window = TimeDelta::zero();
        Self { scale_up: Rules::default_scale_up(), scale_down: Rules::default_scale_down(window) }
    }

    /// Returns the longest period of the policies of both directions.
    pub(crate) fn longest_period(&self) -> TimeDelta {
        self.scale_up.longest_period().max(self.scale_down.longest_period())
    }
}

impl Rules {
    /// Returns the HPA's default for scale-up: no window, and within 15 s 4 replicas or 100 %,
    /// whichever is more (`defaultHPAScaleUpRules` in `pkg/apis/autoscaling/v2/defaults.go`).
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

    /// Returns the HPA's default for scale-down: this window, and within 15 s 100 %, which is no
    /// limit (`defaultHPAScaleDownRules` in `pkg/apis/autoscaling/v2/defaults.go`).
    pub fn default_scale_down(window: TimeDelta) -> Self {
        let period = TimeDelta::seconds(15);
        Self {
            window,
            select: Select::Max,
            policies: vec![RatePolicy { amount: Amount::Percent(100), period }],
        }
    }

    /// Returns the longest period of the policies; zero without policies.
    pub fn longest_period(&self) -> TimeDelta {
        self.policies.iter().map(|policy| policy.period).max().unwrap_or_default()
    }
}

impl MetricKind {
    /// Returns whether the values come from the replicas themselves.
    pub(crate) fn is_from_replicas(self) -> bool {
        matches!(self, Self::PerReplica | Self::Pooled)
    }
}

impl Policy {
    /// Returns whether the target can be scaled up from zero: by an object or external metric, or
    /// by the wake calls of [`ToZero`]. Metrics of the replicas cannot, because at zero there are
    /// none.
    pub fn can_leave_zero(&self) -> bool {
        self.to_zero.is_some() || self.metrics.iter().any(|metric| !metric.kind.is_from_replicas())
    }

    /// Returns whether the target may be scaled to zero: no replica is required, and something can
    /// scale it up again.
    pub fn may_be_at_zero(&self) -> bool {
        self.min_replicas == 0 && self.can_leave_zero()
    }

    /// Returns the longest stabilization window of both directions.
    pub(crate) fn longest_window(&self) -> TimeDelta {
        match &self.behavior {
            Some(behavior) => behavior.scale_up.window.max(behavior.scale_down.window),
            None => self.settings.downscale_stabilization,
        }
    }
}
