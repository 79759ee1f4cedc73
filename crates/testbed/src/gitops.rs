//! GitOps tools as programs: Helm, and the libraries by which Flux applies objects and by which
//! Flux, Helm and Argo CD judge them.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::{ControlPlane, script};

/// The script that builds the programs.
const BUILD: &str = "tests/gitops/build.sh";
/// The folder with Argo CD's customization of the kind, in the layout of its repository.
const CUSTOMIZATION: &str = "deploy/argocd/llmautoscaler.io/LLMAutoscaler";

/// The programs.
#[derive(Clone, Debug)]
pub struct GitOpsTools {
    folder: PathBuf,
}

/// An object as kstatus judges it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kstatus {
    /// `InProgress`, `Current`, `Failed` or `Terminating`.
    pub status: String,
    /// The reason.
    pub message: String,
}

impl GitOpsTools {
    /// Builds the programs, now or earlier.
    ///
    /// # Errors
    /// Fails if they cannot be built.
    pub async fn build() -> Result<Self> {
        Ok(Self { folder: script::folder(BUILD).await? })
    }

    /// Returns the status of an object by kstatus: both by upstream's library and by the one of
    /// Flux and Helm, which agree.
    ///
    /// # Errors
    /// Fails if they disagree.
    pub async fn kstatus(&self, object: &Value) -> Result<Kstatus> {
        let text = self.ask(&["kstatus"], object).await?;
        let (status, message) = text.split_once('\n').context("kstatus printed one line")?;
        Ok(Kstatus { status: status.to_owned(), message: message.trim().to_owned() })
    }

    /// Returns the health of an object by Argo CD's script: its status, and the message.
    ///
    /// # Errors
    /// Fails if the script does.
    pub async fn health(&self, object: &Value) -> Result<(String, String)> {
        let folder = customization();
        let text = self.ask(&["health", utf8(&folder)?], object).await?;
        let health: Value = serde_json::from_str(&text)?;
        let field = |name: &str| health[name].as_str().unwrap_or_default().to_owned();
        Ok((field("status"), field("message")))
    }

    /// Returns an object as one of Argo CD's actions leaves it.
    ///
    /// # Errors
    /// Fails if the script does.
    pub async fn action(&self, name: &str, object: &Value) -> Result<Value> {
        let folder = customization();
        let text = self.ask(&["action", utf8(&folder)?, name], object).await?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Runs the tests of Argo CD's customization, and returns their number as a sentence.
    ///
    /// # Errors
    /// Fails if one of them does.
    pub async fn test_customization(&self) -> Result<String> {
        let folder = customization();
        let mut command = Command::new(self.folder.join("gitops"));
        command.args(["customization", utf8(&folder)?]);
        Ok(run(command, None).await?.trim().to_owned())
    }

    /// Applies objects as Flux's kustomize-controller does.
    ///
    /// # Errors
    /// Fails if the API server refuses one.
    pub async fn flux_apply(&self, control_plane: &ControlPlane, objects: &str) -> Result<String> {
        let mut command = Command::new(self.folder.join("gitops"));
        command.arg("flux-apply").env("KUBECONFIG", control_plane.kubeconfig());
        run(command, Some(objects)).await
    }

    /// Runs Helm as administrator.
    ///
    /// # Errors
    /// Fails if Helm does; the error holds its standard error.
    pub async fn helm(&self, control_plane: &ControlPlane, args: &[&str]) -> Result<String> {
        let mut command = Command::new(self.folder.join("helm"));
        let home = control_plane.dir().join("helm");
        command.args(args).env("KUBECONFIG", control_plane.kubeconfig());
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            command.env(variable, &home);
        }
        run(command, None).await
    }

    async fn ask(&self, args: &[&str], object: &Value) -> Result<String> {
        let mut command = Command::new(self.folder.join("gitops"));
        command.args(args);
        run(command, Some(&object.to_string())).await
    }
}

/// Returns the folder with Argo CD's customization of the kind.
pub fn customization() -> PathBuf {
    crate::repository().join(CUSTOMIZATION)
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

/// Runs a program with this standard input, and returns its standard output.
async fn run(mut command: Command, input: Option<&str>) -> Result<String> {
    command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("starting {command:?}"))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", stderr.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
