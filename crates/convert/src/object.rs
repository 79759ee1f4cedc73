//! Parts that the objects of all kinds have: metadata, a reference to the target, bounds.

use crate::{comment::Comments, draft::Draft, field::Field};

/// Fields that the API server or a controller writes. They say nothing about what is wanted.
const WRITTEN: [&str; 9] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "finalizers",
    "deletionTimestamp",
    "generateName",
];
/// Annotations in which older API servers keep parts of an HPA's status.
const WRITTEN_ANNOTATIONS: [&str; 2] = [
    "autoscaling.alpha.kubernetes.io/conditions",
    "autoscaling.alpha.kubernetes.io/current-metrics",
];
/// The annotation of `kubectl apply`, which repeats the object.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Domains of annotations that change an autoscaler's work. Those that are not known here are not
/// understood.
const DOMAINS: [&str; 5] =
    ["aibrix.ai", "keda.sh", "autoscaling.alpha.kubernetes.io", "llmd.ai", "volcano.sh"];

/// Returns whether an annotation may change what an autoscaler does.
fn is_setting(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    DOMAINS.iter().any(|own| domain == *own || domain.ends_with(&format!(".{own}")))
}

/// The most replicas that a spec can have.
pub(crate) const MOST: i64 = 100_000;

/// The kind, namespace and name of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub kind: String,
    pub namespace: Option<String>,
    pub name: String,
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, namespace, name } = self;
        f.write_str(if kind.is_empty() { "an object without a kind" } else { kind })?;
        match namespace {
            Some(namespace) => write!(f, " {namespace}/{name}"),
            None if name.is_empty() => Ok(()),
            None => write!(f, " {name}"),
        }
    }
}

impl Identity {
    /// Reads the kind, namespace and name of an object.
    pub(crate) fn read(root: &Field) -> Self {
        root.get("apiVersion").text();
        Self {
            kind: root.get("kind").text().unwrap_or_default(),
            namespace: root.at(&["metadata", "namespace"]).text(),
            name: root.at(&["metadata", "name"]).text().unwrap_or_default(),
        }
    }
}

/// Comments on the metadata that nothing has read, and skips what the API server wrote.
pub(crate) fn finish_metadata(root: &Field, known: &[&str], comments: &mut Comments) {
    let metadata = root.get("metadata");
    for key in WRITTEN {
        metadata.get(key).dismiss();
    }
    root.get("status").dismiss();
    metadata.at(&["annotations", APPLIED]).dismiss();
    for key in WRITTEN_ANNOTATIONS {
        metadata.at(&["annotations", key]).dismiss();
    }
    for (list, known) in [("labels", &[][..]), ("annotations", known)] {
        let mut copied = Vec::new();
        for (key, value) in metadata.get(list).entries() {
            let is_known = known.contains(&key.as_str()) || key == APPLIED;
            if list == "annotations" && is_setting(&key) {
                continue;
            }
            if !is_known && let Some(text) = value.text() {
                copied.push(format!("{key}={text}"));
            }
        }
        if !copied.is_empty() {
            let text = format!("not copied: {}.", copied.join(", "));
            comments.note(metadata.get(list).path(), text);
        }
    }
    let owners = metadata.get("ownerReferences");
    for owner in owners.items() {
        let text = format!(
            "the object belongs to {} {}, which may create it again: convert and remove that one.",
            owner.get("kind").text().unwrap_or_default(),
            owner.get("name").text().unwrap_or_default()
        );
        owner.dismiss();
        comments.note(owner.path(), text);
    }
}

impl Field<'_> {
    /// Quotes a metric that is left out. What was not understood in it stays so.
    pub(crate) fn keep(&self, comments: &mut Comments) {
        comments.note(self.path(), format!("it was {}", self.shown()));
    }
}

impl Draft {
    /// Reads a reference to the target, and names the result after it. `default` has `apiVersion`
    /// and `kind` for references without them.
    pub(crate) fn refer(
        &mut self,
        reference: &Field,
        default: [&str; 2],
        identity: &Identity,
        comments: &mut Comments,
    ) {
        let [version, kind] = default;
        let version = reference.get("apiVersion").text().unwrap_or_else(|| version.to_owned());
        let kind = reference.get("kind").text().unwrap_or_else(|| kind.to_owned());
        let name = reference.get("name").text().unwrap_or_default();
        self.namespace.clone_from(&identity.namespace);
        self.name.clone_from(&name);
        let space = reference.get("namespace");
        if let Some(other) = space.text().filter(|it| Some(it) != identity.namespace.as_ref()) {
            let text =
                format!("a target is always in the namespace of its autoscaler, not {other}.");
            comments.changed(space.path(), text);
            self.namespace = Some(other);
        }
        if name.is_empty() {
            return;
        }
        if identity.name != name {
            let text = format!("the LLMAutoscaler is named after its target, {name}.");
            comments.note("metadata.name", text);
        }
        // A name without letters or with others would be refused, with a text that says so.
        self.target = Some([version, kind, name]);
    }

    /// Reads the bounds. `least` is the lower one where it is absent.
    pub(crate) fn bounds(
        &mut self,
        [lower, upper]: [&Field; 2],
        [least, most]: [i64; 2],
        comments: &mut Comments,
    ) {
        self.min = lower.within(0..=1_000_000).unwrap_or(least);
        self.max = upper.within(1..=1_000_000).unwrap_or(most);
        for (bound, field) in [(&mut self.min, lower), (&mut self.max, upper)] {
            if *bound > MOST {
                comments.changed(field.path(), format!("{bound} is more than the limit, {MOST}."));
                *bound = MOST;
            }
        }
    }
}
