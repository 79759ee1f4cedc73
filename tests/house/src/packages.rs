//! The workspace's packages and what they depend on, as Cargo knows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::checkout::Checkout;

/// The packages of the workspace, each with those that its manifest names for whatever purpose.
///
/// # Errors
/// If Cargo fails.
pub fn workspace(checkout: &Checkout) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let json = cargo(checkout, &["metadata", "--no-deps", "--format-version=1"])?;
    dependencies(&serde_json::from_str(&json).context("parsing cargo metadata")?)
}

/// The names of all packages that are built into `package`, with only its own features.
///
/// # Errors
/// If Cargo fails, as it does without such a package.
pub fn closure(checkout: &Checkout, package: &str) -> Result<BTreeSet<String>> {
    let tree = cargo(
        checkout,
        &["tree", "--locked", "--package", package, "--edges=normal", "--prefix=none"],
    )?;
    let first_word = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    Ok(tree.lines().map(first_word).filter(|name| !name.is_empty() && name != package).collect())
}

fn dependencies(metadata: &Value) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let packages = metadata["packages"].as_array().context("no packages")?;
    let name = |it: &Value| it["name"].as_str().map(str::to_owned).context("no name");
    packages
        .iter()
        .map(|package| {
            let named = package["dependencies"].as_array().context("no dependencies")?;
            Ok((name(package)?, named.iter().map(name).collect::<Result<_>>()?))
        })
        .collect()
}

pub(crate) fn cargo(checkout: &Checkout, arguments: &[&str]) -> Result<String> {
    let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program)
        .args(arguments)
        .current_dir(checkout.root())
        .output()
        .context("starting cargo")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo {}: {errors}", arguments.join(" "));
    Ok(String::from_utf8(output.stdout)?)
}

/// The dependencies between packages of the workspace that `allowed` does not name.
pub fn forbidden(
    packages: &BTreeMap<String, BTreeSet<String>>,
    allowed: &[(&str, &[&str])],
) -> Vec<String> {
    let mut found = Vec::new();
    for (package, named) in packages {
        let Some((_, below)) = allowed.iter().find(|(name, _)| name == package) else {
            found.push(format!("{package} has no row in CRATES; say what it may depend on"));
            continue;
        };
        let ours = named.iter().filter(|name| packages.contains_key(*name));
        let bad = ours.filter(|name| !below.contains(&name.as_str()));
        found.extend(bad.map(|name| format!("{package} must not depend on {name}")));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{dependencies, forbidden};

    #[test]
    fn a_dependency_upwards_and_an_unknown_package_are_found() {
        let packages = dependencies(&json!({"packages": [
            {"name": "core", "dependencies": [{"name": "serde"}, {"name": "api"}]},
            {"name": "api", "dependencies": [{"name": "core"}]},
            {"name": "new", "dependencies": []},
        ]}))
        .unwrap();
        assert_eq!(
            forbidden(&packages, &[("core", &[]), ("api", &["core"])]),
            ["core must not depend on api", "new has no row in CRATES; say what it may depend on"]
        );
    }
}
