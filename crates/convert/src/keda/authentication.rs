//! `TriggerAuthentication`s: keys of Secrets by the parameters that they are for.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    comment::Comments,
    context::{Authentication, Context, Key},
    draft::Draft,
    field::Field,
};

/// The credentials of one trigger.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    keys: BTreeMap<String, Key>,
    modes: Vec<String>,
}

/// Reads a document, and comments on it.
pub(crate) fn read(root: &Field, comments: &mut Comments) -> Authentication {
    let spec = root.get("spec");
    let mut found = Authentication::default();
    for (list, is_secret) in [("secretTargetRef", true), ("configMapTargetRef", false)] {
        for item in spec.get(list).items() {
            let [parameter, name, key] =
                ["parameter", "name", "key"].map(|it| item.get(it).text().unwrap_or_default());
            found.keys.insert(parameter, (is_secret, name, key));
        }
    }
    for (key, part) in spec.entries() {
        if !["secretTargetRef", "configMapTargetRef"].contains(&key.as_str()) {
            let text = format!(
                "{}: a source has its credentials from Secrets in its own namespace, or from the \
                 operator's owner (docs/credentials.md).",
                part.quote()
            );
            comments.lost(part.path(), text);
            found.others.push(key);
        }
    }
    let name = |(parameter, (is_secret, name, key)): (&String, &Key)| {
        let kind = if *is_secret { "Secret" } else { "ConfigMap" };
        format!("{parameter} from key {key} of the {kind} {name}")
    };
    let keys: Vec<String> = found.keys.iter().map(name).collect();
    let text = format!(
        "{}. They become part of the sources of the objects whose triggers name it.",
        keys.join(", ")
    );
    comments.note("spec", text);
    found
}

/// Returns the credentials that a trigger names.
pub(super) fn access(
    trigger: &Field,
    draft: &Draft,
    context: &Context,
    comments: &mut Comments,
) -> Access {
    let modes = trigger.get("metadata").get("authModes");
    let modes: Vec<String> =
        modes.text().iter().flat_map(|it| it.split(',')).map(|it| it.trim().to_owned()).collect();
    let reference = trigger.get("authenticationRef");
    if !reference.exists() {
        return Access { modes, ..Access::default() };
    }
    let kind = reference.get("kind").text().unwrap_or_else(|| "TriggerAuthentication".to_owned());
    let name = reference.get("name").text().unwrap_or_default();
    let is_cluster = kind == "ClusterTriggerAuthentication";
    let namespace = if is_cluster { None } else { draft.namespace.clone() };
    let Some(found) = context.authentications.get(&(kind.clone(), namespace, name.clone())) else {
        let text = format!("the {kind} {name} is not among the input: add it.");
        comments.lost(reference.path(), text);
        return Access { modes, ..Access::default() };
    };
    if is_cluster {
        let text = format!(
            "the {kind} {name} names Secrets in KEDA's namespace: a source reads those of its own \
             namespace, so copy them."
        );
        comments.changed(reference.path(), text);
    } else {
        let text = "the operator may read the Secrets once the role llm-autoscaler-credentials is \
                    bound to it in this namespace (docs/sources.md, Credentials).";
        comments.note(reference.path(), text);
    }
    for other in &found.others {
        let text = format!("{other} of the {kind} {name} gives no credentials here.");
        comments.lost(reference.path(), text);
    }
    Access { keys: found.keys.clone(), modes }.checked(reference.path(), comments)
}

impl Access {
    fn has(&self, mode: &str) -> bool {
        self.modes.iter().any(|it| it == mode)
    }

    /// Comments on parameters that no source has, and on those that no mode uses.
    fn checked(mut self, field: &str, comments: &mut Comments) -> Self {
        if let Some((_, name, key)) = self.keys.remove("authModes") {
            let text = format!("authModes is in {name}, key {key}: write it into the trigger.");
            comments.lost(field, text);
        }
        for (parameter, (is_secret, name, key)) in &self.keys {
            let mode = match parameter.as_str() {
                "bearerToken" | "token" if *is_secret => "bearer",
                "username" | "password" if *is_secret => "basic",
                "cert" => "tls",
                "key" if *is_secret => "tls",
                "ca" => continue,
                _ => {
                    let text = format!("{parameter} from {name}, key {key}: no source has it.");
                    comments.lost(field, text);
                    continue;
                }
            };
            if !self.has(mode) {
                let text = format!("{parameter} was not used: authModes has no {mode}.");
                comments.note(field, text);
            }
        }
        self
    }

    fn key(&self, parameters: &[&str]) -> Option<Value> {
        let (is_secret, name, key) = parameters.iter().find_map(|it| self.keys.get(*it))?;
        is_secret.then(|| json!({"name": name, "key": key}))
    }

    fn either(&self, parameter: &str) -> Option<Value> {
        let (is_secret, name, key) = self.keys.get(parameter)?;
        let kind = if *is_secret { "secret" } else { "configMap" };
        Some(json!({kind: {"name": name, "key": key}}))
    }

    /// Adds the credentials to a source, and to its settings of TLS.
    pub(super) fn apply(&self, source: &mut Map<String, Value>, tls: &mut Map<String, Value>) {
        if let Some(token) = self.key(&["bearerToken", "token"]).filter(|_| self.has("bearer")) {
            let value = json!({"type": "Bearer", "credentials": token});
            source.insert("authorization".to_owned(), value);
        }
        let login = self.key(&["username"]).zip(self.key(&["password"]));
        if let Some((username, password)) = login.filter(|_| self.has("basic")) {
            let value = json!({"username": username, "password": password});
            source.insert("basicAuth".to_owned(), value);
        }
        let pair = self.either("cert").zip(self.key(&["key"]));
        if let Some((cert, key)) = pair.filter(|_| self.has("tls")) {
            tls.insert("cert".to_owned(), cert);
            tls.insert("keySecret".to_owned(), key);
        }
        if let Some(ca) = self.either("ca") {
            tls.insert("ca".to_owned(), ca);
        }
    }

    /// Returns the modes, for a comment.
    pub(super) fn modes(&self) -> &[String] {
        &self.modes
    }

    /// Returns whether the credentials of a mode are there.
    pub(super) fn is_complete(&self, mode: &str) -> bool {
        match mode {
            "bearer" => self.key(&["bearerToken", "token"]).is_some(),
            "basic" => self.key(&["username"]).is_some() && self.key(&["password"]).is_some(),
            "tls" => self.either("ca").is_some() || self.key(&["key"]).is_some(),
            _ => false,
        }
    }
}
