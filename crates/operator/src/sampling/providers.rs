//! The credentials that the operator's owner has for sources: `--source-credentials-file`.
//!
//! A rule gives hosts, the namespaces that may query them with these credentials, and the provider
//! of the credentials. A spec names none of this: its source gets them by its URL and its
//! namespace, and only if it has no headers, credentials and TLS settings of its own. A tenant's
//! header beside the owner's identity could choose an account, a tenant or a project for it.
//!
//! ```text
//! grant -> rules, token, signature -> aws, google -> bearer_file, answer
//! ```

mod answer;
mod aws;
mod bearer_file;
mod google;
mod grant;
pub(crate) mod rules;
mod signature;
#[cfg(test)]
mod tests;

mod token;

use std::sync::Arc;

use llm_autoscaler_api::Access;
use reqwest::Url;

pub(crate) use self::grant::Grant;
use self::rules::CheckedRule;
use crate::{
    sampling::egress::{Egress, EgressRules},
    supervise::Supervisor,
};

/// The credentials of all rules. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Providers(Arc<[Grant]>);

impl Providers {
    /// Prepares the clients of the rules.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub(crate) fn new(
        rules: Vec<CheckedRule>,
        egress: &EgressRules,
        supervisor: &Supervisor,
    ) -> Result<Self, String> {
        let sources = Egress::new(egress.clone());
        // The owner has chosen these services; the list is of the hosts of sources.
        let services = Egress::new(EgressRules { hosts: Vec::new(), ..egress.clone() });
        let grants = rules.into_iter();
        let grants = grants.map(|rule| Grant::new(rule, &sources, &services, supervisor));
        Ok(Self(grants.collect::<Result<_, _>>()?))
    }

    /// Returns the credentials for requests of a namespace to this URL: those of the first rule
    /// that covers both. A source with settings of its own gets none.
    pub(crate) fn grant(&self, namespace: &str, access: &Access, url: &Url) -> Option<&Grant> {
        let is_bare = *access == Access::default();
        self.0.iter().filter(|_| is_bare).find(|grant| grant.rule.covers(namespace, url))
    }
}
