//! `bill`: the time of replicas and of their GPUs by the reason of their existence, from the
//! statuses of autoscalers alone.

mod report;
mod table;

use anyhow::{Context as _, ensure};
use chrono::Utc;
use clap::ValueEnum;
use kube::{Api, api::ListParams};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_operator::Component;

pub(crate) use self::report::CONTINUED;
use self::report::Report;
use crate::{
    cluster::{self, not_listed, not_read},
    output::print,
};

/// The number of objects that one request lists.
const PAGE: u32 = 500;

/// The options of `bill`.
#[derive(Debug, clap::Args)]
pub(crate) struct Bill {
    /// The names of LLMAutoscalers; by default all of the namespace.
    names: Vec<String>,
    /// Their namespace; by default that of the current context.
    #[arg(long, short)]
    namespace: Option<String>,
    /// The LLMAutoscalers of all namespaces.
    #[arg(long, short = 'A', conflicts_with_all = ["namespace", "names"])]
    all_namespaces: bool,
    /// The context of the kubeconfig; by default the current one.
    #[arg(long)]
    context: Option<String>,
    /// The format of the output.
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// The price of a GPU for an hour, in any currency: adds costs.
    #[arg(long, value_name = "PRICE", allow_negative_numbers = true, value_parser = price)]
    price_per_gpu_hour: Option<f64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Bill {
    /// Reads the statuses and prints their bill.
    pub(crate) async fn bill(self) -> anyhow::Result<()> {
        let client = cluster::client(Component::Bill, self.context.as_deref()).await?;
        let namespace = self.namespace.unwrap_or_else(|| client.default_namespace().to_owned());
        let (api, scope): (Api<LLMAutoscaler>, _) = if self.all_namespaces {
            (Api::all(client), "all namespaces".to_owned())
        } else {
            (Api::namespaced(client, &namespace), format!("namespace {namespace}"))
        };
        let objects = if self.names.is_empty() {
            list(&api, &scope).await?
        } else {
            let mut objects = Vec::with_capacity(self.names.len());
            for name in &self.names {
                let object = api.get(name).await;
                objects.push(object.map_err(|error| not_read(error, name, &namespace))?);
            }
            objects
        };
        #[expect(clippy::disallowed_methods, reason = "bills are continued up to now")]
        let now = Utc::now();
        let report = Report::new(&objects, self.price_per_gpu_hour, now);
        match self.output {
            Format::Json => print(&format!("{:#}\n", report.json())),
            Format::Table => print(&table::render(&report)),
        }
    }
}

/// Returns all autoscalers, page by page.
async fn list(api: &Api<LLMAutoscaler>, scope: &str) -> anyhow::Result<Vec<LLMAutoscaler>> {
    let (mut objects, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = api.list(&params).await.map_err(|error| not_listed(error, scope))?;
        objects.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(objects),
        }
    }
}

/// Parses a price.
fn price(text: &str) -> anyhow::Result<f64> {
    let price: f64 = text.parse().context("write a number such as 2.5")?;
    ensure!(price.is_finite() && price >= 0.0, "write a number that is not negative");
    Ok(price)
}
