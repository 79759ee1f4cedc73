//! Finds, or builds, the programs of the control plane.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The paths of a control plane's programs.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    pub(super) etcd: PathBuf,
    pub(super) apiserver: PathBuf,
    pub(super) controller_manager: PathBuf,
    pub(super) kubectl: PathBuf,
}

impl Binaries {
    /// Finds the programs, and builds them if they are missing. A build takes some minutes and
    /// reports its progress on standard error.
    pub(super) async fn locate() -> Result<Self> {
        Self::in_folder(&crate::script::folder("tests/controlplane/build.sh").await?)
    }

    fn in_folder(folder: &Path) -> Result<Self> {
        let find =
            |names: &[&str]| match names.iter().map(|n| folder.join(n)).find(|path| path.is_file())
            {
                Some(path) => Ok(path),
                None => bail!("there is no {} in {}", names[0], folder.display()),
            };
        Ok(Self {
            etcd: find(&["etcd", "server"])?, // `go build` names etcd after its package
            apiserver: find(&["kube-apiserver"])?,
            controller_manager: find(&["kube-controller-manager"])
                .context("without a controller manager no StatefulSet gets a pod: add it, or unset KUBEBUILDER_ASSETS to build it")?,
            kubectl: find(&["kubectl"])?,
        })
    }
}
