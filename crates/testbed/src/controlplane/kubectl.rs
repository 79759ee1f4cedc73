//! Runs `kubectl` against a control plane.

use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::ControlPlane;

const FIELD_MANAGER: &str = "--field-manager=testbed";

impl ControlPlane {
    /// Runs `kubectl` as administrator and returns what it prints.
    ///
    /// # Errors
    /// Fails if `kubectl` does; the error holds its standard error.
    pub async fn kubectl<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<String> {
        self.run_kubectl(args.into_iter().collect(), None).await
    }

    /// Applies (server-side) a file, all files of a folder, or a folder with a kustomization.
    ///
    /// # Errors
    /// Fails if the API server refuses an object.
    pub async fn apply_file(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = path.as_ref();
        let flag = if path.join("kustomization.yaml").is_file() { "-k" } else { "-f" };
        let path = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
        self.kubectl(["apply", "--server-side", FIELD_MANAGER, flag, path]).await
    }

    /// Applies (server-side) YAML documents.
    ///
    /// # Errors
    /// Fails if the API server refuses an object.
    pub async fn apply_yaml(&self, yaml: &str) -> Result<String> {
        let args = vec!["apply", "--server-side", FIELD_MANAGER, "-f", "-"];
        self.run_kubectl(args, Some(yaml)).await
    }

    /// Runs `kubectl` as administrator with this standard input, and returns what it prints.
    ///
    /// # Errors
    /// Fails if `kubectl` does; the error holds its standard error.
    pub async fn kubectl_with_input<'a>(
        &self,
        args: impl IntoIterator<Item = &'a str>,
        input: &str,
    ) -> Result<String> {
        self.run_kubectl(args.into_iter().collect(), Some(input)).await
    }

    async fn run_kubectl(&self, args: Vec<&str>, input: Option<&str>) -> Result<String> {
        let Output { status, stdout, stderr } = self
            .spawn_kubectl(&args, input)
            .await
            .with_context(|| format!("running {}", self.binaries.kubectl.display()))?;
        if !status.success() {
            bail!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&stderr).trim());
        }
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }

    async fn spawn_kubectl(&self, args: &[&str], input: Option<&str>) -> std::io::Result<Output> {
        let mut child = Command::new(&self.binaries.kubectl)
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            // The default cache is keyed by port, and a later control plane may reuse a port with
            // other APIs.
            .arg("--cache-dir")
            .arg(self.dir.path().join("kubectl-cache"))
            .args(args)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            stdin.write_all(input.as_bytes()).await?;
        }
        child.wait_with_output().await
    }
}
