//! Runs a program, such as a real engine, in a pod.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::sync::watch;

use super::Place;
use crate::process::{Process, Spec};
use crate::task::Task;

/// A program that is started for each pod. Its environment has the pod's address as `POD_IP` and
/// `PORT`, and its name as `POD_NAMESPACE` and `POD_NAME`. The pod is ready while `GET health_path`
/// on its address answers 200.
#[derive(Debug, Clone)]
pub struct Command {
    /// The path of the program.
    pub program: PathBuf,
    /// Its arguments. A shell (`sh -c`) can insert the variables in them.
    pub args: Vec<OsString>,
    /// Further environment variables.
    pub env: Vec<(String, OsString)>,
    /// The folder for the logs, one file per pod: `POD_NAME.log`.
    pub logs: PathBuf,
    /// The path of the readiness probe.
    pub health_path: String,
    /// The time between SIGTERM and SIGKILL.
    pub grace: Duration,
}

/// A running program.
pub(crate) struct Server {
    ready: watch::Receiver<bool>,
    probe: Task,
    process: Arc<Mutex<Process>>,
}

impl Command {
    /// Creates a command that runs a script by `sh`, with vLLM's health path and ten seconds of
    /// grace.
    pub fn shell(script: &str, logs: impl Into<PathBuf>) -> Self {
        Self {
            program: "sh".into(),
            args: vec!["-c".into(), script.into()],
            env: Vec::new(),
            logs: logs.into(),
            health_path: "/health".to_owned(),
            grace: Duration::from_secs(10),
        }
    }

    pub(super) fn start(&self, place: &Place, address: SocketAddr) -> Result<Server> {
        let log = self.logs.join(format!("{}.log", place.pod));
        let mut spec = Spec::new(&place.pod, &self.program, log)
            .args(&self.args)
            .env("POD_IP", address.ip().to_string())
            .env("PORT", address.port().to_string())
            .env("POD_NAMESPACE", &place.namespace)
            .env("POD_NAME", &place.pod)
            .grace(self.grace);
        spec.env.extend(self.env.iter().cloned());
        let process = Arc::new(Mutex::new(Process::start(spec)?));
        let (sender, ready) = watch::channel(false);
        let url = format!("http://{address}{}", self.health_path);
        let probe = Task::spawn(probe(url, process.clone(), sender));
        Ok(Server { ready, probe, process })
    }
}

impl Server {
    pub(super) fn ready(&self) -> watch::Receiver<bool> {
        self.ready.clone()
    }

    pub(super) async fn stop(self) {
        drop(self.probe); // an exit from here on is expected
        let stopping = tokio::task::spawn_blocking(move || lock(&self.process).stop());
        let _ = stopping.await;
    }
}

/// Probes twice a second, as long as the readiness has a receiver and the program runs.
async fn probe(url: String, process: Arc<Mutex<Process>>, ready: watch::Sender<bool>) {
    let client = crate::http_client();
    while !ready.is_closed() {
        if let Some(end) = the_end_of(&process) {
            eprintln!("{end}");
            ready.send_replace(false);
            return;
        }
        let asked = client.get(&url).timeout(Duration::from_secs(2)).send().await;
        let healthy = asked.is_ok_and(|answer| answer.status().is_success());
        ready.send_if_modified(|ready| std::mem::replace(ready, healthy) != healthy);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Describes the exit of a program that ended on its own; nothing restarts it.
fn the_end_of(process: &Mutex<Process>) -> Option<String> {
    let mut process = lock(process);
    let status = process.exited()?;
    let (name, log) = (process.name(), process.log_tail(40));
    Some(format!(
        "hollow node: the engine of pod {name} ended with {status}; its log ends with:\n{log}"
    ))
}

fn lock(process: &Mutex<Process>) -> MutexGuard<'_, Process> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}
