//! What the server of the page answers.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use kube::api::{DeleteParams, Patch, PatchParams};
use llm_autoscaler_api::LLMAutoscaler;
use llm_autoscaler_e2e::{SOON, Stage};
use llm_autoscaler_testbed::wait;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::page::Page;

const NAME: &str = "qwen3";

/// Rows and details follow the cluster through the watch; other hosts, sites and methods get
/// nothing.
pub(crate) async fn page_follows_the_cluster(stage: &Stage) -> Result<()> {
    let page = Page::open(stage, &stage.namespace).await?;
    stage.engine(NAME, 1).await?;
    let window = json!({"behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}}});
    stage.autoscaler(NAME, window).await?;
    stage.until_condition(NAME, "Ready", "True", "Scaling").await?;
    until_row(&page, |row| row["standing"] == "steady" && row["current"] == 1).await?;

    stage.waiting(NAME, 11);
    stage.until_replicas(NAME, 3, SOON).await?;
    until_row(&page, |row| {
        row["current"] == 3 && row["sizes"].as_array().is_some_and(|it| it.len() == 2)
    })
    .await?;
    stage.waiting(NAME, 0);
    let row = until_row(&page, |row| row["standing"] == "waiting").await?;
    ensure!(row["at"].is_i64(), "the end of the window is not told: {row}");
    detail(&page, &stage.namespace).await?;
    explained(stage).await?;

    let version = page.rows("").await?["version"].as_str().context("no version")?.to_owned();
    let pause = json!({"metadata": {"annotations": {"llmautoscaler.io/paused": "true"}}});
    let api = stage.api::<LLMAutoscaler>();
    api.patch(NAME, &PatchParams::default(), &Patch::Merge(pause)).await?;
    until_row(&page, |row| row["standing"] == "paused").await?;
    api.delete(NAME, &DeleteParams::default()).await?;
    wait::until("the row to be gone", SOON, async || {
        let changes = page.rows(&version).await?;
        let gone = changes["deleted"] == json!([format!("{}/{NAME}", stage.namespace)]);
        Ok(gone.then_some(()))
    })
    .await?;
    guarded(&page).await
}

/// Waits until the only row is like this.
async fn until_row(page: &Page, is_wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let last = Mutex::new(Value::Null);
    let found = wait::until("the row to follow", SOON, async || {
        let mut rows = page.rows("").await?;
        let row = rows["rows"][0].take();
        row.clone_into(&mut *last.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(is_wanted(&row).then_some(row))
    })
    .await;
    found.with_context(|| format!("the row is {last:?}"))
}

async fn detail(page: &Page, namespace: &str) -> Result<()> {
    let answer = page.get(&format!("/api/autoscalers/{namespace}/{NAME}")).await?;
    let detail: Value = serde_json::from_str(&answer.body)?;
    let target = &detail["targets"][0];
    let texts = ["more", "fewer", "next"].map(|field| target[field].as_str().unwrap_or_default());
    ensure!(texts[1].contains("the scale-down window of 10 min"), "{texts:?}");
    ensure!(texts[2].starts_with("3 -> 1, if the metrics stay"), "{texts:?}");
    ensure!(target["log"][0]["to"] == 3, "{target}");
    let missing = page.get(&format!("/api/autoscalers/{namespace}/missing")).await?;
    ensure!(missing.status == 404, "{}", missing.status);
    Ok(())
}

/// `explain` gives the same answers.
async fn explained(stage: &Stage) -> Result<()> {
    let text = stage.run_binary(&["explain", NAME, "--namespace", &stage.namespace]).await?;
    for part in ["\nnot more   ", "\nnot fewer  the metrics ask for ", "\nnext       ", " (in "] {
        ensure!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    Ok(())
}

async fn guarded(page: &Page) -> Result<()> {
    let own = format!("Host: localhost:{}\r\n", page.port);
    let foreign = format!("Host: attacker.example:{}\r\n", page.port);
    let site = format!("{own}Sec-Fetch-Site: cross-site\r\n");
    for path in ["/", "/api/autoscalers"] {
        for (method, headers, expected) in [
            ("GET", &own, 200),
            ("GET", &foreign, 421),
            ("GET", &site, 403),
            ("POST", &own, 405),
            ("DELETE", &own, 405),
        ] {
            let answer = page.send(method, path, headers).await?;
            let place = format!("{method} {path} {headers:?}: {}", answer.status);
            ensure!(answer.status == expected, "{place}");
            let policy = "content-security-policy: default-src 'none'";
            ensure!(answer.head.contains(policy), "{place}: {}", answer.head);
            ensure!(!answer.head.contains("access-control-allow"), "{place}: {}", answer.head);
        }
    }
    let missing = page.get("/../etc/passwd").await?;
    ensure!(missing.status == 404, "{}", missing.status);
    // Another address of loopback stands for all addresses of the machine.
    let other = TcpStream::connect(("127.0.0.2", page.port)).await;
    ensure!(other.is_err(), "the page listens on more than 127.0.0.1");
    Ok(())
}

/// A cluster that cannot be reached, a context that does not exist and a port in use end the
/// program with a sentence.
pub(crate) async fn mistakes_are_told_before_the_page_opens(stage: &Stage) -> Result<()> {
    let page = Page::open(stage, &stage.namespace).await?;
    let port = page.port.to_string();
    let table: [(&[&str], &str); 2] = [
        (&["--port", &port], "choose another --port"),
        (&["--context", "nowhere"], "reading the context nowhere of KUBECONFIG"),
    ];
    for (args, expected) in table {
        let all = [&["ui", "--namespace", "default"][..], args].concat();
        let run = tokio::time::timeout(Duration::from_secs(30), stage.run_binary(&all));
        let Err(error) = run.await.context("it serves")? else {
            anyhow::bail!("{args:?}: it ended well")
        };
        let error = format!("{error:#}");
        ensure!(error.contains(expected), "{args:?}: {error}");
    }
    Ok(())
}
