//! Never down on doubt, from answers of sources to the plan of a step.

use llm_autoscaler_api::workloads::{GroupSize, ReportingPods};
use llm_autoscaler_core::{
    Config, DrainObservation, Mode, Monotonic, Now, RoleConfig, RoleMemory, RoleObservation,
    WriteBlock, plan,
};
use proptest::prelude::*;

use super::*;

/// The target of the metric, per replica.
const PER_REPLICA: f64 = 10.0;

/// The fate of an answer that was beyond doubt.
#[derive(Clone, Copy, Debug)]
enum Loss {
    None,
    /// The sample becomes older, and is not stale yet.
    Aged,
    Doubtful,
    Stale,
}

/// A pod of the target: its load, and the loss of its sample.
type Load = (f64, Loss);

impl Loss {
    /// Returns what is left of a sample.
    fn of(self, number: f64) -> Lookup {
        match (self, sample(number)) {
            (Self::Aged, Lookup::Sample(sample)) => {
                Lookup::Sample(Sample { age: Duration::from_secs(14), ..sample })
            }
            (Self::None | Self::Aged, answer) => answer,
            (Self::Doubtful, _) => doubtful(number),
            (Self::Stale, _) => missing("too old"),
        }
    }

    fn is_loss(self) -> bool {
        matches!(self, Self::Doubtful | Self::Stale)
    }
}

fn load() -> impl Strategy<Value = Load> {
    let loss = prop_oneof![
        3 => Just(Loss::None),
        1 => Just(Loss::Aged),
        1 => Just(Loss::Doubtful),
        1 => Just(Loss::Stale),
    ];
    ((0_u32..40).prop_map(f64::from), loss)
}

/// Replicas of one or two pods each.
fn loads() -> impl Strategy<Value = Vec<Vec<Load>>> {
    (1_usize..=2)
        .prop_flat_map(|size| prop::collection::vec(prop::collection::vec(load(), size), 1..12))
}

/// Returns the size that is planned for these replicas, by the answers about their pods.
fn planned(replicas: &[Vec<Lookup>]) -> i32 {
    let answers: Vec<Lookup> = replicas.iter().flatten().cloned().collect();
    let labelled = replicas.iter().enumerate().flat_map(|(replica, answers)| {
        answers.iter().enumerate().map(move |(place, _)| {
            // Names in the order of the answers.
            let mut pod = Pod::serving(&format!("a-{replica:02}-{place}"), "a");
            Arc::make_mut(&mut pod.labels).insert("replica".to_owned(), replica.to_string());
            pod
        })
    });
    let grouping = Grouping {
        label: "replica".to_owned(),
        reporting: ReportingPods::All,
        size: GroupSize::Fixed(replicas[0].len()),
    };
    let target = waiting(labelled).grouped(&[grouping]).source(SourceKind::OwnPods, answers);
    step(&target)
}

/// Returns the size that a step of a target plans.
fn step(target: &Target) -> i32 {
    let observed = target.observe();
    let now = Now { wall: DateTime::UNIX_EPOCH, monotonic: Monotonic::default() };
    let role = RoleObservation {
        usable: &observed.usable.observation,
        beyond_doubt: observed.beyond_doubt.as_ref().map(|observed| &observed.observation),
        states: &observed.usable.states(),
        counts: target.replicas.counts(&observed.usable.observation.replicas),
        block: WriteBlock::default(),
        drain: DrainObservation::default(),
    };
    let policy = target.config.policy.clone();
    let role_config = RoleConfig { policy, gpus: 1, drain_deadline: None, mode: Mode::Scale };
    let config = Config { roles: vec![role_config], shared: None };
    let plan = plan(&config, &[&RoleMemory::default()], &[role], now);
    plan.roles[0].granted.unwrap_or(target.scale.current)
}

/// Returns what is left of the samples.
fn with_losses(replicas: &[Vec<Load>]) -> Vec<Vec<Lookup>> {
    let answers = |pods: &Vec<Load>| pods.iter().map(|(load, loss)| loss.of(*load)).collect();
    replicas.iter().map(answers).collect()
}

/// Returns the samples of whole replicas, of which those with a loss count at most at the target.
fn capped(replicas: &[Vec<Load>]) -> Vec<Vec<Lookup>> {
    let whole = replicas.iter().map(|pods| {
        let load: f64 = pods.iter().map(|(load, _)| load).sum();
        let is_lost = pods.iter().any(|(_, loss)| loss.is_loss());
        vec![sample(if is_lost { load.min(PER_REPLICA) } else { load })]
    });
    whole.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// A replica whose sample is lost counts for a scale-down as one at its target, at least. So a
    /// loss never makes the target smaller, unless the lost load was above the target. The HPA has
    /// the same rule for missing samples.
    #[test]
    fn a_lost_sample_counts_at_least_as_much_as_one_at_the_target(replicas in loads()) {
        let current = replicas.len() as i32;
        let left = planned(&with_losses(&replicas));
        let before = planned(&capped(&replicas));
        prop_assert!(left >= before.min(current), "{left}, and {before} without the loss");
    }

    /// Age alone changes nothing.
    #[test]
    fn a_sample_that_is_not_stale_counts_at_any_age(replicas in loads()) {
        let aged = |(load, _): &Load| Loss::Aged.of(*load);
        let fresh = |(load, _): &Load| Loss::None.of(*load);
        let all = |answer: fn(&Load) -> Lookup| {
            replicas.iter().map(|pods| pods.iter().map(answer).collect()).collect::<Vec<_>>()
        };
        prop_assert_eq!(planned(&all(aged)), planned(&all(fresh)));
    }

    /// Fewer than 80 % of the replicas have a sample beyond doubt.
    #[test]
    fn without_a_quorum_beyond_doubt_nothing_shrinks(replicas in loads()) {
        let lost = |pods: &&Vec<Load>| pods.iter().any(|(_, loss)| loss.is_loss());
        let lost = replicas.iter().filter(lost).count();
        prop_assume!(lost * 5 > replicas.len());
        prop_assert!(planned(&with_losses(&replicas)) >= replicas.len() as i32);
    }

    /// A doubt never makes a scale-up smaller.
    #[test]
    fn a_doubtful_sample_scales_up_like_a_certain_one(replicas in loads()) {
        let answers = |pods: &Vec<Load>, in_doubt: bool| {
            let answer = |(load, loss): &Load| match loss {
                Loss::Doubtful if in_doubt => doubtful(*load),
                _ => sample(*load),
            };
            pods.iter().map(answer).collect::<Vec<_>>()
        };
        let all = |in_doubt| {
            planned(&replicas.iter().map(|pods| answers(pods, in_doubt)).collect::<Vec<_>>())
        };
        let (certain, current) = (all(false), replicas.len() as i32);
        if certain >= current {
            prop_assert_eq!(all(true), certain);
        }
    }

    /// A total of other pods that is incomplete, or in doubt, never shrinks.
    #[test]
    fn an_incomplete_total_never_shrinks(
        loads in prop::collection::vec(load(), 1..6),
        size in 1_usize..12,
    ) {
        prop_assume!(loads.iter().any(|(_, loss)| loss.is_loss()));
        let gateways = (0..loads.len()).map(|place| Pod::serving(&format!("g-{place}"), "g"));
        let answers = loads.iter().map(|(load, loss)| loss.of(*load)).collect();
        let target = waiting(pods(size)).source(SourceKind::OtherPods(members(gateways)), answers);
        prop_assert!(step(&target) >= size as i32);
    }
}
