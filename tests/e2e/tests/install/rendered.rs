//! What the chart renders, before anything is installed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use anyhow::{Context, Result, ensure};
use llm_autoscaler_e2e::{Stage, operator_binary};
use llm_autoscaler_testbed::{Packaging, repository};
use serde_json::{Value, json};

use crate::{
    objects, schemas,
    values::{RELEASE, SYSTEM, everything, one_namespace, template},
};

/// Each pair of values that make no sense together has a message that says what to do.
pub(crate) async fn values_that_contradict_each_other_are_refused(stage: &Stage) -> Result<String> {
    let packaging = Packaging::locate().await?;
    // values; a part of the message
    let table = [
        (json!({"lease": {"enabled": false}}), "set replicas: 1, or lease.enabled: true"),
        (json!({"memoryBudget": "1Gi"}), "set at least twice the budget and 256Mi, here 2304Mi"),
        (json!({"memoryBudget": "1Ei"}), "memoryBudget"),
        (json!({"podDisruptionBudget": {"minAvailable": 1}}), "set either minAvailable or"),
        (json!({"podDisruptionBudget": {"maxUnavailable": null}}), "set minAvailable or maxUnav"),
        (
            json!({"podDisruptionBudget": {"maxUnavailable": null, "minAvailable": 2}}),
            "2 of 2 replicas would let no node be drained",
        ),
        (json!({"serviceAccount": {"create": false}}), "serviceAccount.name: without"),
        (
            json!({"watchNamespace": "a", "rbac": {"credentialsNamespaces": ["b"]}}),
            "with watchNamespace a nothing is read in b",
        ),
        (json!({"rbac": {"create": false, "drain": true}}), "rbac.create: without it"),
        (json!({"extraArgs": ["--buckets=2"]}), "extraArgs: --buckets is set by a value"),
        (
            json!({"sourceCredentials": [{"hosts": ["a.example"], "namespaces": ["a"]}]}),
            "list the hosts of the rules there",
        ),
        (json!({"replica": 2}), "replica"),
        (json!({"wake": {"mode": "tls"}}), "mode"),
        (json!({"lease": {"buckets": 65}}), "buckets"),
    ];
    let count = table.len();
    for (values, part) in table {
        let error = template(stage, &packaging, &values).await.map(drop);
        let error = error.err().with_context(|| format!("{values} was accepted"))?;
        ensure!(format!("{error:#}").contains(part), "{values}: {part:?} is not in {error:#}");
    }
    Ok(format!("{count} refused"))
}

/// Each flag of the operator is an argument that a value of the chart sets, or a variable of its
/// pods.
pub(crate) async fn every_flag_can_be_set(stage: &Stage) -> Result<String> {
    let packaging = Packaging::locate().await?;
    let mut command = tokio::process::Command::new(operator_binary()?);
    let help = String::from_utf8(command.args(["run", "--help"]).output().await?.stdout)?;
    let flags = flags(&help);
    ensure!(flags.len() >= 21, "{flags:?}");

    let mut settable = BTreeSet::new();
    for wake in ["TLS", "PlainHTTP"] {
        let mut values = one_namespace("team-a");
        values["wake"] = json!({"mode": wake});
        values["externalScaler"] = json!({"mode": wake});
        let objects = objects::parse(&template(stage, &packaging, &values).await?)?;
        let container = container(&objects)?;
        let args = container["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
        settable.extend(args.map(|arg| arg.split('=').next().unwrap_or(arg).to_owned()));
        let variables = container["env"].as_array().into_iter().flatten();
        for name in variables.filter_map(|variable| variable["name"].as_str()) {
            let read = format!("[env: {name}=");
            let those = flags.iter().filter(|(_, about)| about.contains(&read));
            settable.extend(those.map(|(flag, _)| flag.clone()));
        }
    }
    let lacking: Vec<_> = flags.keys().filter(|flag| !settable.contains(*flag)).collect();
    ensure!(lacking.is_empty(), "no value sets {lacking:?}");
    Ok(format!("{} flags", flags.len()))
}

/// Returns the flags that a help lists, each with the text about it.
fn flags(help: &str) -> BTreeMap<String, String> {
    let mut flags: BTreeMap<String, String> = BTreeMap::new();
    let mut latest = None;
    for line in help.lines().map(str::trim) {
        if line.starts_with("--") {
            latest = line.split([' ', '[', '=']).next();
        }
        if let Some(flag) = latest {
            flags.entry(flag.to_owned()).or_default().push_str(line);
        }
    }
    flags
}

fn container(objects: &[Value]) -> Result<&Value> {
    let deployments = objects::of_kind(objects, "Deployment");
    let deployment = deployments.first().context("no Deployment")?;
    Ok(&deployment["spec"]["template"]["spec"]["containers"][0])
}

/// With the defaults the chart grants what config/default grants, and with `watchNamespace` what
/// config/namespaced does. It binds what config/default aggregates.
pub(crate) async fn roles_are_those_of_config(stage: &Stage) -> Result<String> {
    let packaging = Packaging::locate().await?;
    let config = |folder: &str| repository().join("config").join(folder);
    let mut count = 0;
    let rows = [
        ("default", json!({}), None),
        ("namespaced", json!({"watchNamespace": SYSTEM}), Some(SYSTEM)),
    ];
    for (overlay, values, namespace) in rows {
        let expected = packaging.kustomize(config(overlay)).await?;
        let expected = match namespace {
            Some(namespace) => expected
                .replace("namespace: llm-autoscaler\n", &format!("namespace: {namespace}\n")),
            None => expected,
        };
        let expected = objects::bound(objects::rbac(&objects::parse(&expected)?));
        let found = objects::rbac(&objects::parse(&template(stage, &packaging, &values).await?)?);
        ensure!(
            found.keys().eq(expected.keys()),
            "{overlay}: {:?} instead of {:?}",
            found.keys(),
            expected.keys()
        );
        for (name, found) in &found {
            ensure!(*found == expected[name], "{overlay}: {name}: {found} != {}", expected[name]);
        }
        count += found.len();
    }
    Ok(format!("{count} roles and bindings"))
}

/// The component of the external scaler adds to the overlay what the value adds to the chart.
pub(crate) async fn components_add_what_values_do(stage: &Stage) -> Result<String> {
    let packaging = Packaging::locate().await?;
    let chart = async |values: Value| -> Result<BTreeSet<String>> {
        parts(&objects::parse(&template(stage, &packaging, &values).await?)?)
    };
    let values = json!({"externalScaler": {"mode": "TLS"}});
    let by_value: BTreeSet<_> = &chart(values).await? - &chart(json!({})).await?;
    let overlay = parts(&objects::parse(&with_components(&packaging, &[]).await?)?)?;
    let component = with_components(&packaging, &["external-scaler"]).await?;
    let by_component = &parts(&objects::parse(&component)?)? - &overlay;
    ensure!(by_component == by_value, "{by_component:#?} instead of {by_value:#?}");
    // Four arguments; the port of the pod and that of the Service; a volume and its place.
    ensure!(by_value.len() == 8, "{by_value:#?}");
    Ok(format!("{} parts", by_value.len()))
}

/// Returns the arguments, ports and volumes of the operator and of its Service.
fn parts(objects: &[Value]) -> Result<BTreeSet<String>> {
    let deployments = objects::of_kind(objects, "Deployment");
    let pod = &deployments.first().context("no Deployment")?["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let service = objects::of_kind(objects, "Service")
        .into_iter()
        .find(|service| service["metadata"]["name"] == RELEASE);
    let service = service.context("no Service")?;
    let lists = [
        ("argument", &container["args"]),
        ("port", &container["ports"]),
        ("mount", &container["volumeMounts"]),
        ("volume", &pod["volumes"]),
        ("port of the Service", &service["spec"]["ports"]),
    ];
    let each = |(list, values): (&str, &Value)| -> Vec<String> {
        let values = values.as_array().into_iter().flatten();
        values.map(|value| format!("{list} {value}")).collect()
    };
    Ok(lists.into_iter().flat_map(each).collect())
}

/// Builds config/default with components of config, as docs/metrics-api.md says.
async fn with_components(packaging: &Packaging, components: &[&str]) -> Result<String> {
    let folder = packaging.folder().join("kustomization");
    std::fs::create_dir_all(&folder)?;
    let folder = folder.canonicalize()?;
    // Paths of a kustomization are relative.
    let root: PathBuf = folder.components().skip(1).map(|_| "..").collect();
    let config = root.join(repository().canonicalize()?.strip_prefix("/")?).join("config");
    let components: Vec<_> = components.iter().map(|name| config.join(name)).collect();
    let kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [config.join("default")],
        "components": components,
    });
    std::fs::write(folder.join("kustomization.yaml"), kustomization.to_string())?;
    packaging.kustomize(folder).await
}

/// Everything that can be rendered is valid by the schemas of the API server, without a field that
/// they do not name; Helm's own checks pass.
pub(crate) async fn manifests_satisfy_their_schemas(stage: &Stage) -> Result<String> {
    let packaging = Packaging::locate().await?;
    let (cluster, folder) = (stage.control_plane(), packaging.folder().join("schemas"));
    for crd in packaging.monitoring_crds() {
        cluster.apply_file(crd).await?;
    }
    cluster.apply_file(repository().join("crds")).await?;
    for crd in [
        "crd/servicemonitors.monitoring.coreos.com",
        "crd/prometheusrules.monitoring.coreos.com",
        "crd/llmautoscalers.llmautoscaler.io",
    ] {
        cluster.kubectl(["wait", "--for=condition=Established", crd, "--timeout=30s"]).await?;
    }
    let published =
        llm_autoscaler_testbed::wait::until("the schemas", llm_autoscaler_e2e::SOON, async || {
            Ok(schemas::write(cluster, &folder).await.ok())
        });
    published.await?;
    let schemas = folder.to_string_lossy().into_owned();

    let chart = crate::values::chart();
    packaging.helm(cluster, &["lint", "--strict", &chart]).await?;
    let mut texts = Vec::new();
    for values in [json!({}), everything(), one_namespace("team-a")] {
        texts.push(template(stage, &packaging, &values).await?);
    }
    for overlay in ["default", "ha", "namespaced", "samples"] {
        texts.push(packaging.kustomize(repository().join("config").join(overlay)).await?);
    }
    texts.push(with_components(&packaging, &["metrics-api", "external-scaler"]).await?);
    let mut count = 0;
    for text in &texts {
        let all = objects::parse(text)?;
        packaging.kubeconform(&schemas, &objects::write(&all)).await?;
        count += all.len();
    }
    // The check notices a misspelled field.
    let misspelled = texts[0].replace("serviceAccountName:", "serviceAcountName:");
    let answer = packaging.kubeconform(&schemas, &misspelled).await.map(drop);
    let error = answer.err().context("a misspelled field was accepted")?;
    ensure!(format!("{error:#}").contains("serviceAcountName"), "{error:#}");
    cluster.kubectl(["delete", "crd", "llmautoscalers.llmautoscaler.io"]).await?;
    Ok(format!("{count} objects"))
}
