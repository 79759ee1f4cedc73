//! The steps of a simulated LLMAutoscaler, as a file that `evaluate` answers.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::Context;
use llm_autoscaler_simulate::policy::Spec;
use serde_json::{Value, json};

/// A file that is being written.
pub(super) struct StepsFile {
    path: PathBuf,
    state: Rc<RefCell<State>>,
}

struct State {
    file: BufWriter<File>,
    is_first: bool,
    /// The first error; nothing is written after it.
    error: Option<io::Error>,
}

impl StepsFile {
    /// Begins a file with the case of an autoscaler of this name, and records its steps.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub(super) fn begin(path: &Path, name: &str, autoscaler: &mut Spec) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| writing(path))?;
        let mut state = State { file: BufWriter::new(file), is_first: true, error: None };
        let head = [
            ("id", json!(name)),
            ("mode", json!("step")),
            ("profile", json!("Default")),
            ("spec", json!(autoscaler.simulated())),
        ];
        state.write("{\n");
        for (field, value) in head {
            state.write(&format!("\"{field}\": {value},\n"));
        }
        state.write("\"steps\": [");
        let state = Rc::new(RefCell::new(state));
        let receiver = state.clone();
        autoscaler.record_steps(Box::new(move |step| receiver.borrow_mut().add(&step)));
        Ok(Self { path: path.to_owned(), state })
    }

    /// Ends the file after the last step.
    ///
    /// # Errors
    /// Fails if it could not be written.
    pub(super) fn end(self) -> anyhow::Result<()> {
        let mut state = self.state.borrow_mut();
        // A line that begins with this brace ends the case.
        state.write("\n]\n}\n");
        let flushed = state.file.flush();
        let result = state.error.take().map_or(flushed, Err);
        result.with_context(|| writing(&self.path))
    }
}

impl State {
    fn add(&mut self, step: &Value) {
        let separator = if std::mem::take(&mut self.is_first) { "\n" } else { ",\n" };
        self.write(&format!("{separator}{step}"));
    }

    fn write(&mut self, text: &str) {
        if self.error.is_none() {
            self.error = self.file.write_all(text.as_bytes()).err();
        }
    }
}

fn writing(path: &Path) -> String {
    format!("writing the steps to {}", path.display())
}
