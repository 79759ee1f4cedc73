//! The operator's process of a stage.

use std::{
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result};
use llm_autoscaler_testbed::process::{Process, Spec};
use serde_json::{Value, json};

use crate::cluster::{Cluster, operator_binary};

/// An operator that watches a single namespace, unless a scenario has it serve all, and that a
/// scenario may kill and restart.
pub struct Operator {
    namespace: String,
    serves_all: AtomicBool,
    /// Further arguments.
    args: Mutex<Vec<String>>,
    /// Variables of its environment.
    env: Mutex<Vec<(String, String)>>,
    /// The election in which it takes part.
    election: Mutex<Option<Election>>,
    /// The kubeconfig of its ServiceAccount.
    kubeconfig: Mutex<PathBuf>,
    /// The folder of its logs, one per start.
    logs: PathBuf,
    process: Mutex<Option<Process>>,
    /// The addresses of its health and metrics endpoints, and of wake calls, once it has started.
    addresses: Mutex<Option<(SocketAddr, SocketAddr)>>,
    starts: AtomicU32,
}

/// The election in which an operator takes part.
#[derive(Clone)]
struct Election {
    /// The name of its pod.
    pod: String,
    arguments: Vec<String>,
}

impl Operator {
    pub(crate) fn new(cluster: &Cluster, namespace: &str, args: &[&str]) -> Self {
        Self {
            namespace: namespace.to_owned(),
            serves_all: AtomicBool::new(false),
            args: Mutex::new(args.iter().map(ToString::to_string).collect()),
            env: Mutex::default(),
            election: Mutex::default(),
            kubeconfig: Mutex::new(cluster.operator_kubeconfig.clone()),
            logs: cluster.control_plane.dir().to_owned(),
            process: Mutex::default(),
            addresses: Mutex::default(),
            starts: AtomicU32::new(0),
        }
    }

    /// Starts the operator under its ServiceAccount, and stops the previous process.
    ///
    /// # Errors
    /// Fails if the binary has not been built.
    pub fn start(&self) -> Result<()> {
        let count = self.starts.fetch_add(1, Ordering::Relaxed);
        let election = self.election.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let name = election.as_ref().map_or(&self.namespace, |election| &election.pod);
        let log = self.logs.join(format!("operator-{name}-{count}.log"));
        let (health, wake) = (own_address(), own_address());
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = Some((health, wake));
        let health = format!("--health-address={health}");
        let wake = format!("--wake-address={wake}");
        let serves_all = self.serves_all.load(Ordering::Relaxed);
        let own = ["--namespace", &*self.namespace];
        let spec = Spec::new("operator", operator_binary()?, log)
            .args(["run", "--allow-loopback"])
            .args(if serves_all { &[][..] } else { &own[..] })
            .args([&health, &wake, "--wake-plain-http"])
            .args(&*self.args.lock().unwrap_or_else(PoisonError::into_inner))
            .env("KUBECONFIG", self.kubeconfig());
        let env = self.env.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let spec = env.into_iter().fold(spec, |spec, (name, value)| spec.env(&name, value));
        let spec = match election {
            Some(Election { pod, arguments }) => spec.args(arguments).env("POD_NAME", pod),
            None => spec,
        };
        *self.lock() = Some(Process::start(spec)?);
        Ok(())
    }

    /// Sets these further arguments and variables of the environment for the next starts.
    pub fn configure(&self, args: &[&str], env: &[(&str, &str)]) {
        *self.args.lock().unwrap_or_else(PoisonError::into_inner) =
            args.iter().map(ToString::to_string).collect();
        *self.env.lock().unwrap_or_else(PoisonError::into_inner) =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    }

    /// Starts the operator with these further arguments, which stay for the next starts.
    ///
    /// # Errors
    /// Same as [`Operator::start`].
    pub fn start_with(&self, args: &[&str]) -> Result<()> {
        let args = args.iter().map(ToString::to_string).collect();
        *self.args.lock().unwrap_or_else(PoisonError::into_inner) = args;
        self.start()
    }

    /// Starts the operator as a copy with this name, among those of its namespace, with a Lease
    /// there that lasts for this time. Its ServiceAccount needs a role for that.
    ///
    /// # Errors
    /// Same as [`Operator::start`].
    pub fn start_elected(&self, pod: &str, seconds: u64) -> Result<()> {
        let arguments = vec![
            format!("--lease-namespace={}", self.namespace),
            format!("--lease-duration-seconds={seconds}"),
        ];
        let election = Election { pod: pod.to_owned(), arguments };
        *self.election.lock().unwrap_or_else(PoisonError::into_inner) = Some(election);
        self.start()
    }

    /// Lets the operator end by SIGTERM. Returns at once.
    ///
    /// # Errors
    /// It does not run.
    pub fn terminate(&self) -> Result<()> {
        self.lock().as_ref().context("the operator does not run")?.terminate()
    }

    /// Pauses the operator by SIGSTOP.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&self) -> Result<()> {
        self.lock().as_ref().context("the operator does not run")?.pause()
    }

    /// Lets a paused operator go on.
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&self) -> Result<()> {
        self.lock().as_ref().context("the operator does not run")?.resume()
    }

    /// Starts the operator for all namespaces. No other scenario may run beside.
    ///
    /// # Errors
    /// Same as [`Operator::start`].
    pub fn serve_all_namespaces(&self) -> Result<()> {
        self.watch_all_namespaces();
        self.start()
    }

    /// Lets the next starts serve all namespaces.
    pub fn watch_all_namespaces(&self) {
        self.serves_all.store(true, Ordering::Relaxed);
    }

    /// Starts the operator with another URL of the API server, such as that of a proxy.
    ///
    /// # Errors
    /// Same as [`Operator::start`].
    pub fn start_behind(&self, url: &str) -> Result<()> {
        self.connect_behind(url)?;
        self.start()
    }

    /// Lets the next starts use another URL of the API server.
    ///
    /// # Errors
    /// The kubeconfig cannot be read or written.
    pub fn connect_behind(&self, url: &str) -> Result<()> {
        let mut config: Value = serde_json::from_slice(&std::fs::read(self.kubeconfig())?)?;
        config["clusters"][0]["cluster"]["server"] = json!(url);
        let port = url.rsplit(':').next().unwrap_or_default();
        let path = self.logs.join(format!("operator-{}-{port}.kubeconfig", self.namespace));
        std::fs::write(&path, config.to_string())?;
        *self.kubeconfig.lock().unwrap_or_else(PoisonError::into_inner) = path;
        Ok(())
    }

    /// Starts the operator with another kubeconfig, such as that of another ServiceAccount.
    ///
    /// # Errors
    /// Same as [`Operator::start`].
    pub fn start_as(&self, kubeconfig: PathBuf) -> Result<()> {
        *self.kubeconfig.lock().unwrap_or_else(PoisonError::into_inner) = kubeconfig;
        self.start()
    }

    fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Kills the operator with SIGKILL.
    pub fn kill(&self) {
        if let Some(mut process) = self.lock().take() {
            process.stop();
        }
    }

    /// Returns the PID of the operator, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.lock().as_ref().and_then(Process::pid)
    }

    /// Returns the memory that the operator has now, and the most that it has had, in MB.
    ///
    /// # Errors
    /// Fails if it does not run.
    pub fn memory_mb(&self) -> Result<(u64, u64)> {
        let pid = self.pid().context("the operator does not run")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let megabytes = |field: &str| -> Result<u64> {
            let line = status.lines().find(|line| line.starts_with(field)).context("no memory")?;
            let kilobytes: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
            Ok(kilobytes / 1000)
        };
        Ok((megabytes("VmRSS:")?, megabytes("VmHWM:")?))
    }

    /// Returns the URL of the operator's own endpoints.
    pub fn url(&self) -> String {
        format!("http://{}", self.addresses().0)
    }

    /// Returns the URL of wake calls.
    pub fn wake_url(&self) -> String {
        format!("http://{}/wake", self.addresses().1)
    }

    /// Returns where it listens; before its first start, where nothing does.
    fn addresses(&self) -> (SocketAddr, SocketAddr) {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.unwrap_or((nowhere, nowhere))
    }

    /// Returns the operator's own metrics page.
    ///
    /// # Errors
    /// Fails if the operator does not answer.
    pub async fn metrics(&self) -> Result<String> {
        let url = format!("{}/metrics", self.url());
        let client = llm_autoscaler_testbed::http_client();
        Ok(client.get(url).send().await?.error_for_status()?.text().await?)
    }

    /// Returns the last lines of its log since its latest start.
    pub fn log_tail(&self, lines: usize) -> String {
        self.lock().as_ref().map(|process| process.log_tail(lines)).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns an address of loopback for one listener. It is in 127.255.0.0/16, of which no pod
/// gets one, and no outgoing connection has one of these, so that its port stays free until the
/// operator listens there. Programs that listen on all addresses have their ports here too; the
/// kernel draws another one.
///
/// # Panics
/// Nothing can listen on loopback.
pub fn own_address() -> SocketAddr {
    let ip = [127, 255, fastrand::u8(0..255), fastrand::u8(1..255)];
    let held = TcpListener::bind(SocketAddr::from((ip, 0)));
    held.and_then(|held| held.local_addr()).expect("an address of loopback has free ports")
}
