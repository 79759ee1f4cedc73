//! Runs the repository's scripts that build programs once.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// Runs a script that prints the folder of the programs that it has built, now or earlier. The
/// first run takes some minutes and reports its progress on standard error.
pub(crate) async fn folder(script: &str) -> Result<PathBuf> {
    folder_of(script, &[]).await
}

/// Like [`folder`], with arguments for the script.
pub(crate) async fn folder_of(script: &str, arguments: &[&str]) -> Result<PathBuf> {
    let script = crate::repository().join(script);
    let output = Command::new("bash")
        .arg(&script)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await
        .with_context(|| format!("running {}", script.display()))?;
    ensure!(
        output.status.success(),
        "{} failed; the reason is on standard error",
        script.display()
    );
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}
