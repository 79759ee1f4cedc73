//! Prometheus's parsers in a process of their own, which `tests/parser/build.sh` builds.

use std::{
    collections::HashMap,
    error::Error,
    io::{BufRead, BufReader, BufWriter, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::json;

use crate::{
    answers,
    lines::{Format, Oracle},
    model::{Bytes, Verdict},
};

/// The number of answers that are cached, because the same lines come again and again.
const KEPT: usize = 200_000;

pub(crate) struct Process {
    child: Child,
    questions: BufWriter<ChildStdin>,
    answers: BufReader<ChildStdout>,
    known: HashMap<(Format, Bytes), Verdict>,
    /// All questions since the caller last cleared the list.
    pub asked: Vec<(Format, Bytes)>,
}

impl Process {
    pub(crate) fn start(path: &str) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(path);
        command.arg("parse").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("starting {path}: {error}"))?;
        let (questions, answers) = (child.stdin.take(), child.stdout.take());
        let (Some(questions), Some(answers)) = (questions, answers) else {
            return Err("the oracle has no pipes".into());
        };
        let (questions, answers) = (BufWriter::new(questions), BufReader::new(answers));
        Ok(Self { child, questions, answers, known: HashMap::new(), asked: Vec::new() })
    }

    fn answer(&mut self, format: Format, page: &[u8]) -> Result<Verdict, Box<dyn Error>> {
        let question = json!({"id": 0, "format": format.name(), "page": BASE64.encode(page)});
        writeln!(self.questions, "{question}")?;
        self.questions.flush()?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err("the oracle has ended".into());
        }
        let verdict = answers::verdict(&serde_json::from_str(&line)?)?;
        // A parser that panics has no verdict about the page.
        match &verdict.error {
            Some(error) if error.starts_with("panic") => Err(format!("the oracle: {error}").into()),
            _ => Ok(verdict),
        }
    }
}

impl Oracle for Process {
    fn ask(&mut self, format: Format, page: &[u8]) -> Verdict {
        let key = (format, page.to_owned());
        self.asked.push(key.clone());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let verdict = match self.answer(format, page) {
            Ok(verdict) => verdict,
            Err(error) => {
                // A comparison without the oracle would be worthless.
                eprintln!(
                    "{error}; the question was about a {} page: {}",
                    format.name(),
                    page.escape_ascii()
                );
                std::process::exit(2);
            }
        };
        if self.known.len() >= KEPT {
            self.known.clear();
        }
        self.known.insert(key, verdict.clone());
        verdict
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
