//! The kinds of documents, and the order in which they are converted.

use serde_json::Value;

use crate::{
    adapter_rules, aibrix,
    comment::Comments,
    context::{Context, Policy},
    draft::Draft,
    field::{Field, Seen},
    hpa, keda, kthena,
    object::{Identity, finish_metadata},
    options::Options,
    read::{Document, ReadError},
    report::{Algorithm, Conversion, Report},
    wva,
};

/// How a model server of `KServe` is converted.
const KSERVE: &str = "KServe makes a HorizontalPodAutoscaler or a ScaledObject of it, which can be \
                      converted, and makes it again once it is deleted: docs/owners.md. To keep it, \
                      let it follow an LLMAutoscaler: docs/keda.md.";
/// The kinds that are converted.
const KNOWN: &str = "HorizontalPodAutoscaler, ScaledObject, TriggerAuthentication, \
                     ClusterTriggerAuthentication, PodAutoscaler, AutoscalingPolicy, \
                     AutoscalingPolicyBinding, VariantAutoscaling, PodMonitor, and ConfigMaps and \
                     Helm values with rules of a metrics adapter";

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Hpa,
    ScaledObject,
    TriggerAuthentication,
    PodAutoscaler,
    Policy,
    Binding,
    Variant,
    PodMonitor,
    Rules(adapter_rules::Form),
    ConfigMap,
    Unknown,
}

/// A document while it is converted.
struct Source<'a> {
    document: &'a Document,
    seen: Seen,
    kind: Kind,
    identity: Identity,
    /// The adapter's configuration within a ConfigMap.
    config: Option<(Value, Seen)>,
}

/// Converts documents. They are looked at together: the rules of a metrics adapter, credentials
/// and policies are used wherever another document names them.
///
/// # Errors
/// A ConfigMap has a configuration of a metrics adapter that is not YAML.
pub fn convert(documents: &[Document], options: Options) -> Result<Report, ReadError> {
    let sources: Result<Vec<Source>, ReadError> = documents.iter().map(Source::new).collect();
    let sources = sources?;
    let mut context = Context { options, ..Context::default() };
    let mut comments: Vec<Comments> = Vec::with_capacity(sources.len());
    for source in &sources {
        comments.push(source.learn(&mut context));
    }
    mark_bound(&sources, &mut context);
    let drafts: Vec<Vec<Draft>> =
        sources.iter().zip(&mut comments).map(|(it, told)| it.drafts(&context, told)).collect();
    follow(&sources, &drafts, &mut comments);
    let mut report = Report::default();
    let mut names: Vec<(Option<String>, String)> = Vec::new();
    for ((source, drafts), mut told) in sources.iter().zip(drafts).zip(comments) {
        let mut objects = Vec::new();
        for mut draft in drafts {
            rename(&mut draft, &source.identity, &mut names, &mut told);
            objects.extend(draft.finish(&mut told, &context.options));
        }
        source.keep(&objects, &mut told);
        report.conversions.push(source.conclude(objects, told));
    }
    Ok(report)
}

/// Notes which of Kthena's policies a binding names.
fn mark_bound(sources: &[Source], context: &mut Context) {
    for source in sources.iter().filter(|source| source.kind == Kind::Binding) {
        if let Some(policy) = context.policies.get_mut(&kthena::bound(&source.root())) {
            policy.is_bound = true;
        }
    }
}

/// Comments on each `VariantAutoscaling` without bounds: the object that follows each has them.
fn follow(sources: &[Source], drafts: &[Vec<Draft>], comments: &mut [Comments]) {
    for (index, source) in sources.iter().enumerate() {
        if source.kind != Kind::Variant || !drafts[index].is_empty() {
            continue;
        }
        let variant = wva::variant(&source.root());
        let is_its =
            |draft: &Draft| draft.name == variant.target && draft.namespace == variant.namespace;
        let is_followed = drafts.iter().flatten().any(is_its);
        if is_followed {
            let text = "it becomes part of the object that comes of the autoscaler of its target.";
            comments[index].note("", text);
        } else {
            let text = "it has no bounds: add the HorizontalPodAutoscaler or ScaledObject that \
                        follows wva_desired_replicas.";
            comments[index].lost("", text);
        }
    }
}

/// Gives a draft the name of its source, where another one has the name of its target.
fn rename(
    draft: &mut Draft,
    identity: &Identity,
    names: &mut Vec<(Option<String>, String)>,
    comments: &mut Comments,
) {
    if draft.name.is_empty() {
        return;
    }
    let key = |draft: &Draft| (draft.namespace.clone(), draft.name.clone());
    if names.contains(&key(draft)) {
        let text = format!(
            "another object of the input has become the LLMAutoscaler {}. If both scale the same \
             target, keep one of them: the older one would scale it, and the other one report \
             TargetTaken.",
            draft.name
        );
        comments.changed("metadata.name", text);
        draft.name.clone_from(&identity.name);
        let mut number = 2;
        while names.contains(&key(draft)) {
            draft.name = format!("{}-{number}", identity.name);
            number += 1;
        }
    }
    names.push(key(draft));
}

impl<'a> Source<'a> {
    fn new(document: &'a Document) -> Result<Self, ReadError> {
        let seen = Seen::default();
        let root = Field::root(&document.value, &seen);
        let mut kind = kind(&root);
        let identity = match kind {
            Kind::Rules(_) => {
                Identity { kind: "rules of a metrics adapter".into(), ..Identity::default() }
            }
            _ => Identity::read(&root),
        };
        let mut config = None;
        if kind == Kind::ConfigMap {
            let field = root.at(&["data", "config.yaml"]);
            let text = field.text().unwrap_or_default();
            let value: Value = serde_saphyr::from_str(&text).map_err(|error| {
                ReadError::Config { place: document.place.clone(), problem: error.to_string() }
            })?;
            let inner = Seen::default();
            if adapter_rules::form(&Field::root(&value, &inner)).is_none() {
                kind = Kind::Unknown;
            }
            config = Some((value, inner));
        }
        Ok(Self { document, seen, kind, identity, config })
    }

    fn root(&self) -> Field<'_> {
        Field::root(&self.document.value, &self.seen)
    }

    /// Adds what other documents need of this one.
    fn learn<'b>(&'b self, context: &mut Context<'b>) -> Comments {
        let (root, mut comments) = (self.root(), Comments::default());
        match self.kind {
            Kind::Rules(form) => context.rules.add(&root, form, &mut comments),
            Kind::ConfigMap => {
                if let Some((value, seen)) = &self.config {
                    let inner = Field::root(value, seen);
                    context.rules.add(&inner, adapter_rules::Form::Config, &mut comments);
                }
            }
            Kind::TriggerAuthentication => {
                let found = keda::read_authentication(&root, &mut comments);
                let Identity { kind, namespace, name } = self.identity.clone();
                let namespace = namespace.filter(|_| kind == "TriggerAuthentication");
                context.authentications.insert((kind, namespace, name), found);
            }
            Kind::Policy => {
                let policy = Policy { root, is_bound: false };
                context.policies.insert(kthena::key(&self.identity), policy);
            }
            Kind::Variant => context.variants.push(wva::variant(&root)),
            _ => {}
        }
        comments
    }

    /// Converts the document.
    fn drafts(&self, context: &Context, comments: &mut Comments) -> Vec<Draft> {
        let (root, identity) = (self.root(), &self.identity);
        let one = |draft: Option<Draft>| draft.into_iter().collect();
        match self.kind {
            Kind::Hpa => one(hpa::convert(&root, identity, context, comments)),
            Kind::ScaledObject => vec![keda::convert(&root, identity, context, comments)],
            Kind::PodAutoscaler => one(aibrix::convert(&root, identity, comments)),
            Kind::Policy => kthena::policy(&root, identity, context, comments),
            Kind::Binding => kthena::binding(&root, identity, context, comments),
            Kind::Variant => one(wva::convert(&root, identity, comments)),
            Kind::TriggerAuthentication | Kind::ConfigMap => {
                finish_metadata(&root, &[], comments);
                Vec::new()
            }
            Kind::PodMonitor => {
                pod_monitor(&root, comments);
                Vec::new()
            }
            Kind::Rules(_) => Vec::new(),
            Kind::Unknown => {
                root.dismiss();
                comments.lost("", format!("this kind is not converted. Known are {KNOWN}."));
                if identity.kind.ends_with("InferenceService") {
                    comments.note("", KSERVE);
                }
                Vec::new()
            }
        }
    }

    /// Returns the algorithm of an autoscaler.
    fn algorithm(&self) -> Option<Algorithm> {
        match self.kind {
            Kind::Hpa | Kind::ScaledObject => Some(Algorithm::Hpa),
            Kind::PodAutoscaler => match self.root().at(&["spec", "scalingStrategy"]).peek() {
                Some("HPA") => Some(Algorithm::Hpa),
                Some("KPA") => Some(Algorithm::Kpa),
                _ => Some(Algorithm::Apa),
            },
            Kind::Policy | Kind::Binding => Some(Algorithm::Kthena),
            Kind::Variant => Some(Algorithm::Wva),
            _ => None,
        }
    }

    /// Quotes what is wanted where no object has it.
    fn keep(&self, objects: &[Value], comments: &mut Comments) {
        let is_wanted = matches!(
            self.kind,
            Kind::Hpa
                | Kind::ScaledObject
                | Kind::PodAutoscaler
                | Kind::Policy
                | Kind::Binding
                | Kind::Variant
        );
        if is_wanted && objects.is_empty() && !hpa::is_created(&self.root()) {
            let unread = self.seen.unread(&self.document.value);
            comments.note("spec", format!("it was {}", self.root().get("spec").quote()));
            // A quoted value that was not understood is still reported as such.
            self.seen.forget(&unread);
        }
    }

    /// Reports what nothing has read.
    fn conclude(&self, objects: Vec<Value>, mut comments: Comments) -> Conversion {
        let mut unread = self.seen.unread(&self.document.value);
        if let Some((value, seen)) = self.config.as_ref().filter(|_| self.kind == Kind::ConfigMap) {
            unread.extend(seen.unread(value).into_iter().map(|it| format!("config.yaml: {it}")));
        }
        for path in unread {
            // Helm values may have credentials.
            let is_shown = !matches!(self.kind, Kind::Rules(_) | Kind::ConfigMap);
            let value = Field::scalar_at(&self.document.value, &path).filter(|_| is_shown);
            let value = value.map(|value| format!("{value}: ")).unwrap_or_default();
            let text = format!("{value}this field is unknown, or has a value that it cannot have.");
            comments.not_understood(&path, text);
        }
        Conversion {
            place: self.document.place.clone(),
            source: self.identity.to_string(),
            algorithm: self.algorithm(),
            objects,
            comments: comments.0,
        }
    }
}

/// Returns what a document is, by its group and kind.
fn kind(root: &Field) -> Kind {
    let text = |key: &str| root.get(key).peek().unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if version.is_empty() && kind.is_empty() {
        return adapter_rules::form(root).map_or(Kind::Unknown, Kind::Rules);
    }
    let group = version.split_once('/').map_or("", |(group, _)| group);
    match (group, kind) {
        ("autoscaling", "HorizontalPodAutoscaler") => Kind::Hpa,
        ("keda.sh", "ScaledObject") => Kind::ScaledObject,
        ("keda.sh", "TriggerAuthentication" | "ClusterTriggerAuthentication") => {
            Kind::TriggerAuthentication
        }
        ("autoscaling.aibrix.ai", "PodAutoscaler") => Kind::PodAutoscaler,
        ("workload.serving.volcano.sh", "AutoscalingPolicy") => Kind::Policy,
        ("workload.serving.volcano.sh", "AutoscalingPolicyBinding") => Kind::Binding,
        ("llmd.ai", "VariantAutoscaling") => Kind::Variant,
        ("monitoring.coreos.com", "PodMonitor") => Kind::PodMonitor,
        ("", "ConfigMap") if root.at(&["data", "config.yaml"]).exists() => Kind::ConfigMap,
        _ => Kind::Unknown,
    }
}

/// Comments on a PodMonitor, which scales nothing.
fn pod_monitor(root: &Field, comments: &mut Comments) {
    let spec = root.get("spec");
    spec.dismiss();
    let text = "scaling needs none. The operator creates a PodMonitor for each LLMAutoscaler, \
                except where podMonitor.mode is Disabled: take those pods out of this one, or set \
                that. Pods whose page has another port than http, metrics or the engine's usual \
                number, or another path, need sources[].scrape.port and path.";
    comments.note("spec", text);
    finish_metadata(root, &[], comments);
}
