//! A running `llm-autoscaler ui`, and requests to it byte by byte.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::{Stage, operator_binary};
use llm_autoscaler_testbed::{
    process::{Process, Spec},
    wait,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A running `llm-autoscaler ui` of the administrator.
pub(crate) struct Page {
    process: Process,
    pub(crate) port: u16,
}

/// An answer of the server.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The headers, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Page {
    /// Starts it for one namespace, and waits until it answers.
    pub(crate) async fn open(stage: &Stage, namespace: &str) -> Result<Self> {
        let log = stage.folder()?.join(format!("ui-{namespace}.log"));
        let spec = Spec::new("ui", operator_binary()?, log)
            .args(["ui", "--namespace", namespace, "--port", "0"])
            .env("KUBECONFIG", stage.control_plane().kubeconfig());
        let process = Process::start(spec)?;
        let port = wait::until("the page's address", Duration::from_secs(30), async || {
            Ok(port_of(&process.log_tail(5)))
        })
        .await
        .with_context(|| process.log_tail(5))?;
        let page = Self { process, port };
        wait::until("the page to answer", Duration::from_secs(30), async || {
            Ok(page.rows("").await.ok().filter(|rows| rows["complete"] == true).map(|_| ()))
        })
        .await
        .with_context(|| page.process.log_tail(5))?;
        Ok(page)
    }

    /// Returns the address of the page.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Returns the memory that the process has, in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        let pid = self.process.pid().context("the page's process has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
        Ok(kilobytes.parse::<u64>()? << 10)
    }

    /// Returns what has changed since a version.
    pub(crate) async fn rows(&self, since: &str) -> Result<Value> {
        let answer = self.get(&format!("/api/autoscalers?since={since}")).await?;
        ensure!(answer.status == 200, "{}: {}", answer.status, answer.body);
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// Sends a GET as a browser on this machine does.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, &format!("Host: 127.0.0.1:{}\r\n", self.port)).await
    }

    /// Sends a request with these header lines.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &str) -> Result<Answer> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        let request = format!("{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer without a head")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        Ok(Answer { status, head: head.to_lowercase(), body: body.to_owned() })
    }
}

/// Reads the port in what `ui` prints at its start.
fn port_of(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("http://127.0.0.1:")?;
    rest.split('/').next()?.parse().ok()
}
