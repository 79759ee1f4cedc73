//! Chooses the instances of a stateless role that are deleted first.

use kube::ResourceExt;
use kube::api::DynamicObject;

use super::instance::READY;
use super::labels::DELETION_COST;
use super::objects::is_true;

/// The sort key of an instance; the smallest are deleted first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// The number of components in its status, so that instances that have not started are first.
    components: usize,
    is_ready: bool,
    cost: i32,
    /// The creation time, so that the newest are first.
    age: std::cmp::Reverse<String>,
}

/// Returns the rank of an instance among those of its role.
pub(super) fn rank(instance: &DynamicObject) -> Rank {
    let statuses = instance.data["status"]["componentStatuses"].as_array();
    let created = instance.metadata.creation_timestamp.as_ref();
    Rank {
        components: statuses.map_or(0, Vec::len),
        is_ready: is_true(instance, READY),
        cost: instance.annotations().get(DELETION_COST).map_or(0, |cost| self::cost(cost)),
        age: std::cmp::Reverse(created.map(|time| time.0.to_string()).unwrap_or_default()),
    }
}

/// Parses a 32-bit number without a plus sign and without leading zeros; anything else is 0.
fn cost(text: &str) -> i32 {
    let begins_well =
        text == "0" || text.starts_with(|first: char| first == '-' || ('1'..='9').contains(&first));
    if begins_well { text.parse().unwrap_or(0) } else { 0 }
}

/// The sizes that decide a scale-down.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// The number of instances to delete.
    pub(super) surplus: usize,
    /// The number of instances that keep an outdated template.
    pub(super) partition: usize,
}

/// Chooses the instances that a set deletes: first instances of the old template, except as many as
/// the partition keeps.
pub(super) fn victims<T: Clone>(
    mut old: Vec<T>,
    mut updated: Vec<T>,
    sizes: Sizes,
    rank: impl Fn(&T) -> Rank,
) -> Vec<T> {
    old.sort_by_key(&rank);
    updated.sort_by_key(&rank);
    let of_old = old.len().saturating_sub(sizes.partition).min(sizes.surplus);
    let of_updated = (sizes.surplus - of_old).min(updated.len());
    [&old[..of_old], &updated[..of_updated]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn instance(
        name: &str,
        components: usize,
        ready: &str,
        cost: &str,
        second: u32,
    ) -> DynamicObject {
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "annotations": {DELETION_COST: cost},
                "creationTimestamp": format!("2026-01-01T00:00:{second:02}Z"),
            },
            "status": {
                "conditions": [{"type": READY, "status": ready}],
                "componentStatuses": vec![json!({}); components],
            },
        }))
        .unwrap()
    }

    fn names(
        old: Vec<DynamicObject>,
        updated: Vec<DynamicObject>,
        (surplus, partition): (usize, usize),
    ) -> Vec<String> {
        victims(old, updated, Sizes { surplus, partition }, rank)
            .iter()
            .map(ResourceExt::name_any)
            .collect()
    }

    #[test]
    fn unready_then_cheapest_then_newest_instances_go_first() {
        let all = vec![
            instance("old", 1, "True", "", 1),
            instance("new", 1, "True", "", 9),
            instance("cheap", 1, "True", "-5", 1),
            instance("unready", 1, "False", "100", 1),
            instance("not-begun", 0, "False", "100", 1),
        ];
        assert_eq!(
            names(vec![], all.clone(), (5, 0)),
            ["not-begun", "unready", "cheap", "new", "old"]
        );
        assert_eq!(names(vec![], all, (2, 0)), ["not-begun", "unready"]);
    }

    #[test]
    fn outdated_instances_go_first_except_the_partition() {
        let of = |name: &str, cost: &str| instance(name, 1, "True", cost, 1);
        let both = || (vec![of("a", "1"), of("b", "2")], vec![of("c", "-9"), of("d", "0")]);
        let table = [
            ((1, 0), vec!["a"]),
            ((3, 0), vec!["a", "b", "c"]),
            ((1, 2), vec!["c"]),
            ((2, 1), vec!["a", "c"]),
        ];
        for (sizes, expected) in table {
            let (old, updated) = both();
            assert_eq!(names(old, updated, sizes), expected, "{sizes:?}");
        }
    }

    #[test]
    fn a_malformed_cost_counts_as_zero() {
        let table = [
            ("-7", -7),
            ("0", 0),
            ("12", 12),
            ("+12", 0),
            ("012", 0),
            ("", 0),
            ("99999999999", 0),
            ("x", 0),
        ];
        for (text, expected) in table {
            assert_eq!(cost(text), expected, "{text}");
        }
    }
}
