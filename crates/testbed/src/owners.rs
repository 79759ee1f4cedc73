//! The published CRDs of model servers that own workloads. Their controllers are not run.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{ControlPlane, lws, script};

/// The script that fetches the CRDs.
const BUILD: &str = "tests/owners/build.sh";

/// Fetches and installs the CRDs, and returns when the API server serves them.
///
/// # Errors
/// Fails if they cannot be fetched or are refused.
pub async fn install(control_plane: &ControlPlane) -> Result<()> {
    let folder = script::folder(BUILD).await?.join("crds");
    control_plane.apply_file(&folder).await.context("installing the CRDs")?;
    for file in std::fs::read_dir(&folder)? {
        let path = file?.path();
        let text = std::fs::read_to_string(&path)?;
        let crds: Vec<Value> = serde_saphyr::from_multiple(&text)
            .with_context(|| format!("reading {}", path.display()))?;
        for crd in crds {
            let name = crd["metadata"]["name"].as_str().context("a CRD without a name")?;
            lws::until_established(control_plane, name).await?;
        }
    }
    Ok(())
}
