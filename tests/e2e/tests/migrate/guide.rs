//! The commands of `docs/migrate.md`, in their order, by a user who has the guide's five parts.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use llm_autoscaler_e2e::{SOON, Stage, User, until_agreed};
use llm_autoscaler_testbed::{engine::Page, repository, wait};
use serde_json::{Value, json};

/// The page.
const PAGE: &str = "docs/migrate.md";
/// The target of the guide, and the size that its load asks for.
const TARGET: (&str, i32) = ("vllm-inference", 3);
/// The fewest commands of the page. Fewer are found if blocks are overlooked.
const FEWEST: usize = 9;

/// A command of the page and the lines that it prints; `…` stands for any lines.
struct Example {
    command: String,
    output: Vec<String>,
}

/// Each command succeeds, and prints what the page says.
pub(crate) async fn every_command_of_the_page(stage: &Stage) -> Result<String> {
    let page = fs::read_to_string(repository().join(PAGE))?;
    let examples = examples(&page)?;
    ensure!(examples.len() >= FEWEST, "only {} commands were found", examples.len());
    let user = User::of(stage)?;
    five_parts(stage, user.folder()).await?;
    let mut is_agreed = false;
    for example in &examples {
        if example.command.starts_with("llm-autoscaler migrate") && !is_agreed {
            until_agreed(stage, TARGET.0, TARGET.1).await?;
            is_agreed = true;
        }
        run(&user, example).await.with_context(|| example.command.clone())?;
        ensure!(stage.replicas(TARGET.0).await? == TARGET.1, "{}: another size", example.command);
    }
    Ok(format!("{} commands", examples.len()))
}

/// Installs the HPA of the guide beside its workload, and writes the values of its adapter. The
/// custom metrics API stands for the adapter and Prometheus.
async fn five_parts(stage: &Stage, folder: &Path) -> Result<()> {
    let (name, size) = TARGET;
    stage.operator.start_with(&["--sync-period-seconds=1"])?;
    stage.script.set(&format!("{}/{name}-0", stage.namespace), Page::waiting(11));
    stage.engine(name, 1).await?;
    let guide = fs::read_to_string(repository().join("tests/fixtures/convert/guide.yaml"))?;
    let parts: Vec<&str> = guide.split("\n---\n").collect();
    let [_, values, hpa, ..] = parts[..] else { anyhow::bail!("the guide has other parts") };
    fs::write(folder.join("adapter-values.yaml"), values)?;
    let mut hpa: Value = serde_saphyr::from_str(hpa)?;
    hpa["metadata"]["namespace"] = json!(stage.namespace);
    stage.control_plane().apply_yaml(&hpa.to_string()).await?;
    let hpas = stage.api::<HorizontalPodAutoscaler>();
    wait::until("the HPA of the guide to scale", SOON, async || {
        hpas.get("llm-inference-hpa").await?;
        Ok((stage.replicas(name).await? == size).then_some(()))
    })
    .await
}

/// Returns the commands of the blocks that this file runs.
fn examples(page: &str) -> Result<Vec<Example>> {
    const MARK: &str =
        "<!-- run by tests/e2e/tests/migrate/guide.rs: every_command_of_the_page -->";
    let mut found: Vec<Example> = Vec::new();
    for rest in page.split(MARK).skip(1) {
        let rest = rest.trim_start().strip_prefix("```console\n").context("a block of console")?;
        let (block, _) = rest.split_once("```").context("the end of a block")?;
        for line in block.lines() {
            match line.strip_prefix("$ ") {
                Some(command) => {
                    found.push(Example { command: command.to_owned(), output: Vec::new() });
                }
                None => found.last_mut().context("a command")?.output.push(line.to_owned()),
            }
        }
    }
    Ok(found)
}

async fn run(user: &User, example: &Example) -> Result<()> {
    let told = user.run(&example.command).await?.output;
    let lines: Vec<&str> = told.lines().map(str::trim_end).collect();
    ensure!(is_like(&lines, &example.output), "it printed\n{told}");
    Ok(())
}

/// Returns whether lines are those that are expected, a line of `…` for any.
fn is_like(lines: &[&str], expected: &[String]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "…" => {
            (0..=lines.len()).any(|skipped| is_like(&lines[skipped..], rest))
        }
        Some((first, rest)) => {
            lines.split_first().is_some_and(|(line, lines)| line == first && is_like(lines, rest))
        }
    }
}
