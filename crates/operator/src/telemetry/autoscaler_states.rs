//! The metrics of autoscalers: how many have which condition, and on demand the sizes of each.
//!
//! They are made from the latest states whenever the page is read, so that nothing is counted twice
//! and an autoscaler that is gone leaves no series.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use llm_autoscaler_api::conditions::{ConditionType, Reason, status_text};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use crate::lock::lock;

/// Where each autoscaler has series of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Only totals.
    #[default]
    Totals,
    /// The sizes and conditions of each autoscaler too.
    EachAutoscaler,
}

/// The sizes of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetSizes {
    /// The name of the target, or of its role.
    pub name: String,
    /// The replicas in its spec when the last decision was made.
    pub current: i32,
    /// The replicas that the last decision asks for.
    pub desired: i32,
    /// The replicas that serve.
    pub ready: i32,
    /// The highest proposal of the metrics; `None` where the last decision had none.
    pub proposed: Option<i32>,
    /// The bounds of the spec: the smallest number of replicas, and the largest.
    pub bounds: (i32, i32),
}

/// A condition of an autoscaler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConditionState {
    /// The type.
    pub type_: ConditionType,
    /// True if it holds.
    pub holds: bool,
    /// The reason.
    pub reason: Reason,
}

/// The latest state of an autoscaler.
#[derive(Debug)]
struct State {
    namespace: Arc<str>,
    name: Arc<str>,
    conditions: Vec<ConditionState>,
    targets: Vec<TargetSizes>,
}

/// The latest states of all autoscalers. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct AutoscalerStates {
    detail: Detail,
    /// A state is replaced as a whole, so that no step waits while a page is made of them.
    states: Arc<Mutex<HashMap<u64, Arc<State>>>>,
    last: Arc<AtomicU64>,
}

/// The state of one autoscaler in the metrics, until dropped.
#[derive(Debug)]
pub(crate) struct StateEntry {
    all: AutoscalerStates,
    id: u64,
    namespace: Arc<str>,
    name: Arc<str>,
}

impl AutoscalerStates {
    /// Begins without autoscalers.
    pub(super) fn new(detail: Detail) -> Self {
        Self { detail, ..Self::default() }
    }

    /// Adds an autoscaler, of which nothing is known yet.
    pub(super) fn add(&self, namespace: String, name: String) -> StateEntry {
        let id = self.last.fetch_add(1, Ordering::Relaxed);
        StateEntry { all: self.clone(), id, namespace: namespace.into(), name: name.into() }
    }
}

impl StateEntry {
    /// Replaces the state. The targets are asked for only where each autoscaler has its series.
    pub(crate) fn set(
        &self,
        conditions: impl Iterator<Item = ConditionState>,
        targets: impl Iterator<Item = TargetSizes>,
    ) {
        let has_targets = self.all.detail == Detail::EachAutoscaler;
        let state = State {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            conditions: conditions.collect(),
            targets: if has_targets { targets.collect() } else { Vec::new() },
        };
        lock(&self.all.states).insert(self.id, Arc::new(state));
    }
}

impl Drop for StateEntry {
    fn drop(&mut self) {
        lock(&self.all.states).remove(&self.id);
    }
}

/// Encodes a gauge.
struct GaugeEncoder<'a>(DescriptorEncoder<'a>);

impl GaugeEncoder<'_> {
    /// Encodes one gauge with its series.
    fn encode<'s, const N: usize>(
        &mut self,
        (name, help): (&str, &str),
        series: impl Iterator<Item = ([(&'static str, &'s str); N], i64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in series {
            ConstGauge::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Collector for AutoscalerStates {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let states: Vec<Arc<State>> = lock(&self.states).values().cloned().collect();
        let mut encoder = GaugeEncoder(encoder);
        let mut counts: BTreeMap<ConditionState, i64> = BTreeMap::new();
        for condition in states.iter().flat_map(|state| &state.conditions) {
            *counts.entry(*condition).or_default() += 1;
        }
        let help = "LLMAutoscalers with this condition, by type, status and reason";
        encoder.encode(
            ("conditions", help),
            counts.iter().map(|(condition, count)| (condition.labels(), *count)),
        )?;
        match self.detail {
            Detail::Totals => Ok(()),
            Detail::EachAutoscaler => encode_each(&states, &mut encoder),
        }
    }
}

impl ConditionState {
    fn labels(self) -> [(&'static str, &'static str); 3] {
        [
            ("type", self.type_.as_str()),
            ("status", status_text(self.holds)),
            ("reason", self.reason.as_str()),
        ]
    }
}

/// The names and helps of the sizes, and how each is read.
type SizeGauge = (&'static str, &'static str, fn(&TargetSizes) -> Option<i32>);

const SIZES: [SizeGauge; 6] = [
    ("current_replicas", "Replicas that the target requests", |sizes| Some(sizes.current)),
    ("desired_replicas", "Replicas that the last decision asks for", |sizes| Some(sizes.desired)),
    ("ready_replicas", "Replicas of the target that serve", |sizes| Some(sizes.ready)),
    (
        "proposed_replicas",
        "The highest proposal of the metrics, before windows and limits",
        |sizes| sizes.proposed,
    ),
    ("min_replicas", "The smallest number of replicas in the spec", |sizes| Some(sizes.bounds.0)),
    ("max_replicas", "The largest number of replicas in the spec", |sizes| Some(sizes.bounds.1)),
];

/// Encodes the sizes of each target, and the conditions that are worth pointing out.
fn encode_each(states: &[Arc<State>], encoder: &mut GaugeEncoder<'_>) -> fmt::Result {
    for (name, help, size) in SIZES {
        let targets = states.iter().flat_map(|state| {
            state.targets.iter().filter_map(move |target| Some((state, target, size(target)?)))
        });
        let series = targets.map(|(state, target, size)| {
            let of = [
                ("namespace", &*state.namespace),
                ("name", &*state.name),
                ("target", &*target.name),
            ];
            (of, i64::from(size))
        });
        encoder.encode((name, help), series)?;
    }
    let unusual = states.iter().flat_map(|state| {
        let conditions = state.conditions.iter();
        let unusual =
            conditions.filter(|condition| condition.holds != condition.type_.usual_status());
        unusual.map(move |condition| {
            let [type_, holds, reason] = condition.labels();
            let of = [("namespace", &*state.namespace), ("name", &*state.name)];
            ([of[0], of[1], type_, holds, reason], 1)
        })
    });
    let help = "1 for each condition of an LLMAutoscaler that a person should look at";
    encoder.encode(("condition", help), unusual)
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text, registry::Registry};

    use super::*;

    fn page(states: &AutoscalerStates) -> String {
        let (mut registry, mut page) = (Registry::default(), String::new());
        registry.register_collector(Box::new(states.clone()));
        text::encode(&mut page, &registry).unwrap();
        page
    }

    fn state(type_: ConditionType, holds: bool, reason: Reason) -> ConditionState {
        ConditionState { type_, holds, reason }
    }

    fn sizes() -> TargetSizes {
        let (name, proposed) = ("qwen3".to_owned(), None);
        TargetSizes { name, current: 2, desired: 3, ready: 1, proposed, bounds: (1, 8) }
    }

    #[test]
    fn conditions_are_counted_until_their_autoscaler_is_gone() {
        let states = AutoscalerStates::default();
        let entries = ["a", "b"].map(|name| states.add("team-a".to_owned(), name.to_owned()));
        let ready = state(ConditionType::Ready, true, Reason::Scaling);
        for entry in &entries {
            entry.set([ready].into_iter(), [sizes()].into_iter());
        }
        let series = r#"conditions{type="Ready",status="True",reason="Scaling"}"#;
        assert!(page(&states).contains(&format!("{series} 2\n")), "{}", page(&states));
        let [first, second] = entries;
        first.set(
            [state(ConditionType::Ready, false, Reason::NoSignal)].into_iter(),
            [].into_iter(),
        );
        assert!(page(&states).contains(&format!("{series} 1\n")));
        drop(first);
        assert!(!page(&states).contains("NoSignal"));
        drop(second);
        assert!(!page(&states).contains("Scaling"));
        assert!(!page(&states).contains("team-a"), "totals name no autoscaler");
    }

    #[test]
    fn each_autoscaler_has_its_sizes_and_unusual_conditions_on_demand() {
        let states = AutoscalerStates::new(Detail::EachAutoscaler);
        let entry = states.add("team-a".to_owned(), "a".to_owned());
        let conditions = [
            state(ConditionType::Ready, true, Reason::Scaling),
            state(ConditionType::ScalingLimited, true, Reason::TooManyReplicas),
        ];
        entry.set(conditions.into_iter(), [sizes()].into_iter());
        let page = page(&states);
        let of = r#"namespace="team-a",name="a""#;
        let target = r#"target="qwen3""#;
        for expected in [
            format!("current_replicas{{{of},{target}}} 2\n"),
            format!("desired_replicas{{{of},{target}}} 3\n"),
            format!("ready_replicas{{{of},{target}}} 1\n"),
            format!("max_replicas{{{of},{target}}} 8\n"),
            format!(
                "condition{{{of},type=\"ScalingLimited\",status=\"True\",\
                 reason=\"TooManyReplicas\"}} 1\n"
            ),
        ] {
            assert!(page.contains(&expected), "{expected} {page}");
        }
        assert!(!page.contains("proposed_replicas{"), "a number that is not known has no series");
        assert!(!page.contains(&format!("condition{{{of},type=\"Ready\"")), "{page}");
    }
}
