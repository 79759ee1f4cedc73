//! A stand-in for the RoleBasedGroup controller, for tests of what scales its roles.
//!
//! ```text
//!  RoleBasedGroupSet  ->  RoleBasedGroup  <->  RoleBasedGroupScalingAdapter   whose /scale autoscalers write
//!                              |
//!              RoleInstanceSet, StatefulSet or Deployment, one per role
//!                              |
//!              RoleInstance, one per replica of a RoleInstanceSet  ->  pods, one or more
//! ```
//!
//! **What it is.** It treats the published kinds of `workloads.x-k8s.io` as the real controller was seen to treat them when it ran
//! against a real control plane: sgl-project/rbg v0.8.0-alpha.5, commit 993491f, with its webhooks off. Its mistakes are reproduced
//! with the rest, because a scaler has to live with them: adapters whose scale cannot be read until they are bound, selectors that are
//! empty or no selectors, a status that repeats the desired number. Each of these behaviours is an assertion of the test program
//! `targets` of `tests/e2e`, in `stand_in.rs`.
//!
//! **What it is not.** It shares no code with the controller. It has no webhooks and no conversion, no order of roles' starts, no gang
//! scheduling, no Services, no LeaderWorkerSet roles; patches of templates are merged as JSON merges. A change of a role's template
//! replaces the instances of RoleInstanceSets only, and by new ones: nothing is updated in place, there is no `maxSurge`, and an instance
//! that is made below a partition is of the new template. Where the cause of a behaviour was not measured, only its
//! outcome is reproduced: the workload of a set's child follows the set's template, whatever the adapter says.
//!
//! **What was read, not measured.** Details in between follow the controller's source, at commits near that one: the size of a policy's
//! batches, the names of pods of standalone and custom roles, the words of the Ready condition, the fields of a set's template; all of
//! stateless roles, and of rollouts. That an
//! adapter's number reaches a stale role again when the role's readiness changes is an inference from both; that readiness gates of a
//! template are kept beside the controller's own is an assumption.
//!
//! Its own small CRDs are in `crds.yaml`; the published ones are installed instead from the folder that `RBG_CRDS` names.

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

/// How often the stand-in looks at everything. It looks at a cache, so a look at what is at rest costs nothing.
const INTERVAL: Duration = Duration::from_millis(50);

/// What the stand-in does where the real controller does not always do the same, or takes a time of its own.
#[derive(Debug, Clone)]
pub struct Options {
    /// The only namespace that it looks at; `None` for all of them.
    pub namespace: Option<String>,
    /// What becomes of the selector when an adapter is bound.
    pub selector: AdapterSelector,
    /// How long an adapter stays without replicas until it is bound; with the real controller some 50 ms.
    pub binding: Duration,
}

/// The selector in the status of an adapter, which is computed once, when the adapter is bound. The adapter of a StatefulSet or a
/// Deployment never has one. Of a RoleInstanceSet, only the first adapter of a role has a wrong one: when it is deleted, its
/// successor finds the set's status written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdapterSelector {
    /// As computed from a set whose status is there: that of the set, for leader and workers with `component-index=0`.
    Right,
    /// Empty.
    Empty,
    /// As computed from a set whose status is not there yet: for leader and workers `,…/component-index=0`, which nobody can parse; for
    /// other patterns empty.
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
    /// The default in one namespace.
    pub fn in_namespace(namespace: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..Self::default() }
    }
}

/// The stand-in, while it runs. Dropping it stops it; what it has made stays.
pub struct RbgController {
    _task: Task,
}

impl RbgController {
    /// Installs the CRDs where they are missing, and starts to look after what there is and what comes.
    ///
    /// # Errors
    /// The CRDs are refused, or the API server does not answer.
    pub async fn start(control_plane: &ControlPlane, options: Options) -> Result<Self> {
        install(control_plane).await.context("installing the CRDs of RoleBasedGroups")?;
        let world = World::watch(control_plane.client(), options.namespace.as_deref()).await?;
        Ok(Self { _task: Task::spawn(run(world, options)) })
    }
}

/// One thing after the other, as if each were a controller with a queue of its own.
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

const CRDS: &str = include_str!("crds.yaml");

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

/// Our own CRDs, but for those that the published ones replace.
fn manifests() -> Result<String> {
    let folder = std::env::var_os("RBG_CRDS").map(PathBuf::from);
    let published = folder.as_deref().map_or(Ok(Vec::new()), yaml_files)?;
    let ours = CRDS.split("\n---\n").filter(|crd| !is_among(crd, &published));
    let all: Vec<_> = ours.chain(published.iter().map(String::as_str)).collect();
    Ok(all.join("\n---\n"))
}

fn yaml_files(folder: &Path) -> Result<Vec<String>> {
    let reading = || format!("reading the CRDs in {}, as RBG_CRDS says", folder.display());
    let mut texts = Vec::new();
    for file in std::fs::read_dir(folder).with_context(reading)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            texts.push(std::fs::read_to_string(&path).with_context(reading)?);
        }
    }
    Ok(texts)
}

/// Whether one of the texts has a CRD of the same name.
fn is_among(crd: &str, texts: &[String]) -> bool {
    let name =
        |text: &str| text.lines().find(|line| line.starts_with("  name: ")).map(str::to_owned);
    texts.iter().any(|text| name(text) == name(crd))
}
