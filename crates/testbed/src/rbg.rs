//! A stand-in for the RoleBasedGroup controller, for tests of autoscalers for its roles.
//!
//! ```text
//!  RoleBasedGroupSet  ->  RoleBasedGroup  <->  RoleBasedGroupScalingAdapter   (autoscalers write
//!                              |                                             its /scale)
//!              RoleInstanceSet, StatefulSet or Deployment, one per role
//!                              |
//!              RoleInstance, one per replica of a RoleInstanceSet  ->  pods, one or more
//! ```
//!
//! **Scope.** It reconciles the published kinds of `workloads.x-k8s.io` as the real controller was
//! observed to do on a real control plane: sgl-project/rbg v0.8.0-alpha.5, commit 993491f, with its
//! webhooks off. Its mistakes are reproduced, because an autoscaler has to cope with them: adapters
//! without a readable scale until they are bound, selectors that are empty or malformed, a status
//! that repeats the desired number, counts of a rollout that are outdated. Each of these behaviours
//! is an assertion of the test program `targets` of `tests/e2e`, in `stand_in.rs`.
//!
//! **Limits.** It shares no code with the controller. It has no webhooks and no conversion, no
//! start order of roles, no gang scheduling, no Services and no LeaderWorkerSet roles. Patches of
//! templates are merged as JSON merges. A change of a role's template changes only the instances
//! of RoleInstanceSets. An update in place is done at once, without an unready moment. A rollout
//! that an unready instance blocks goes on only when that is ready. A new instance below a
//! partition has the new template. Where the cause of a behaviour was not measured, only its
//! outcome is reproduced: the workload of a set's child follows the set's template, even against
//! the adapter.
//!
//! **Sources.** Further details follow the controller's source, at commits near that one, and were
//! not measured: the size of a policy's batches, the names of pods of standalone and custom roles,
//! the text of the Ready condition, the fields of a set's template, rollouts that replace pods, and
//! the choice among stateless instances. It is an inference from both that an adapter's number
//! reaches a stale role again when the role's readiness changes. It is an assumption that a
//! template's readiness gates are kept beside the controller's own.
//!
//! Its own small CRDs are in `rbg/crds.yaml`; if `RBG_CRDS` names a folder, the published ones are
//! installed from there instead.

mod adapters;
mod coordination;
mod events;
mod group_sets;
mod groups;
mod instance;
mod instances;
mod labels;
mod objects;
mod role;
mod status;
mod victims;
mod workloads;
mod world;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;

use crate::task::Task;
use crate::{ControlPlane, wait};
pub use objects::Kind;
use world::World;

/// The interval between two passes over all objects. A pass reads a cache, so one without changes
/// is cheap.
const INTERVAL: Duration = Duration::from_millis(50);

/// The behaviours that vary with the real controller, or that take it a variable time.
#[derive(Debug, Clone)]
pub struct Options {
    /// The only namespace that it reconciles; `None` for all of them.
    pub namespace: Option<String>,
    /// The selector that an adapter gets when it is bound.
    pub selector: AdapterSelector,
    /// The time until an adapter is bound. Until then it has no replicas; the real controller takes
    /// some 50 ms.
    pub binding: Duration,
}

/// The selector in an adapter's status, which is computed once, when the adapter is bound. Adapters
/// of StatefulSets and Deployments never have one. Of a RoleInstanceSet, only the first adapter of
/// a role gets a wrong one: if that is deleted, its successor finds the set's status written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdapterSelector {
    /// The selector that follows from a complete status of the set: the set's own, for leader and
    /// workers with `component-index=0`.
    Right,
    /// An empty selector.
    Empty,
    /// The selector that follows from a set without a status: for leader and workers
    /// `,…/component-index=0`, which cannot be parsed; for other patterns empty.
    LeadingComma,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: None,
            selector: AdapterSelector::Right,
            binding: Duration::from_millis(50),
        }
    }
}

impl Options {
    /// Returns the default options, for one namespace.
    pub fn in_namespace(namespace: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..Self::default() }
    }
}

/// The running stand-in. Dropping it stops it; its objects stay.
pub struct RbgController {
    _task: Task,
}

impl RbgController {
    /// Installs the CRDs that are missing, and starts to reconcile.
    ///
    /// # Errors
    /// Fails if the CRDs are refused or the API server does not answer.
    pub async fn start(control_plane: &ControlPlane, options: Options) -> Result<Self> {
        install(control_plane).await.context("installing the CRDs of RoleBasedGroups")?;
        let world = World::watch(control_plane.client(), options.namespace.as_deref()).await?;
        Ok(Self { _task: Task::spawn(run(world, options)) })
    }
}

/// Runs a pass of each controller in turn.
async fn run(world: World, options: Options) {
    let mut adapters = adapters::Adapters::new(options.selector, options.binding);
    let mut instances = instances::Instances::default();
    loop {
        group_sets::pass(&world).await;
        adapters.pass(&world).await;
        groups::pass(&world).await;
        instances.pass(&world).await;
        instance::pass(&world).await;
        tokio::time::sleep(INTERVAL).await;
    }
}

const CRDS: &str = include_str!("rbg/crds.yaml");

async fn install(control_plane: &ControlPlane) -> Result<()> {
    let crds = Api::<CustomResourceDefinition>::all(control_plane.client());
    for kind in Kind::ALL {
        if crds.get_opt(&kind.crd()).await?.is_none() {
            control_plane.apply_yaml(&manifests()?).await?;
            break;
        }
    }
    for kind in Kind::ALL {
        let what = format!("{} to be established", kind.crd());
        wait::until(&what, Duration::from_secs(30), async || {
            let status = crds.get(&kind.crd()).await?.status.unwrap_or_default();
            let mut conditions = status.conditions.into_iter().flatten();
            let is_so =
                conditions.any(|found| found.type_ == "Established" && found.status == "True");
            Ok(is_so.then_some(()))
        })
        .await?;
    }
    Ok(())
}

/// Returns our own CRDs, without those that published ones replace.
fn manifests() -> Result<String> {
    let folder = std::env::var_os("RBG_CRDS").map(PathBuf::from);
    let published = folder.as_deref().map_or(Ok(Vec::new()), yaml_files)?;
    let ours = CRDS.split("\n---\n").filter(|crd| !is_among(crd, &published));
    let all: Vec<_> = ours.chain(published.iter().map(String::as_str)).collect();
    Ok(all.join("\n---\n"))
}

fn yaml_files(folder: &Path) -> Result<Vec<String>> {
    let reading = || format!("reading the CRDs in {} (RBG_CRDS)", folder.display());
    let mut texts = Vec::new();
    for file in std::fs::read_dir(folder).with_context(reading)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            texts.push(std::fs::read_to_string(&path).with_context(reading)?);
        }
    }
    Ok(texts)
}

/// Returns true if one of the texts contains a CRD of the same name.
fn is_among(crd: &str, texts: &[String]) -> bool {
    let name =
        |text: &str| text.lines().find(|line| line.starts_with("  name: ")).map(str::to_owned);
    texts.iter().any(|text| name(text) == name(crd))
}
