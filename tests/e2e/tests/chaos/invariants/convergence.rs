//! After a disturbance each target has the size of its load, and its status is true.

use super::Violation;
use crate::evidence::{Disturbed, Look, Reach, Second, Target, Timeline, WINDOW};

const SIZE: &str = "a target settles at the size of its load";
const STATUS: &str = "the status of a target that is at rest is true";

/// The time from a change of the load to the size that it asks for: the window, and the decision.
pub(crate) const SETTLED: Second = WINDOW + 5.0;

/// Returns the time after a disturbance within which all is as it should be: the operator finds its
/// way back, and the window begins anew. Clocks and tenants may have no effect at all, and a
/// neighbour has nothing to do with what is aimed at another namespace.
pub(crate) fn recovery(disturbed: &Disturbed, target: &Target) -> Second {
    match disturbed.reach {
        Reach::Clock | Reach::Tenant => 0.0,
        Reach::Namespace if target.is_neighbour => 0.0,
        _ => disturbed.recovery + SETTLED,
    }
}

pub(crate) fn check(timeline: &Timeline) -> Vec<Violation> {
    timeline.targets.iter().flat_map(|target| of_target(timeline, target)).collect()
}

/// Returns the looks at a target that is to be at rest.
pub(crate) fn at_rest<'a>(timeline: &'a Timeline, target: &'a Target) -> Vec<&'a Look> {
    let is_at_rest = |look: &&Look| {
        let load = timeline.loads.iter().filter(|load| load.target == target.name);
        let is_followed = |at: Second| !(at <= look.at && look.at < at + SETTLED);
        let has_ended = timeline.disturbed.iter().all(|it| {
            let recovery = recovery(it, target);
            recovery == 0.0 || look.at < it.from || look.at > it.until + recovery
        });
        has_ended && load.map(|load| load.at).all(is_followed) && look.at > SETTLED
    };
    timeline.looks.iter().filter(|look| look.target == target.name).filter(is_at_rest).collect()
}

fn of_target(timeline: &Timeline, target: &Target) -> Vec<Violation> {
    let mut found: Vec<Violation> = Vec::new();
    for look in at_rest(timeline, target) {
        let Some(wanted) = timeline.wanted(&target.name, look.at) else { continue };
        let wrong = if look.size == wanted {
            falsehoods(look, wanted).map(|text| (STATUS, text))
        } else {
            Some((SIZE, format!("its size is {}, and its load asks for {wanted}", look.size)))
        };
        let Some((invariant, evidence)) = wrong else { continue };
        // It is told once in a minute, not by each look.
        let is_told = found.iter().any(|it| it.invariant == invariant && it.at > look.at - 60.0);
        if !is_told {
            found.push(Violation::new(invariant, look.at, &target.name, evidence));
        }
    }
    found
}

/// Returns what is not true in the status of a target at rest.
fn falsehoods(look: &Look, wanted: i32) -> Option<String> {
    let status = &look.status;
    let mut found = Vec::new();
    if status.observed_generation != Some(look.generation) {
        found.push(format!(
            "observedGeneration is {:?}, and the generation {}",
            status.observed_generation, look.generation
        ));
    }
    for (field, value) in [("desiredReplicas", status.desired), ("currentReplicas", status.current)]
    {
        if value != Some(wanted) {
            found.push(format!("{field} is {value:?}, and the size {wanted}"));
        }
    }
    let expected = [
        ("Ready", "True"),
        ("AbleToScale", "True"),
        ("ScalingActive", "True"),
        ("SamplesComplete", "True"),
        ("ReplicasStuck", "False"),
        ("Stalled", "False"),
    ];
    for (type_, value) in expected {
        if let Some(status) = status.conditions.get(type_).filter(|status| *status != value) {
            found.push(format!("{type_} is {status}"));
        }
    }
    if !status.conditions.contains_key("Ready") {
        found.push("Ready is absent".to_owned());
    }
    (!found.is_empty()).then(|| found.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        evidence::Load,
        invariants::examples::{TARGET, disturbed, look, timeline},
    };

    fn judge(look: Look, change: impl Fn(&mut Timeline)) -> Vec<&'static str> {
        let mut timeline = timeline(3);
        timeline.looks.push(look);
        change(&mut timeline);
        check(&timeline).iter().map(|it| it.invariant).collect()
    }

    #[test]
    fn a_target_at_rest_has_the_size_of_its_load() {
        let nothing = |_: &mut Timeline| {};
        assert_eq!(judge(look(60.0, 3), nothing), [""; 0]);
        assert_eq!(judge(look(60.0, 4), nothing), [SIZE]);
        let changed = |it: &mut Timeline| {
            it.loads.push(Load { target: TARGET.to_owned(), at: 50.0, size: 4 });
        };
        assert_eq!(judge(look(60.0, 3), changed), [""; 0], "the load has just changed");
        assert_eq!(judge(look(70.0, 3), changed), [SIZE]);
        let disturb =
            |it: Disturbed| move |timeline: &mut Timeline| timeline.disturbed.push(it.clone());
        let copies = disturbed(Reach::Copies, 40.0, 45.0);
        assert_eq!(judge(look(60.0, 4), disturb(copies.clone())), [""; 0]);
        assert_eq!(judge(look(70.0, 4), disturb(copies)), [SIZE]);
        // A neighbour is not disturbed by pages, clocks and tenants.
        for reach in [Reach::Namespace, Reach::Clock, Reach::Tenant] {
            assert_eq!(judge(look(60.0, 4), disturb(disturbed(reach, 40.0, 60.0))), [SIZE]);
        }
    }

    #[test]
    fn a_status_at_rest_that_is_not_true_is_found() {
        type Change = fn(&mut Look);
        let changes: [Change; 6] = [
            |look| look.generation = 2,
            |look| look.status.desired = Some(4),
            |look| look.status.current = None,
            |look| drop(look.status.conditions.insert("Ready".to_owned(), "False".to_owned())),
            |look| drop(look.status.conditions.remove("Ready")),
            |look| drop(look.status.conditions.insert("Stalled".to_owned(), "True".to_owned())),
        ];
        for (row, change) in changes.into_iter().enumerate() {
            let mut look = look(60.0, 3);
            change(&mut look);
            assert_eq!(judge(look, |_| {}), [STATUS], "row {row}");
        }
    }
}
