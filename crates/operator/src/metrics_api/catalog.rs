//! The autoscalers that exist, whichever copy of the operator serves them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use llm_autoscaler_api::{LLMAutoscaler, ParsedRole, parse_spec};
use llm_autoscaler_core::Profile;

use crate::{http::wake::AutoscalerKey, latest, lock::lock};

/// The autoscalers by namespace and name; cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Catalog(Arc<Mutex<HashMap<String, BTreeMap<String, Entry>>>>);

struct Entry {
    objects: latest::Receiver<Arc<LLMAutoscaler>>,
    parsed: Option<Parsed>,
}

/// The targets of one generation of an object; none if its spec cannot be carried out.
struct Parsed {
    uid: Option<String>,
    generation: Option<i64>,
    targets: Vec<Arc<Target>>,
}

/// A target of an autoscaler.
#[derive(Debug)]
pub(super) struct Target {
    /// The autoscaler.
    pub autoscaler: AutoscalerKey,
    /// The role and its configuration.
    pub role: ParsedRole,
}

impl Catalog {
    /// Adds an autoscaler, of which `objects` has the latest version.
    pub(crate) fn add(&self, key: &AutoscalerKey, objects: latest::Receiver<Arc<LLMAutoscaler>>) {
        let entry = Entry { objects, parsed: None };
        lock(&self.0).entry(key.namespace.clone()).or_default().insert(key.name.clone(), entry);
    }

    /// Removes an autoscaler.
    pub(crate) fn remove(&self, key: &AutoscalerKey) {
        let mut namespaces = lock(&self.0);
        let Some(namespace) = namespaces.get_mut(&key.namespace) else { return };
        namespace.remove(&key.name);
        if namespace.is_empty() {
            namespaces.remove(&key.namespace);
        }
    }

    /// Returns the autoscalers of a namespace, by name.
    pub(super) fn objects(&self, namespace: &str) -> Vec<Arc<LLMAutoscaler>> {
        let namespaces = lock(&self.0);
        let entries = namespaces.get(namespace).into_iter().flat_map(BTreeMap::values);
        entries.map(|entry| entry.objects.get()).collect()
    }

    /// Returns an autoscaler.
    pub(super) fn object(&self, key: &AutoscalerKey) -> Option<Arc<LLMAutoscaler>> {
        let namespaces = lock(&self.0);
        let entry = namespaces.get(&key.namespace)?.get(&key.name)?;
        Some(entry.objects.get())
    }

    /// Returns the targets of all autoscalers of a namespace, by the autoscalers' names.
    pub(super) fn targets(&self, namespace: &str, profile: Profile) -> Vec<Arc<Target>> {
        let mut namespaces = lock(&self.0);
        let entries = namespaces.get_mut(namespace).into_iter().flat_map(BTreeMap::values_mut);
        entries.flat_map(|entry| entry.targets(profile).to_vec()).collect()
    }
}

impl Entry {
    /// Returns the targets of the latest version. A generation is parsed once.
    fn targets(&mut self, profile: Profile) -> &[Arc<Target>] {
        let object = self.objects.get();
        let (uid, generation) = (object.metadata.uid.clone(), object.metadata.generation);
        let known = self.parsed.take();
        let known = known.filter(|known| known.uid == uid && known.generation == generation);
        let parsed = known.unwrap_or_else(|| {
            let autoscaler = AutoscalerKey::of(&object);
            let roles =
                parse_spec(&object.spec, profile).map_or_else(|_| Vec::new(), |it| it.roles);
            let target = |role| Arc::new(Target { autoscaler: autoscaler.clone(), role });
            Parsed { uid, generation, targets: roles.into_iter().map(target).collect() }
        });
        &self.parsed.insert(parsed).targets
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(generation: i64, engine: &str) -> Arc<LLMAutoscaler> {
        let object = json!({
            "apiVersion": "llmautoscaler.io/v1alpha1",
            "kind": "LLMAutoscaler",
            "metadata": {"namespace": "ns", "name": "a", "uid": "u", "generation": generation},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"},
                "engine": engine,
                "minReplicas": 1,
                "maxReplicas": 3,
                "metrics": [{
                    "signal": "WaitingRequests",
                    "target": {"type": "AverageValue", "averageValue": "5"},
                }],
            },
        });
        Arc::new(serde_json::from_value(object).unwrap())
    }

    #[test]
    fn targets_are_those_of_the_latest_generation_and_are_parsed_once() {
        let catalog = Catalog::default();
        let key = AutoscalerKey { namespace: "ns".to_owned(), name: "a".to_owned() };
        let (sender, receiver) = latest::channel(object(1, "VLLM"));
        catalog.add(&key, receiver);
        let targets = || catalog.targets("ns", Profile::Default);
        let (first, again) = (targets(), targets());
        assert!(Arc::ptr_eq(&first[0], &again[0]));
        sender.send_replace(object(2, "SGLang"));
        assert_ne!(targets()[0].role.config.engine, first[0].role.config.engine);
        assert!(catalog.targets("other", Profile::Default).is_empty());
        catalog.remove(&key);
        assert!(targets().is_empty() && lock(&catalog.0).is_empty());
    }
}
