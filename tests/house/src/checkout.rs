//! The files of a checkout, and where it lies.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// A checkout of the project.
#[derive(Clone, Debug)]
pub struct Checkout {
    root: PathBuf,
    judged: bool,
}

/// A text file of the checkout.
#[derive(Clone, Debug)]
pub struct TextFile {
    /// Its path, relative to the root of the checkout, with `/` between folders.
    pub name: String,
    /// Its content.
    pub text: String,
}

impl Checkout {
    /// Opens the checkout that this package was built from, or the one that `HOUSE_ROOT` names.
    ///
    /// # Errors
    /// If the folder does not exist.
    pub fn open() -> Result<Self> {
        let named = env::var_os("HOUSE_ROOT");
        let judged = named.is_none();
        let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let root = named.map_or_else(own, PathBuf::from);
        let root = root.canonicalize().with_context(|| format!("opening {}", root.display()))?;
        Ok(Self { root, judged })
    }

    /// Returns true for this package's own checkout. Another one is only measured.
    pub fn is_judged(&self) -> bool {
        self.judged
    }

    /// The root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Reads all files below `folder` that end with `.extension`, sorted by name.
    ///
    /// # Errors
    /// If a folder or a file cannot be read.
    pub fn files(&self, folder: &str, extension: &str) -> Result<Vec<TextFile>> {
        let mut paths = Vec::new();
        list(&self.root.join(folder), extension, &mut paths)?;
        paths.sort();
        paths.into_iter().map(|path| self.read(&path)).collect()
    }

    /// Reads the project's Rust sources: crates and tests.
    ///
    /// # Errors
    /// See [`Self::files`].
    pub fn rust(&self) -> Result<Vec<TextFile>> {
        Ok([self.files("crates", "rs")?, self.files("tests", "rs")?].concat())
    }

    /// Reads the project's pages: those at the top, and those in the folders with sources.
    ///
    /// # Errors
    /// See [`Self::files`].
    pub fn markdown(&self) -> Result<Vec<TextFile>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_file() && path.extension().is_some_and(|it| it == "md") {
                found.push(self.read(&path)?);
            } else if ["config", "crates", "docs", "tests"].contains(&name.as_str()) {
                found.extend(self.files(&name, "md")?);
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn read(&self, path: &Path) -> Result<TextFile> {
        let text =
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let name = path.strip_prefix(&self.root).unwrap_or(path).to_string_lossy().into_owned();
        Ok(TextFile { name, text })
    }
}

fn list(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !is_output(&path) {
            list(&path, extension, found)?;
        } else if path.is_file() && path.extension().is_some_and(|it| it == extension) {
            found.push(path);
        }
    }
    Ok(())
}

/// Returns true for folders that tools fill: hidden ones, and those that are marked as caches.
fn is_output(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || name == "node_modules" || folder.join("CACHEDIR.TAG").exists()
}
