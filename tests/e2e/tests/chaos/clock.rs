//! The wall clock of a copy, which the test sets.
//!
//! The operator has no way to be told another time. A library that is preloaded into its process
//! adds a number of seconds, from a file that it has mapped, to what the system's wall clock says;
//! the monotonic clock is left alone, as by a person that sets the system's clock.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_testbed::repository;

/// The clock of one copy.
pub(crate) struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    /// Builds the library in a folder, if it is not there, and sets a clock to the right time.
    pub(crate) fn new(folder: &Path, name: &str) -> Result<Self> {
        let library = folder.join("clock.so");
        if !library.exists() {
            let source = repository().join("tests/e2e/tests/chaos/clock.c");
            let built = Command::new("cc")
                .args(["-shared", "-fPIC", "-O1", "-o"])
                .args([&library, &source])
                .arg("-ldl")
                .status()
                .context("running cc, which links Rust programs too")?;
            ensure!(built.success(), "cc could not build {}", source.display());
        }
        let clock = Self { library, file: folder.join(format!("{name}.clock")) };
        clock.set(0)?;
        Ok(clock)
    }

    /// Returns the environment in which a process has this clock.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("CHAOS_CLOCK", self.file.display().to_string()),
        ]
    }

    /// Sets the clock to a number of seconds after the right time, or before it.
    pub(crate) fn set(&self, seconds: i64) -> Result<()> {
        use std::os::unix::fs::FileExt;
        let file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.file)
            .with_context(|| format!("opening {}", self.file.display()))?;
        // The file is mapped by the copy, so it is changed in place and at once.
        Ok(file.write_all_at(&seconds.to_ne_bytes(), 0)?)
    }
}
