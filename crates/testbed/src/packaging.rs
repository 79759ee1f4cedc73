//! The real programs with which people install: Helm and kustomize; and kubeconform, which checks
//! manifests by schemas.
//!
//! The first use builds them, which takes some minutes.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::{ControlPlane, script};

/// The script that builds the programs.
const BUILD: &str = "tests/packaging/build.sh";

/// The programs, and a folder for what Helm keeps.
pub struct Packaging {
    programs: PathBuf,
    home: TempDir,
}

impl Packaging {
    /// Finds the programs, and builds them if they are missing.
    ///
    /// # Errors
    /// Fails if they cannot be built.
    pub async fn locate() -> Result<Self> {
        let programs = script::folder(BUILD).await?;
        let home = tempfile::Builder::new().prefix("packaging-").tempdir()?;
        Ok(Self { programs, home })
    }

    /// Returns a folder for files, which is removed with this value.
    pub fn folder(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    /// Returns the files with the published CRDs of ServiceMonitors and `PrometheusRules`.
    pub fn monitoring_crds(&self) -> [PathBuf; 2] {
        ["servicemonitors.yaml", "prometheusrules.yaml"].map(|file| self.programs.join(file))
    }

    /// Runs Helm as the administrator of a control plane, and returns what it prints.
    ///
    /// # Errors
    /// Fails if Helm does; the error holds its standard error.
    pub async fn helm(&self, control_plane: &ControlPlane, args: &[&str]) -> Result<String> {
        let mut command = Command::new(self.programs.join("helm"));
        command.args(args).env("KUBECONFIG", control_plane.kubeconfig());
        for (variable, folder) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
        ] {
            command.env(variable, self.home.path().join(folder));
        }
        run(command, None).await
    }

    /// Builds a kustomization, and returns its objects as YAML.
    ///
    /// # Errors
    /// Fails if kustomize does; the error holds its standard error.
    pub async fn kustomize(&self, folder: impl AsRef<OsStr>) -> Result<String> {
        let mut command = Command::new(self.programs.join("kustomize"));
        command.arg("build").arg(folder);
        run(command, None).await
    }

    /// Checks objects as YAML by the schemas of a folder, which are named after group, version and
    /// kind.
    ///
    /// # Errors
    /// An object does not satisfy its schema, or has none.
    pub async fn kubeconform(&self, schemas: &str, yaml: &str) -> Result<String> {
        let mut command = Command::new(self.programs.join("kubeconform"));
        let location = format!(
            "{schemas}/{{{{.Group}}}}_{{{{.ResourceAPIVersion}}}}_{{{{.ResourceKind}}}}.json"
        );
        command.args(["-summary", "-schema-location", &location, "-"]);
        run(command, Some(yaml)).await
    }
}

async fn run(mut command: Command, input: Option<&str>) -> Result<String> {
    let what = format!("{:?}", command.as_std());
    let mut child = command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("running {what}"))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    if !output.status.success() {
        bail!("{what}: {}\n{}", stderr.trim(), stdout.trim());
    }
    Ok(stdout)
}
