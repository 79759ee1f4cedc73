//! The subcommand `probe`, which reads a metrics page as the operator would.

mod series;
mod signals;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, anyhow, bail, ensure};
use clap::ValueEnum;
use llm_autoscaler_engines::{
    Engine, Inspection, Program, exposition::Value as Quantity, inspect, recognize_program,
};
use llm_autoscaler_operator::{Component, other_scheme, refuses_certificate};
use serde_json::{Value, json};

use crate::{engines::by_name, output::print};

/// The size limit of a page in bytes, which is the operator's.
const LIMIT: usize = 4 << 20;

/// The options of `probe`.
#[derive(Debug, clap::Args)]
pub(crate) struct Probe {
    /// The page: a URL such as <http://10.0.0.7:8000/metrics>, or a file.
    page: String,
    /// The engine or gateway of the page, such as VLLM or SMG; recognised by its series if absent.
    #[arg(long)]
    engine: Option<String>,
    /// A series to read instead of signals: its name, with labels in braces as in PromQL.
    #[arg(long, value_name = "SERIES", conflicts_with_all = ["engine", "over"])]
    series: Option<String>,
    /// Read the URL twice, this long apart (such as 10s), and print rates and percentiles over that
    /// time.
    #[arg(long, value_parser = humantime::parse_duration)]
    over: Option<Duration>,
    /// A header to send, such as "Authorization: Bearer TOKEN"; may be repeated.
    #[arg(long = "header", short = 'H')]
    headers: Vec<String>,
    /// Do not verify certificates.
    #[arg(long, short = 'k')]
    insecure: bool,
    /// The file of a client certificate, and of those that have signed it, as PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The file of the private key of --cert, as PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The timeout of a read.
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// The format of the output.
    #[arg(long, short, value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Probe {
    /// Reads the page and prints its signals, or one series. Fails if it is not a metrics page, if
    /// its engine is not recognised, or if nothing that was asked for could be read.
    pub(crate) async fn probe(self) -> anyhow::Result<()> {
        let page = self.read().await?;
        ensure!(!page.trim_ascii().is_empty(), "{}: the page is empty", self.page);
        if let Some(series) = &self.series {
            return self.probe_series(&page, series);
        }
        let engine = match &self.engine {
            Some(name) => by_name(name)?,
            None => recognize_program(&page).with_context(|| unknown(&page))?,
        };
        let mut inspection = self.inspect(&page, engine)?;
        if let Some(over) = self.over {
            tokio::time::sleep(over).await;
            inspection = self.inspect(&self.read().await?, engine)?.since(&inspection, over);
        }
        match self.output {
            Format::Text => print(&signals::text(&self.page, page.len(), &inspection, self.over))?,
            Format::Json => {
                let json = signals::as_json(&self.page, page.len(), &inspection, self.over);
                print(&format!("{json:#}\n"))?;
            }
        }
        self.conclude(&page, &inspection)
    }

    /// Fails if no signal could be read. A page of a program without signals fails if it has no
    /// samples; its likely gauges are printed.
    fn conclude(&self, page: &[u8], inspection: &Inspection) -> anyhow::Result<()> {
        let Inspection { program, summary, findings, .. } = inspection;
        if findings.iter().any(|finding| finding.value != Quantity::Absent) {
            return Ok(());
        }
        if findings.is_empty() && summary.samples > 0 {
            if let Format::Text = self.output {
                print(&series::likely(page))?;
            }
            return Ok(());
        }
        let hint =
            signals::other_program(inspection).map(|hint| format!("; {hint}")).unwrap_or_default();
        bail!("{}: no signal of {} could be read{hint}", self.page, program.profile().display)
    }

    fn probe_series(&self, page: &[u8], text: &str) -> anyhow::Result<()> {
        let found = series::find(page, text).with_context(|| self.page.clone())?;
        match self.output {
            Format::Text => print(&found.text(&self.page))?,
            Format::Json => print(&format!("{:#}\n", found.as_json(&self.page, page.len())))?,
        }
        ensure!(found.is_read(), "{}: {text} could not be read", self.page);
        Ok(())
    }

    fn inspect(&self, page: &[u8], engine: Program) -> anyhow::Result<Inspection> {
        inspect(page, engine).map_err(|error| anyhow!("{}: {}", self.page, signals::told(&error)))
    }

    async fn read(&self) -> anyhow::Result<Vec<u8>> {
        if !self.page.starts_with("http://") && !self.page.starts_with("https://") {
            ensure!(self.over.is_none(), "--over needs a URL: a file does not change");
            return std::fs::read(&self.page).with_context(|| format!("reading {}", self.page));
        }
        let client = self.client()?;
        let mut request =
            client.get(&self.page).header("Accept", "text/plain;version=0.0.4, */*;q=0.1");
        for header in &self.headers {
            let (name, value) =
                header.split_once(':').with_context(|| format!("{header:?} is not NAME: VALUE"))?;
            request = request.header(name.trim(), value.trim());
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Err(self.with_hint(&client, error).await),
        };
        let location = response.headers().get("location").and_then(|to| to.to_str().ok());
        let to = location.map(|to| format!(", a redirect to {to}")).unwrap_or_default();
        let status = response.status();
        let hint = match status.as_u16() {
            400 => scheme_hint(other_scheme(&client, &self.page, None).await),
            _ => String::new(),
        };
        ensure!(status.is_success(), "{}: HTTP status {status}{to}{hint}", self.page);
        let mut page = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            ensure!(
                page.len() + chunk.len() <= LIMIT,
                "{}: the page is larger than {LIMIT} bytes",
                self.page
            );
            page.extend_from_slice(&chunk);
        }
        Ok(page)
    }

    fn client(&self) -> anyhow::Result<reqwest::Client> {
        let mut client = reqwest::Client::builder()
            .user_agent(Component::Probe.user_agent())
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .danger_accept_invalid_certs(self.insecure)
            .timeout(self.timeout);
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            let read = |path: &PathBuf| {
                std::fs::read(path).with_context(|| format!("reading {}", path.display()))
            };
            let pem = [read(cert)?, b"\n".to_vec(), read(key)?].concat();
            // An error of the reader may quote the key.
            let identity = reqwest::Identity::from_pem(&pem).ok().with_context(|| {
                let (cert, key) = (cert.display(), key.display());
                format!("{cert} and {key} are not a certificate and its private key as PEM")
            })?;
            client = client.identity(identity);
        }
        Ok(client.build()?)
    }

    /// Returns the error of a request, with a hint to the other scheme if the port speaks it, or to
    /// the client certificate that the server demands.
    async fn with_hint(&self, client: &reqwest::Client, error: reqwest::Error) -> anyhow::Error {
        if refuses_certificate(&error) {
            let hint =
                "the server demands a client certificate that it trusts: set --cert and --key";
            return anyhow::Error::from(error).context(format!("{}: {hint}", self.page));
        }
        match other_scheme(client, &self.page, Some(&error)).await {
            None => error.into(),
            scheme => anyhow!("{}: {}{}", self.page, error.without_url(), scheme_hint(scheme)),
        }
    }
}

/// Returns the hint to a URL with the other scheme, if that is the right one.
fn scheme_hint(scheme: Option<&str>) -> String {
    let hint = |scheme| format!("; the port speaks {scheme}: begin the URL with {scheme}://");
    scheme.map(hint).unwrap_or_default()
}

/// Explains why no engine was recognised.
fn unknown(page: &[u8]) -> String {
    // An error of the page itself explains more.
    if let Err(error) = inspect(page, Engine::Custom) {
        return error.to_string();
    }
    let known = Program::all().filter(|program| !program.profile().signals.is_empty());
    let names: Vec<&str> = known.map(|program| program.profile().name).collect();
    format!(
        "the page is of none of these engines and gateways: {}; name its engine with --engine, or read it \
         with --series\n{}",
        names.join(", "),
        series::likely(page)
    )
    .trim_end()
    .to_owned()
}

/// Returns a number, the events and percentiles of a histogram, or null.
fn quantity_json(quantity: &Quantity) -> Value {
    match quantity {
        Quantity::Absent => Value::Null,
        Quantity::Number(number) => json!(number),
        Quantity::Buckets(buckets) => json!({
            "events": buckets.events(),
            "p50": buckets.quantile(0.5),
            "p90": buckets.quantile(0.9),
            "p99": buckets.quantile(0.99),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unrecognized_page_explains_what_to_do() {
        assert!(unknown(b"up 1\n").contains("--engine"));
        assert!(unknown(b"<html>\n").contains("not a metrics page"));
    }
}
