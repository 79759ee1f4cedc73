//! The results of `replay`, and how near they are to the load that was sent.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::{Stage, operator_binary};
use serde_json::Value;
use tokio::process::{Child, Command};

use crate::service::Sent;

/// The greatest differences: of requests, and of tokens.
const REQUESTS: f64 = 0.02;
const TOKENS: f64 = 0.05;

/// A recording of what was sent.
pub(crate) struct Replay<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) server: &'a str,
    pub(crate) sent: &'a Sent,
    /// The folder, by its name.
    pub(crate) folder: &'static str,
}

impl Replay<'_> {
    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(operator_binary()?);
        command.args(["replay", "--prometheus", self.server, "--pods", "llm-.*", "--chunk", "1m"]);
        command.args(["--namespace", &self.stage.namespace]);
        command.arg("--recording").arg(self.path()?);
        command.args(["--from", &self.sent.from.to_rfc3339()]);
        command.args(["--to", &self.sent.to.to_rfc3339()]);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(command)
    }

    pub(crate) fn path(&self) -> Result<PathBuf> {
        Ok(self.stage.folder()?.join(self.folder))
    }

    /// Starts it, to be killed.
    pub(crate) fn spawn(&self) -> Result<Child> {
        Ok(self.command(&[])?.spawn()?)
    }

    /// Runs it, and returns its output as text.
    pub(crate) async fn text(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments)?.output().await?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "replay: {errors}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs it with two policies, and returns its output.
    pub(crate) async fn json(&self) -> Result<Value> {
        let arguments = ["-o=json", "--seeds=2", "--policy=static=3", "--policy=hpa-queue"];
        Ok(serde_json::from_str(&self.text(&arguments).await?)?)
    }

    /// Compares the numbers of a recording, and its trace, with what was sent. Returns the
    /// differences in words.
    pub(crate) fn compare(&self, json: &Value) -> Result<String> {
        let measured = &json["measured"];
        let number = |name: &str| measured[name].as_f64().context("no number");
        let (prompts, outputs) = self.sent.tokens();
        let trace = Trace::read(&self.path()?.join("trace.csv"))?;
        let turn = (self.sent.turn - self.sent.from).as_seconds_f64();
        let first = trace.0.iter().filter(|(at, ..)| *at < turn).count() as f64;
        let mut told = Vec::new();
        for (what, found, expected, limit) in [
            ("requests", number("requests")?, self.sent.requests(), REQUESTS),
            ("prompt tokens", number("promptTokens")?, prompts, TOKENS),
            ("generated tokens", number("outputTokens")?, outputs, TOKENS),
            ("requests of the trace", trace.0.len() as f64, self.sent.requests(), REQUESTS),
            ("its prompt tokens", trace.sum(|it| it.1), prompts, TOKENS),
            ("its generated tokens", trace.sum(|it| it.2), outputs, TOKENS),
            ("its first half", first, self.sent.halves[0] as f64, TOKENS),
        ] {
            let off = found / expected - 1.0;
            ensure!(off.abs() <= limit, "{what}: {found:.0}, and {expected:.0} were sent");
            told.push(format!("{what} {found:.0} of {expected:.0} ({:+.2} %)", off * 100.0));
        }
        Ok(told.join(", "))
    }
}

/// A trace: times, prompt tokens and generated tokens.
struct Trace(Vec<(f64, f64, f64)>);

impl Trace {
    fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file)?;
        let rows = text.lines().skip(1).map(|line| {
            let numbers = line.split(',').map(str::parse).collect::<Result<Vec<f64>, _>>()?;
            let [at, prompt, output] = numbers[..] else { anyhow::bail!("{line}") };
            Ok((at, prompt, output))
        });
        Ok(Self(rows.collect::<Result<_>>()?))
    }

    fn sum(&self, of: fn(&(f64, f64, f64)) -> f64) -> f64 {
        self.0.iter().map(of).sum()
    }
}
