//! A person with a shell: kubectl and the binary under test, in a namespace.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{cluster::operator_binary, stage::Stage};

/// An administrator whose context has the namespace of a stage.
pub struct User {
    folder: PathBuf,
    kubeconfig: PathBuf,
    path: String,
}

/// The two streams of a command that has succeeded.
#[derive(Debug)]
pub struct Told {
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub error: String,
}

impl User {
    /// Creates a user whose commands run in the stage's folder.
    ///
    /// # Errors
    /// The binary has not been built, or a file cannot be written.
    pub fn of(stage: &Stage) -> Result<Self> {
        let folder = stage.folder()?;
        let kubeconfig = folder.join("user.kubeconfig");
        let config = fs::read(stage.control_plane().kubeconfig())?;
        let mut config: Value = serde_json::from_slice(&config)?;
        config["contexts"][0]["context"]["namespace"] = json!(stage.namespace);
        fs::write(&kubeconfig, config.to_string())?;
        let ours = operator_binary()?;
        let ours = ours.parent().context("the binary has no folder")?;
        let kubectl = stage.control_plane().kubectl_path();
        let kubectl = kubectl.parent().context("kubectl has no folder")?;
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{}:{path}", ours.display(), kubectl.display());
        Ok(Self { folder, kubeconfig, path })
    }

    /// Returns the folder of the user's files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a command by a shell.
    ///
    /// # Errors
    /// It does not succeed; the error has what it printed.
    pub async fn run(&self, command: &str) -> Result<Told> {
        let output = Command::new("bash")
            .args(["-o", "pipefail", "-c", command])
            .current_dir(&self.folder)
            .env("PATH", &self.path)
            .env("KUBECONFIG", &self.kubeconfig)
            .kill_on_drop(true)
            .output()
            .await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let told = Told { output: text(&output.stdout), error: text(&output.stderr) };
        ensure!(output.status.success(), "{command}: {}{}", told.output, told.error);
        Ok(told)
    }
}
