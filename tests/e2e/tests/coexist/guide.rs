//! The five parts of the guide, all of them real: hollow pods with vLLM's pages, the PodMonitor by
//! the Prometheus Operator and a Prometheus, prometheus-adapter with the guide's rules, and the HPA
//! of the controller manager. They are replaced by the commands of `docs/convert.md`,
//! `docs/recommend.md` and `docs/migrate.md`.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use llm_autoscaler_e2e::{SOON, Stage, User, own_address, until_agreed};
use llm_autoscaler_testbed::{
    engine::Page,
    monitoring::{Adapter, Prometheus, PrometheusOperator, Selection},
    repository, wait,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::setting::{arguments, lead_to, pods_path, raw, register, until_found, values};

/// The target of the guide.
const TARGET: &str = "vllm-inference";
/// The HPA of the guide.
const HPA: &str = "llm-inference-hpa";
/// The upper limit of the HPA, above that of the guide, so that the load can grow at each stage.
const MOST: i32 = 6;
/// The time that the chain may take: a scrape interval, a list of series and a period of the HPA,
/// each of 15 s, and the start of it all.
const BY_THE_CHAIN: Duration = Duration::from_mins(3);
/// The time that a newcomer may take from the first command to the end of the switch.
const TEN_MINUTES: Duration = Duration::from_mins(10);

/// Prometheus, the operator that writes its configuration, and the adapter.
struct Chain {
    _operator: PrometheusOperator,
    _prometheus: Prometheus,
    _adapter: Adapter,
}

/// The HPA scales by the chain, and ours by itself: over, back, over again, and then without the
/// chain.
pub(crate) async fn the_guides_five_parts_are_replaced(stage: &Stage) -> Result<String> {
    stage.operator.start()?;
    let user = User::of(stage)?;
    let mut watch = Stopwatch::start();
    let chain = five_parts(stage, &user).await?;
    load(stage, 8);
    stage.until_replicas(TARGET, 2, BY_THE_CHAIN).await.context("by the HPA of the chain")?;
    watch.note("the chain works");

    let began = Instant::now();
    convert(stage, &user, &mut watch).await?;
    beside(stage, &user, &mut watch).await?;
    switch(stage, &user, "--yes", &mut watch).await?;
    ensure!(began.elapsed() < TEN_MINUTES, "it took {:?}", began.elapsed());
    ensure!(hpa(stage).await?.is_none(), "the HPA is still there");
    load(stage, 13);
    stage.until_replicas(TARGET, 3, SOON).await.context("by ours")?;
    watch.note("ours follows the load");

    stage.until_ready(TARGET, 3).await?;
    switch(stage, &user, "--back --yes", &mut watch).await?;
    ensure!(hpa(stage).await?.is_some(), "the HPA has not come back");
    load(stage, 17);
    stage.until_replicas(TARGET, 4, BY_THE_CHAIN).await.context("by the HPA after the way back")?;
    watch.note("the HPA follows the load");

    until_agreed(stage, TARGET, 4).await?;
    switch(stage, &user, "--yes", &mut watch).await?;
    drop(chain);
    user.run("kubectl delete apiservice v1beta1.custom.metrics.k8s.io").await?;
    load(stage, 23);
    stage.until_replicas(TARGET, 5, SOON).await.context("by ours, without the chain")?;
    watch.note("ours follows the load without the chain");
    guides_check(stage).await?;
    watch.note("the guide's check works");
    Ok(watch.told.join("; "))
}

/// Installs the parts of the guide, with Prometheus where its adapter expects it.
async fn five_parts(stage: &Stage, user: &User) -> Result<Chain> {
    let guide = fs::read_to_string(repository().join("tests/fixtures/convert/guide.yaml"))?;
    let parts: Vec<&str> = guide.split("\n---\n").collect();
    let [monitor, adapter_values, hpa, ..] = parts[..] else {
        anyhow::bail!("the guide has other parts")
    };
    load(stage, 0);
    stage.engine(TARGET, 1).await?;
    let operator = PrometheusOperator::start(stage.control_plane()).await?;
    apply(stage, monitor, |_| {}).await?;
    let instance = operator.instance(&Selection::default()).await?;
    let prometheus = instance.run().await?;

    fs::write(user.folder().join("adapter-values.yaml"), adapter_values)?;
    let rules: Value = serde_saphyr::from_str(adapter_values)?;
    let rules = &rules["AlibabaCloudMetricsAdapter"]["prometheus"]["adapter"]["rules"]["custom"];
    let rules = rules.as_array().context("rules of the adapter")?;
    let config_map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "adapter-config", "namespace": "monitoring"},
        "data": {"config.yaml": json!({"rules": rules}).to_string()},
    });
    stage.control_plane().apply_yaml(&config_map.to_string()).await?;
    let adapter = Adapter::start(stage.control_plane(), prometheus.url(), rules).await?;
    apply(stage, hpa, |hpa| hpa["spec"]["maxReplicas"] = json!(MOST)).await?;
    Ok(Chain { _operator: operator, _prometheus: prometheus, _adapter: adapter })
}

/// Applies a part of the guide in the namespace of the stage.
async fn apply(stage: &Stage, part: &str, change: impl FnOnce(&mut Value)) -> Result<()> {
    let mut object: Value = serde_saphyr::from_str(part)?;
    object["metadata"]["namespace"] = json!(stage.namespace);
    change(&mut object);
    stage.control_plane().apply_yaml(&object.to_string()).await.map(drop)
}

/// Sets the queue, all of which is at the first pod. The scenario's queues are more than the
/// tolerance of 10 % above what its replicas are meant for.
fn load(stage: &Stage, waiting: u64) {
    stage.script.set(&format!("{}/{TARGET}-0", stage.namespace), Page::waiting(waiting));
}

async fn hpa(stage: &Stage) -> Result<Option<HorizontalPodAutoscaler>> {
    Ok(stage.api().get_opt(HPA).await?)
}

/// Converts the chain from files and from the cluster, which gives the same spec.
async fn convert(stage: &Stage, user: &User, watch: &mut Stopwatch) -> Result<()> {
    let from_files = "kubectl get hpa -o yaml | llm-autoscaler convert --recommend - \
                      adapter-values.yaml > llmas.yaml";
    user.run(from_files).await?;
    watch.note("convert from files");
    let namespace = &stage.namespace;
    let from_cluster = format!(
        "llm-autoscaler convert --recommend --cluster -n {namespace} --adapter-config \
         monitoring/adapter-config"
    );
    let by_cluster = spec(&user.run(&from_cluster).await?.output)?;
    watch.note("convert from the cluster");
    let by_files = spec(&fs::read_to_string(user.folder().join("llmas.yaml"))?)?;
    ensure!(by_files == by_cluster, "{by_files}\n{by_cluster}");
    let check = "kubectl get hpa -o yaml | llm-autoscaler convert --check - adapter-values.yaml";
    let told = user.run(check).await?;
    ensure!(told.output.contains("REPLICA-HOURS"), "{}", told.output);
    watch.note("convert --check");
    Ok(())
}

/// Returns the spec of the only LLMAutoscaler among documents.
fn spec(documents: &str) -> Result<Value> {
    let mut found = documents.split("\n---\n").filter(|it| it.contains("kind: LLMAutoscaler\n"));
    let document = found.next().with_context(|| format!("no LLMAutoscaler in {documents}"))?;
    ensure!(found.next().is_none(), "several LLMAutoscalers: {documents}");
    Ok(serde_saphyr::from_str::<Value>(document)?["spec"].take())
}

/// Lets the result recommend beside the HPA, until both are of one mind.
async fn beside(stage: &Stage, user: &User, watch: &mut Stopwatch) -> Result<()> {
    user.run("kubectl apply -f llmas.yaml").await?;
    user.run("kubectl wait --for=condition=Recommending --timeout=60s llmas/vllm-inference")
        .await?;
    watch.note("it recommends");
    until_agreed(stage, TARGET, 2).await?;
    watch.note("both have one size");
    let told = user.run("kubectl get llmas vllm-inference -o wide").await?.output;
    ensure!(told.contains("Recommending"), "{told}");
    let told = user.run("llm-autoscaler explain vllm-inference").await?.output;
    ensure!(told.contains("recommends"), "{told}");
    let told = user.run("llm-autoscaler migrate vllm-inference").await?.output;
    ensure!(told.contains("delete the HorizontalPodAutoscaler"), "{told}");
    ensure!(hpa(stage).await?.is_some(), "the dry run has deleted the HPA");
    watch.note("get, explain and the steps");
    Ok(())
}

/// Switches over or back, which leaves the size as it is.
async fn switch(stage: &Stage, user: &User, how: &str, watch: &mut Stopwatch) -> Result<()> {
    let size = stage.replicas(TARGET).await?;
    let told = user.run(&format!("llm-autoscaler migrate {TARGET} {how}")).await?.output;
    ensure!(told.contains("Done."), "{told}");
    ensure!(stage.replicas(TARGET).await? == size, "the switch has changed the size");
    watch.note(&format!("migrate {how}"));
    Ok(())
}

/// The guide's own check is answered by the operator in the adapter's place.
async fn guides_check(stage: &Stage) -> Result<()> {
    let address = own_address();
    let arguments = arguments(address);
    stage.operator.start_with(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
    register(stage).await?;
    lead_to(stage, address).await?;
    until_found(stage).await?;
    let path = pods_path(stage, "*", "vllm:num_requests_waiting");
    let found = wait::until("a number of each pod", SOON, async || {
        let found = values(&raw(stage, &path).await?);
        Ok((found.len() == 5).then_some(found))
    })
    .await?;
    let first = (format!("{TARGET}-0"), "23".to_owned());
    ensure!(found.contains(&first), "{found:?}");
    Ok(())
}

/// The times of the steps.
struct Stopwatch {
    last: Instant,
    told: Vec<String>,
}

impl Stopwatch {
    fn start() -> Self {
        Self { last: Instant::now(), told: Vec::new() }
    }

    /// Notes the time since the last note.
    fn note(&mut self, step: &str) {
        self.told.push(format!("{step}: {:.1} s", self.last.elapsed().as_secs_f64()));
        self.last = Instant::now();
    }
}
