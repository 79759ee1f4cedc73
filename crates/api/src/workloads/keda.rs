//! KEDA's ScaledObject: the annotations that pause it, and the evidence that it has stopped.
//!
//! From kedacore/keda, `apis/keda/v1alpha1/scaledobject_types.go` and
//! `controllers/keda/scaledobject_controller.go` (01ee1d3, 00015cc): with `paused`, KEDA stops its
//! scale loop, deletes the HPA that it has made, and sets the condition Paused to True. With
//! `paused-replicas` it writes that number of replicas first, and again where it finds another one.

use std::collections::BTreeMap;

use serde_json::Value;

/// The annotation of a ScaledObject that stops it at the size that is there.
pub const PAUSED: &str = "autoscaling.keda.sh/paused";
/// The annotation of a ScaledObject that holds its target at a number of replicas.
pub const PAUSED_REPLICAS: &str = "autoscaling.keda.sh/paused-replicas";

/// Returns whether a ScaledObject with these annotations is to stop at the size that is there. A
/// value that is no boolean counts as true, as it does for KEDA.
pub fn is_paused(annotations: &BTreeMap<String, String>) -> bool {
    const FALSE: [&str; 6] = ["0", "f", "F", "FALSE", "false", "False"];
    let is_held = annotations.contains_key(PAUSED_REPLICAS);
    !is_held && annotations.get(PAUSED).is_some_and(|value| !FALSE.contains(&value.as_str()))
}

/// Returns whether a ScaledObject has stopped: it is paused, and its status says that KEDA has
/// acted on that. Until then a step of KEDA may be under way.
pub fn has_stopped(annotations: &BTreeMap<String, String>, status: Option<&Value>) -> bool {
    let conditions = status.and_then(|status| status.get("conditions")?.as_array());
    let is_paused_one =
        |condition: &Value| condition["type"] == "Paused" && condition["status"] == "True";
    is_paused(annotations) && conditions.is_some_and(|all| all.iter().any(is_paused_one))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_scaled_object_has_stopped_when_keda_says_so() {
        type Annotations = &'static [(&'static str, &'static str)];
        let acted = json!({"conditions": [{"type": "Paused", "status": "True"}]});
        let not_yet = json!({"conditions": [{"type": "Paused", "status": "Unknown"}]});
        // annotations, status; is paused, has stopped
        let table: [(Annotations, Option<&Value>, bool, bool); 8] = [
            (&[], Some(&acted), false, false),
            (&[(PAUSED, "true")], Some(&acted), true, true),
            (&[(PAUSED, "true")], Some(&not_yet), true, false),
            (&[(PAUSED, "true")], None, true, false),
            (&[(PAUSED, "yes")], Some(&acted), true, true),
            (&[(PAUSED, "false")], Some(&acted), false, false),
            (&[(PAUSED_REPLICAS, "3")], Some(&acted), false, false),
            (&[(PAUSED, "true"), (PAUSED_REPLICAS, "3")], Some(&acted), false, false),
        ];
        for (annotations, status, paused, stopped) in table {
            let of = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            let map: BTreeMap<String, String> = annotations.iter().map(of).collect();
            let found = (is_paused(&map), has_stopped(&map, status));
            assert_eq!(found, (paused, stopped), "{annotations:?} {status:?}");
        }
    }
}
