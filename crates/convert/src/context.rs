//! What converters know of the other documents.

use std::collections::BTreeMap;

use crate::{
    adapter_rules::{self, Rules},
    comment::Comments,
    draft::Draft,
    field::Field,
    options::Options,
};

/// A key of a Secret (`true`) or a ConfigMap: which of both, its name, the key.
pub(crate) type Key = (bool, String, String);

/// A `TriggerAuthentication` or a `ClusterTriggerAuthentication` of KEDA.
#[derive(Clone, Debug, Default)]
pub(crate) struct Authentication {
    /// Keys by the parameters that they are for.
    pub keys: BTreeMap<String, Key>,
    /// The parts that have no counterpart.
    pub others: Vec<String>,
}

/// A policy of Kthena's in another document.
#[derive(Clone)]
pub(crate) struct Policy<'a> {
    pub root: Field<'a>,
    /// True if a binding names it.
    pub is_bound: bool,
}

/// A `VariantAutoscaling`, by its target.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub namespace: Option<String>,
    /// The name of the target.
    pub target: String,
}

/// The namespace that an object without one is in, for queries.
const DEFAULT: &str = "default";

/// What other documents say.
#[derive(Default)]
pub(crate) struct Context<'a> {
    pub rules: Rules,
    pub variants: Vec<Variant>,
    /// `TriggerAuthentication`s by kind, namespace and name.
    pub authentications: BTreeMap<(String, Option<String>, String), Authentication>,
    /// Kthena's policies by namespace and name.
    pub policies: BTreeMap<(Option<String>, String), Policy<'a>>,
    pub options: Options,
}

impl Context<'_> {
    /// Returns the namespace of a draft's target, for a query.
    pub(crate) fn namespace(draft: &Draft) -> String {
        draft.namespace.clone().unwrap_or_else(|| DEFAULT.to_owned())
    }

    /// Makes the draft query the server that the adapter queries. Where none is known, the metric
    /// of `field` is left out.
    pub(crate) fn ask_adapter(
        &self,
        draft: &mut Draft,
        field: &str,
        comments: &mut Comments,
    ) -> bool {
        let chosen = self.options.prometheus_url.as_deref();
        let chosen = chosen.and_then(|url| adapter_rules::named(url, "--prometheus-url", comments));
        let Some(server) = chosen.or_else(|| self.rules.server.clone()) else {
            let text = "the metric is a query, and the address of the Prometheus server is not in \
                        the input: give it with --prometheus-url.";
            draft.leave_out(comments, field, text);
            return false;
        };
        if draft.ask(&server) {
            if draft.namespace.is_none() {
                let text = "the object names no namespace, so the query has the namespace default.";
                comments.changed(field, text);
            }
            return true;
        }
        let text = "the metric is a query to a second Prometheus server, and the queries of an \
                    LLMAutoscaler go to one.";
        draft.leave_out(comments, field, text);
        false
    }
}

impl Draft {
    /// Returns a pattern of the names of the target's pods.
    pub(crate) fn pods(&self) -> String {
        let [_, kind, name] = self.target.clone().unwrap_or_default();
        crate::adapter_rules::pods_of(&kind, &name)
    }
}
