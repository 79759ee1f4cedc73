//! `config/namespaced`, as a user installs it: by a kustomization of one's own.

use std::path::PathBuf;

use anyhow::{Context, Result};
use llm_autoscaler_testbed::repository;
use serde_json::json;

use crate::Stage;

/// A kustomization that installs `config/namespaced` into the namespace of a stage.
pub struct Installation<'a> {
    stage: &'a Stage,
    folder: PathBuf,
}

impl<'a> Installation<'a> {
    /// Writes the kustomization, as the comment in `config/namespaced` says.
    ///
    /// # Errors
    /// Fails if it cannot be written.
    pub fn write(stage: &'a Stage) -> Result<Self> {
        // Its resources are relative paths.
        let folder = stage.folder()?.canonicalize()?;
        let base = repository().join("config/namespaced").canonicalize()?;
        let up = "../".repeat(folder.components().count() - 1);
        let base = format!("{up}{}", base.strip_prefix("/")?.display());
        let kustomization = json!({"namespace": stage.namespace, "resources": [base]});
        std::fs::write(folder.join("kustomization.yaml"), kustomization.to_string())?;
        Ok(Self { stage, folder })
    }

    /// Returns the objects that it installs, as YAML.
    ///
    /// # Errors
    /// Fails if kustomize does.
    pub async fn render(&self) -> Result<String> {
        let folder = self.folder.to_str().context("the folder's name is not UTF-8")?;
        self.stage.control_plane().kubectl(["kustomize", folder]).await
    }

    /// Applies the objects.
    ///
    /// # Errors
    /// Fails if the API server refuses one.
    pub async fn apply(&self) -> Result<()> {
        self.stage.control_plane().apply_file(&self.folder).await.map(drop)
    }
}
