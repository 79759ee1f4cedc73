//! The metadata of a trigger of KEDA.

use tonic::Status;

use super::protocol::ScaledObjectRef;
use crate::http::wake::AutoscalerKey;

/// The value of `metric` for the recommendation, which is the default.
const RECOMMENDATION: &str = "recommendation";
/// The name of the recommendation in the HPA that KEDA creates.
const RECOMMENDED: &str = "recommended-replicas";
/// The fields that this scaler reads.
const FIELDS: [&str; 4] = ["autoscaler", "role", "metric", "target"];
/// The fields that KEDA itself reads, and passes on with the others.
const FIELDS_OF_KEDA: [&str; 3] = ["scalerAddress", "enableTLS", "unsafeSsl"];

/// A trigger that asks for a number of an LLMAutoscaler.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Trigger {
    /// The LLMAutoscaler, in the namespace of the ScaledObject.
    pub autoscaler: AutoscalerKey,
    /// The role; `None` for the only target of a spec.
    pub role: Option<String>,
    /// The number.
    pub number: Number,
    /// The part of the number that is meant for one replica.
    pub target: f64,
}

/// A number of an LLMAutoscaler.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Number {
    /// The replicas that it recommends.
    Recommendation,
    /// The sum of a number of its pods.
    OfPods(String),
}

impl Trigger {
    /// Reads a trigger.
    ///
    /// # Errors
    /// `InvalidArgument`, with the field that is wrong.
    pub(super) fn read(object: &ScaledObjectRef) -> Result<Self, Status> {
        let invalid = |text: String| Err(Status::invalid_argument(text));
        let is_known = |field: &&String| {
            let of_keda = field.strip_suffix("FromEnv").unwrap_or(field);
            FIELDS.contains(&&***field) || FIELDS_OF_KEDA.contains(&of_keda)
        };
        if let Some(field) = object.scaler_metadata.keys().filter(|it| !is_known(it)).min() {
            let fields = FIELDS.join(", ");
            return invalid(format!("metadata.{field} is no field: there are {fields}"));
        }
        if object.namespace.is_empty() {
            return invalid("the ScaledObject has no namespace".to_owned());
        }
        let field = |name: &str| {
            let text = object.scaler_metadata.get(name).map(|text| text.trim());
            text.filter(|text| !text.is_empty()).map(ToOwned::to_owned)
        };
        let number = match field("metric") {
            Some(metric) if metric != RECOMMENDATION => Number::OfPods(metric),
            _ => Number::Recommendation,
        };
        let target = match (field("target"), &number) {
            (None, Number::Recommendation) => Some(1.0),
            // Another target would make another size of the recommendation.
            (Some(text), Number::Recommendation) => (text == "1").then_some(1.0),
            (text, Number::OfPods(_)) => text
                .and_then(|text| text.parse().ok())
                .filter(|it: &f64| it.is_normal() && *it > 0.0),
        };
        let Some(target) = target else {
            return invalid(match number {
                Number::Recommendation => {
                    "metadata.target: leave it out, the target of a recommendation is 1".to_owned()
                }
                Number::OfPods(metric) => format!(
                    "metadata.target: give the {metric} that is meant for one replica, as a number \
                     above 0"
                ),
            });
        };
        let (namespace, name) = (object.namespace.clone(), field("autoscaler"));
        let name = name.unwrap_or_else(|| object.name.clone());
        let autoscaler = AutoscalerKey { namespace, name };
        Ok(Self { autoscaler, role: field("role"), number, target })
    }

    /// Returns the name of the metric in the HPA: of letters, digits and dashes.
    pub(super) fn metric_name(&self) -> String {
        let name = match &self.number {
            Number::Recommendation => RECOMMENDED,
            Number::OfPods(name) => name,
        };
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(metadata: &[(&str, &str)]) -> Result<Trigger, Status> {
        let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Trigger::read(&ScaledObjectRef {
            name: "qwen3".to_owned(),
            namespace: "ns".to_owned(),
            scaler_metadata: metadata.iter().map(text).collect(),
        })
    }

    #[test]
    fn a_trigger_asks_for_the_recommendation_or_for_a_number_with_a_target() {
        let of_pods = |name: &str| Number::OfPods(name.to_owned());
        let waiting = ("metric", "vllm:num_requests_waiting");
        let address = ("scalerAddress", "llm-autoscaler.system:9444");
        // metadata; the autoscaler, the number, the target, the name
        let table: [(&[_], _); 4] = [
            (&[address], ("qwen3", Number::Recommendation, 1.0, "recommended-replicas")),
            (
                &[("autoscaler", "a"), ("metric", "recommendation"), ("target", "1")],
                ("a", Number::Recommendation, 1.0, "recommended-replicas"),
            ),
            (
                &[waiting, ("target", "2.5"), ("scalerAddressFromEnv", "x")],
                ("qwen3", of_pods(waiting.1), 2.5, "vllm-num-requests-waiting"),
            ),
            (
                &[("metric", "WaitingRequests"), ("target", " 5 "), ("autoscaler", "")],
                ("qwen3", of_pods("WaitingRequests"), 5.0, "WaitingRequests"),
            ),
        ];
        for (metadata, (name, number, target, metric)) in table {
            let found = read(metadata).unwrap();
            let Trigger { autoscaler, .. } = &found;
            assert_eq!((&*autoscaler.namespace, &*autoscaler.name), ("ns", name), "{metadata:?}");
            assert_eq!((&found.number, found.target), (&number, target), "{metadata:?}");
            assert_eq!(found.metric_name(), metric);
        }
    }

    #[test]
    fn a_field_that_is_wrong_is_named() {
        let waiting = ("metric", "WaitingRequests");
        let table: [(&[_], &str); 9] = [
            (&[waiting], "give the WaitingRequests that is meant for one replica"),
            (&[waiting, ("target", "0")], "metadata.target"),
            (&[waiting, ("target", "-1")], "metadata.target"),
            (&[waiting, ("target", "many")], "metadata.target"),
            (&[waiting, ("target", "inf")], "metadata.target"),
            (&[waiting, ("target", "NaN")], "metadata.target"),
            (&[("target", "2")], "the target of a recommendation is 1"),
            (&[("autoscalar", "a")], "metadata.autoscalar is no field"),
            (&[("roleFromEnv", "a")], "metadata.roleFromEnv is no field"),
        ];
        for (metadata, part) in table {
            let error = read(metadata).unwrap_err();
            assert!(error.message().contains(part), "{metadata:?}: {}", error.message());
        }
        let nowhere = ScaledObjectRef { name: "a".to_owned(), ..ScaledObjectRef::default() };
        assert!(Trigger::read(&nowhere).is_err());
    }
}
