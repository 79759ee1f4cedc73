//! A real Prometheus.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::BUILD;
use crate::process::{Process, Spec};
use crate::task::Task;
use crate::{script, server};

/// The timeout of a request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A running Prometheus, with its data in a folder of its own.
///
/// Dropping it stops it and removes the folder; so does the death of this process.
#[derive(Debug)]
pub struct Prometheus {
    // The fields are dropped in this order, so the process stops before its folder is removed.
    follower: Option<Task>,
    process: Process,
    _dir: TempDir,
    remote: Arc<Remote>,
}

/// The address and the client by which it is queried and reloaded.
#[derive(Debug)]
pub(super) struct Remote {
    url: String,
    file: PathBuf,
    client: reqwest::Client,
}

/// An element of an instant vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The labels, including `__name__` if there is one.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// An answer of the API.
#[derive(Debug, Deserialize)]
struct Envelope {
    status: String,
    error: Option<String>,
    data: Option<serde_json::Value>,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
}

/// A scrape target.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// The labels that its series get.
    pub labels: BTreeMap<String, String>,
    /// The URL that is scraped.
    pub scrape_url: String,
    /// The job of the configuration that it belongs to.
    pub scrape_pool: String,
    /// The health: `up`, `down`, or `unknown` before the first scrape.
    pub health: String,
    /// The error of the last scrape; empty if it succeeded.
    pub last_error: String,
}

impl Prometheus {
    /// Starts a Prometheus with this configuration, and returns when it can be queried.
    ///
    /// # Errors
    /// Fails if it cannot be built or does not become ready; the error ends with the tail of its
    /// log.
    pub async fn start(configuration: &str) -> Result<Self> {
        Self::start_with(configuration, &[]).await
    }

    /// Like [`Prometheus::start`], with further arguments.
    ///
    /// # Errors
    /// Same as [`Prometheus::start`].
    pub async fn start_with(configuration: &str, args: &[&str]) -> Result<Self> {
        let program = script::folder(BUILD).await?.join("prometheus");
        let dir = tempfile::Builder::new().prefix("prometheus-").tempdir()?;
        let file = dir.path().join("prometheus.yml");
        std::fs::write(&file, configuration)
            .with_context(|| format!("writing {}", file.display()))?;
        let spec = |port: u16| {
            let mut spec = Spec::new("prometheus", &program, dir.path().join("log")).args([
                format!("--config.file={}", file.display()),
                format!("--storage.tsdb.path={}", dir.path().join("data").display()),
                format!("--web.listen-address=127.0.0.1:{port}"),
                "--web.enable-lifecycle".to_owned(),
            ]);
            spec = spec.args(args);
            spec.remove = Some(dir.path().to_owned());
            Ok(spec)
        };
        let client = crate::http_client();
        let is_ready = async |port| {
            server::answers(&client, &format!("http://127.0.0.1:{port}/-/ready")).await
        };
        let (process, port) = server::start(spec, is_ready).await?;
        let remote = Arc::new(Remote { url: format!("http://127.0.0.1:{port}"), file, client });
        Ok(Self { follower: None, process, _dir: dir, remote })
    }

    /// Returns its URL, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.remote.url
    }

    /// Replaces the configuration, and returns when the new one is in force.
    ///
    /// # Errors
    /// Fails if Prometheus refuses it; the previous one stays in force.
    pub async fn configure(&self, configuration: &str) -> Result<()> {
        self.remote.configure(configuration).await
    }

    /// Makes Prometheus reload its configuration file.
    ///
    /// # Errors
    /// Fails if Prometheus refuses it; the previous one stays in force.
    pub async fn reload(&self) -> Result<()> {
        self.remote.reload().await
    }

    /// Evaluates an expression now, and returns the warnings and notes of the answer.
    ///
    /// # Errors
    /// Fails if Prometheus does not answer, or refuses the query.
    pub async fn annotations(&self, expression: &str) -> Result<Vec<String>> {
        let answer = self.envelope("/api/v1/query", &[("query", expression)]).await?;
        Ok(answer.warnings.into_iter().chain(answer.infos).collect())
    }

    /// Evaluates an expression now. Returns the elements of a vector; a scalar is one element
    /// without labels.
    ///
    /// # Errors
    /// Fails if Prometheus does not answer, refuses the query, or returns neither a vector nor a
    /// scalar.
    pub async fn query(&self, expression: &str) -> Result<Vec<Sample>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", tag = "resultType", content = "result")]
        enum Answer {
            Vector(Vec<Element>),
            Scalar((f64, String)),
        }
        #[derive(Deserialize)]
        struct Element {
            metric: BTreeMap<String, String>,
            value: (f64, String),
        }
        let sample =
            |labels, (_, value): (f64, String)| Ok(Sample { labels, value: value.parse()? });
        match self.get("/api/v1/query", &[("query", expression)]).await? {
            Answer::Vector(all) => {
                all.into_iter().map(|one| sample(one.metric, one.value)).collect()
            }
            Answer::Scalar(value) => Ok(vec![sample(BTreeMap::new(), value)?]),
        }
    }

    /// Returns the active scrape targets.
    ///
    /// # Errors
    /// Fails if Prometheus does not answer.
    pub async fn targets(&self) -> Result<Vec<Target>> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Targets {
            active_targets: Vec<Target>,
        }
        let targets: Targets = self.get("/api/v1/targets", &[("state", "active")]).await?;
        Ok(targets.active_targets)
    }

    /// Returns the last lines of its log, for error messages.
    pub fn log_tail(&self, lines: usize) -> String {
        self.process.log_tail(lines)
    }

    /// Starts a task that keeps the configuration up to date; it ends with this value.
    pub(super) fn follow<F>(&mut self, task: impl FnOnce(Arc<Remote>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.follower = Some(Task::spawn(task(self.remote.clone())));
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T> {
        let data = self.envelope(path, query).await?.data;
        Ok(serde_json::from_value(data.unwrap_or_default())?)
    }

    async fn envelope(&self, path: &str, query: &[(&str, &str)]) -> Result<Envelope> {
        let url = reqwest::Url::parse_with_params(&format!("{}{path}", self.remote.url), query)?;
        let answer = self.remote.client.get(url).timeout(TIMEOUT).send().await?;
        let envelope: Envelope = serde_json::from_slice(&answer.bytes().await?)?;
        let Envelope { status, error, .. } = &envelope;
        ensure!(status == "success", "Prometheus: {path}: {}", error.clone().unwrap_or_default());
        Ok(envelope)
    }
}

impl Remote {
    pub(super) async fn configure(&self, configuration: &str) -> Result<()> {
        std::fs::write(&self.file, configuration)
            .with_context(|| format!("writing {}", self.file.display()))?;
        self.reload().await
    }

    async fn reload(&self) -> Result<()> {
        let answer =
            self.client.post(format!("{}/-/reload", self.url)).timeout(TIMEOUT).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "Prometheus did not reload: {}", answer.text().await?.trim());
        Ok(())
    }
}
