//! Finds out the commit that is built, for `--version` and the operator's metrics.
//!
//! The variable `LLM_AUTOSCALER_REVISION` names it where the sources are not a checkout, as in the
//! build of the image. Without it and without Git the commit is `unknown`, and the build goes on.

use std::{env, path::Path, process::Command};

const VARIABLE: &str = "LLM_AUTOSCALER_REVISION";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let named = env::var(VARIABLE).ok().filter(|revision| !revision.is_empty());
    let revision = named.or_else(head).unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env={VARIABLE}={revision}");
}

/// Returns the commit of the checkout that this file belongs to. A repository around a folder with
/// unpacked sources has not committed this file, and its commit means nothing.
fn head() -> Option<String> {
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    // The log of HEAD grows with each commit and each switch of the branch.
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// Returns what Git prints, if it is there and succeeds.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
