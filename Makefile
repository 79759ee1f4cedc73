# `make help` lists the targets.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

ENGINE ?= emulated
COUNT ?= $(if $(filter api-cost,$(MAKECMDGOALS)),40,600)
PEERS ?= 40
LOAD ?= quiet
SETTLE ?= 400
STEPS ?= 50
MORE ?= 2000
RUNS ?= 1
PARTS ?= ours,chain,keda
PODS ?= $(if $(filter scale,$(MAKECMDGOALS)),10000,$(if $(filter soak,$(MAKECMDGOALS)),2000,1000))
AUTOSCALERS ?= 1000
INTERVAL ?= 15
MINUTES ?= $(if $(filter soak,$(MAKECMDGOALS)),120,20)
KILLS ?= 10
SEED ?=
LEASE ?= 5
VERSIONS ?= 1.34 1.35 1.36 1.37
SUITES ?= e2e doubt
LOADING ?= 60
SECONDS ?= 60
ARCH ?= amd64
CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
CHART := deploy/helm/llm-autoscaler
CARGO_DENY_VERSION := 0.20.2
CARGO_DENY_ROOT := .cache/cargo-deny-$(CARGO_DENY_VERSION)
CARGO_DENY := $(CARGO_DENY_ROOT)/bin/cargo-deny
MDBOOK_VERSION := 0.5.4
MDBOOK_ROOT := .cache/mdbook-$(MDBOOK_VERSION)
MDBOOK := $(MDBOOK_ROOT)/bin/mdbook

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## the llm-autoscaler binary and everything else, debug
	$(CARGO) build --workspace --locked

.PHONY: fmt
fmt: ## format the code
	$(CARGO) fmt --all

.PHONY: lint
lint: ## formatting and clippy, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

.PHONY: check-crates
check-crates: ## the crates without I/O, each by itself: none of them needs what another crate brings
	for crate in core engines api observe convert sim simulate; do $(CARGO) check --locked -p llm-autoscaler-$$crate; done

.PHONY: doc
doc: ## the crates' documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

.PHONY: book
book: $(MDBOOK) ## the pages of docs as a book, in target/book
	$(MDBOOK) build --dest-dir $(abspath $(TARGET))/book docs

# Built once from crates.io at this version, without its server.
$(MDBOOK):
	$(CARGO) install --locked --version $(MDBOOK_VERSION) --no-default-features --features search --root $(MDBOOK_ROOT) mdbook

.PHONY: test
test: controlplane lint check-crates doc book build unit conformance-quick e2e test-doubt test-targets test-chaos ## all checks of CI, which must pass before a merge
	@echo "make test: everything passed"

.PHONY: unit
unit: ## all tests except the end-to-end ones
	$(CARGO) test --workspace --locked --exclude llm-autoscaler-e2e

.PHONY: house
house: ## what the project promises of its own structure: layers, circles, English, lengths
	$(CARGO) test --locked -p llm-autoscaler-house --test house -- --nocapture --test-threads=1

.PHONY: e2e
e2e: controlplane ## the operator against a real API server
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test e2e

.PHONY: test-doubt
test-doubt: controlplane ## faults of samples and their sources: never a scale-down on missing evidence
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test doubt

.PHONY: test-targets
test-targets: controlplane ## roles of RoleBasedGroups, kinds of Grove and Dynamo, with stand-ins for their controllers; ownership, pausing, manual sizes
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test targets

.PHONY: test-drain
test-drain: controlplane ## scale-downs that drain; a hundred under load, beside a real HPA; the copy that drains is killed KILLS times (7 minutes)
	$(CARGO) build --locked -p llm-autoscaler
	KILLS=$(KILLS) $(CARGO) test --locked -p llm-autoscaler-e2e --test drain

.PHONY: test-roles
test-roles: controlplane ## prefill and decode in proportion, under one ceiling, while load shifts from long prompts to long answers (4 minutes)
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test roles

.PHONY: test-engines
test-engines: controlplane monitoring ## every engine's page scales, by pages and by Prometheus; so do real vLLM and Dynamo (1.3 GB, once)
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test engines

.PHONY: test-gateways
test-gateways: controlplane ## real gateways (smg, vllm-router, Dynamo's frontend; 160 MB, once): scaled by their pages, woken by refused requests
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test gateways

.PHONY: test-startup
test-startup: controlplane ## load x 4 while replicas take LOADING seconds to start: no more replicas are requested than needed
	$(CARGO) build --locked -p llm-autoscaler
	LOADING=$(LOADING) $(CARGO) test --locked -p llm-autoscaler-e2e --test startup

.PHONY: test-slo
test-slo: controlplane ## a promise instead of thresholds: engines are learned, and the promise is kept (9 minutes)
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test slo

.PHONY: test-simulate
test-simulate: controlplane ## the same load and spec through the operator on emulated engines, through evaluate and through simulate: the same decisions, counted (5 minutes)
	$(CARGO) test --locked -p llm-autoscaler --test same_decisions -- --nocapture
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test simulate

.PHONY: test-wedged
test-wedged: controlplane ## engines that have requests and answer none: replaced once, and remembered (7 minutes)
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test wedged

.PHONY: test-tenants
test-tenants: controlplane ## a tenant's attacks, and an API server in trouble: the others are served (6 minutes)
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test tenants

.PHONY: test-migrate
test-migrate: controlplane ## from a real HPA and from a stand-in for KEDA to an LLMAutoscaler and back, killed at each write (5 minutes)
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test migrate

.PHONY: test-rbac
test-rbac: controlplane ## each permission of the operator is used, and its absence is told; Roles of one namespace suffice (2 minutes)
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test rbac

.PHONY: test-failover
test-failover: controlplane ## two copies of the operator: updated, terminated, paused, killed KILLS times with a Lease of LEASE seconds: never two writers; three with even shares (6 minutes)
	$(CARGO) build --locked -p llm-autoscaler
	KILLS=$(KILLS) LEASE=$(LEASE) $(CARGO) test --locked -p llm-autoscaler-e2e --test failover

.PHONY: test-versions
test-versions: ## SUITES on the control planes of VERSIONS, and a table of what passed (2 minutes each; built once, minutes each)
	for version in $(VERSIONS); do CONTROLPLANE=$$version tests/controlplane/build.sh > /dev/null; done
	$(CARGO) build --locked -p llm-autoscaler
	VERSIONS="$(VERSIONS)" SUITES="$(SUITES)" CARGO="$(CARGO)" tests/controlplane/versions.sh

.PHONY: test-coexist
test-coexist: controlplane monitoring keda ## real HPAs and the real KEDA on the operator's metrics, beside Prometheus and its adapter (15 minutes)
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test coexist

.PHONY: test-install
test-install: controlplane packaging ## the chart and the overlays: rendered, linted, installed, run with two copies, upgraded, rolled back, removed (5 minutes)
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test install

.PHONY: chaos
chaos: controlplane ## everything goes wrong at once by the plan of a SEED, for MINUTES: no invariant is broken
	$(CARGO) build --locked -p llm-autoscaler
	SEED=$(SEED) MINUTES=$(MINUTES) $(CARGO) test --locked -p llm-autoscaler-e2e --test chaos

.PHONY: test-chaos
test-chaos: controlplane ## a minute of chaos with fixed disturbances, and the tests of its judge
	$(CARGO) test --locked -p llm-autoscaler-e2e --test chaos-rules
	$(CARGO) build --locked -p llm-autoscaler
	SEED=short $(CARGO) test --locked -p llm-autoscaler-e2e --test chaos

.PHONY: chaos-faults
chaos-faults: controlplane ## faults that are put into a copy of the code on purpose: chaos catches each (15 minutes)
	CARGO=$(CARGO) tests/e2e/tests/chaos/faults.sh

.PHONY: twins
twins: controlplane ## the real HPA and this operator side by side on the same metrics, the suite's and then the operator's: the same sizes (5 minutes)
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test twins

.PHONY: test-monitoring
test-monitoring: controlplane monitoring test-rules ## PodMonitors with the real Prometheus Operator, scaling by a real Prometheus, the dashboard and an alert
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test monitoring

.PHONY: test-rules
test-rules: monitoring ## the alerting rules by promtool: syntax, and unit tests of each
	$$(tests/monitoring/build.sh)/promtool check rules --lint=all --lint-fatal deploy/monitoring/rules.yaml
	$$(tests/monitoring/build.sh)/promtool test rules deploy/monitoring/rules_test.yaml

.PHONY: test-backends
test-backends: controlplane monitoring backends ## scaling by a real Prometheus, VictoriaMetrics, Thanos and Mimir; stores that die
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test backends

.PHONY: test-replay
test-replay: controlplane monitoring backends ## replay of a load that real Prometheus, VictoriaMetrics and Thanos scraped (3 minutes); REPLAY_SECONDS=600 for ten minutes of load
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test replay

.PHONY: test-lws
test-lws: controlplane lws ## LeaderWorkerSets, with their real controllers: groups of pods that are one replica each
	$(CARGO) build --locked -p llm-autoscaler
	LWS_VERSION=0.8 $(CARGO) test --locked -p llm-autoscaler-e2e --test lws
	LWS_VERSION=0.9 $(CARGO) test --locked -p llm-autoscaler-e2e --test lws

.PHONY: test-owners
test-owners: controlplane owners ## model servers that own workloads, by the CRDs that they publish
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test owners

.PHONY: test-gitops
test-gitops: controlplane gitops ## kubectl, Helm and Flux beside an autoscaler; its health by kstatus and Argo CD (2 minutes)
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test gitops

.PHONY: test-ui
test-ui: controlplane ## the pages of llm-autoscaler ui and of simulate --html in headless Chromium (a browser from npm, once; 2 minutes); pictures in target/ui
	node --test tests/ui
	$(CARGO) build --locked -p llm-autoscaler
	$(CARGO) test --locked -p llm-autoscaler-e2e --test ui

.PHONY: demo
demo: controlplane ## watch a StatefulSet grow from 1 to 3 under load; ENGINE=vllm for real vLLM
	$(CARGO) build --locked -p llm-autoscaler -p llm-autoscaler-testbed
	$(TARGET)/debug/testbed demo --engine $(ENGINE) --operator-bin $(TARGET)/debug/llm-autoscaler

.PHONY: up
up: controlplane ## a control plane and hollow nodes until Ctrl-C, to experiment with
	$(CARGO) build --locked -p llm-autoscaler -p llm-autoscaler-testbed
	$(TARGET)/debug/testbed up

.PHONY: controlplane
controlplane: ## etcd, kube-apiserver, kube-controller-manager, kubectl, built once (minutes)
	@tests/controlplane/build.sh > /dev/null

.PHONY: monitoring
monitoring: ## Prometheus, promtool, the Prometheus Operator, prometheus-adapter, built once (minutes)
	@tests/monitoring/build.sh > /dev/null

.PHONY: backends
backends: ## VictoriaMetrics, Thanos and Mimir, built once (minutes)
	@tests/backends/build.sh > /dev/null

.PHONY: keda
keda: ## KEDA's operator and metrics server, built once (minutes)
	@tests/keda/build.sh > /dev/null

.PHONY: packaging
packaging: ## helm, kustomize and kubeconform, built once (minutes)
	@tests/packaging/build.sh > /dev/null

.PHONY: lws
lws: ## LeaderWorkerSet's controllers, built once (minutes)
	@tests/lws/build.sh > /dev/null
	@tests/lws/build.sh 0.9 > /dev/null

.PHONY: owners
owners: ## the CRDs of model servers that own workloads, fetched once
	@tests/owners/build.sh > /dev/null

.PHONY: gitops
gitops: ## Helm, and the libraries of Flux, kstatus and Argo CD, built once (minutes)
	@tests/gitops/build.sh > /dev/null

.PHONY: conformance
conformance: ## 200,000 random cases and 10,000 timelines against the HPA's own code
	tests/conformance/run.sh

.PHONY: conformance-quick
conformance-quick: controlplane ## a tenth of that, always the same cases
	tests/conformance/run.sh 20000 2000 1

.PHONY: parser-conformance
parser-conformance: ## 200,000 damaged metrics pages, read as Prometheus's own parsers read them
	tests/parser/run.sh

.PHONY: fuzz
fuzz: ## fuzz one TARGET for SECONDS
	tests/fuzz/run.sh $(SECONDS) $(if $(filter command,$(origin TARGET)),$(TARGET),exposition)

.PHONY: fuzz-all
fuzz-all: ## fuzz every target for SECONDS, two at a time
	JOBS=2 tests/fuzz/run.sh $(SECONDS) all

.PHONY: bench
bench: ## nanoseconds and bytes per second of the hot paths, beside Prometheus's parser
	$(CARGO) bench --locked -p llm-autoscaler-core --bench decide --bench coordinate --bench slo
	CARGO=$(CARGO) tests/parser/bench.sh

.PHONY: simulate-bench
simulate-bench: ## every policy in every scenario of the simulator, over five seeds, into docs/simulate-results.md; then a day of 8.6 million requests
	$(CARGO) bench --locked -p llm-autoscaler-simulate --bench policies
	$(CARGO) bench --locked -p llm-autoscaler-simulate --bench day

.PHONY: simulate-vllm
simulate-vllm: ## the engine model beside one real vLLM process, at five rates, into docs/simulate-vllm.md (11 minutes; 1.3 GB, once)
	tests/vllm/install.sh
	STEP_SECONDS=0.03 tests/vllm/curves.sh tests/fixtures/vllm-curves/tiny-vllm-30ms 60
	STEP_SECONDS=0 tests/vllm/curves.sh tests/fixtures/vllm-curves/tiny-vllm 20
	UPDATE=1 $(CARGO) test --locked -p llm-autoscaler-simulate --test vllm -- --nocapture

.PHONY: reaction
reaction: controlplane monitoring keda ## from a metric's step to the scale write: STEPS one by one, COUNT and MORE at once; PARTS=ours,chain,keda (25 minutes)
	$(CARGO) build --locked --release -p llm-autoscaler
	LLM_AUTOSCALER_BIN=$(abspath $(TARGET))/release/llm-autoscaler $(CARGO) bench --locked --profile dev -p llm-autoscaler-e2e --bench reaction -- --steps $(STEPS) --count $(COUNT) --more $(MORE) --parts $(PARTS) --results $(abspath $(TARGET))/reaction.tsv

.PHONY: guide
guide: controlplane monitoring ## the guide's 400 prompts on real vLLM, RUNS times by the chain and by this operator: last answer, time to first token (10 minutes each)
	$(CARGO) build --locked --release -p llm-autoscaler
	LLM_AUTOSCALER_BIN=$(abspath $(TARGET))/release/llm-autoscaler $(CARGO) bench --locked --profile dev -p llm-autoscaler-e2e --bench guide -- --runs $(RUNS)

.PHONY: sampling
sampling: controlplane ## the cost of scraping PODS pages every five seconds: CPU, memory, delay
	$(CARGO) build --locked --release -p llm-autoscaler
	LLM_AUTOSCALER_BIN=$(abspath $(TARGET))/release/llm-autoscaler $(CARGO) bench --locked --profile dev -p llm-autoscaler-e2e --bench sampling -- $(PODS)

.PHONY: scale
scale: controlplane ## what one copy of the operator carries: memory, CPU, start and requests with PODS pods and AUTOSCALERS autoscalers; SCALE=--failover, SCALE="--buckets 8 --copies 3" (5 to 30 minutes)
	$(CARGO) build --locked --release -p llm-autoscaler
	LLM_AUTOSCALER_BIN=$(or $(LLM_AUTOSCALER_BIN),$(abspath $(TARGET))/release/llm-autoscaler) $(CARGO) bench --locked --profile dev -p llm-autoscaler-e2e --bench scale -- --pods $(PODS) --autoscalers $(AUTOSCALERS) --interval $(INTERVAL) $(SCALE)

.PHONY: api-cost
api-cost: controlplane monitoring keda ## requests at the API server, an autoscaler and an hour: COUNT of ours, PEERS HPAs and ScaledObjects, LOAD=quiet or noisy (27 minutes)
	$(CARGO) build --locked -p llm-autoscaler
	LLM_AUTOSCALER_BIN=$(abspath $(TARGET))/debug/llm-autoscaler $(CARGO) bench --locked --profile dev -p llm-autoscaler-e2e --bench api_cost -- --count $(COUNT) --peers $(PEERS) --load $(LOAD) --settle $(SETTLE) --minutes $(MINUTES)

.PHONY: soak
soak: controlplane ## two copies for MINUTES, PODS pods of which a tenth a minute is replaced: memory, descriptors, tasks stay flat
	$(CARGO) build --locked --release -p llm-autoscaler
	LLM_AUTOSCALER_BIN=$(abspath $(TARGET))/release/llm-autoscaler $(CARGO) bench --locked --profile dev -p llm-autoscaler-e2e --bench soak -- --minutes $(MINUTES) --pods $(PODS) --csv $(abspath $(TARGET))/soak

.PHONY: image
image: ## the image for ARCH (amd64, arm64) as an OCI archive in target/image
	deploy/image.sh $(ARCH)

.PHONY: test-image
test-image: controlplane ## the image for amd64: its content, its settings, and a StatefulSet that its binary scales
	deploy/test-image.sh $$(deploy/image.sh amd64)

.PHONY: reproducible
reproducible: ## the image for ARCH is built twice, in two folders, and both archives are equal
	deploy/reproducible.sh $(ARCH)

.PHONY: release
release: ## what a release consists of, in target/release-VERSION (docs/release.md)
	deploy/release.sh

.PHONY: crds
crds: ## generate crds/, deploy/install.yaml and the files of the chart from crates/api, config/ and deploy/monitoring/
	$(CARGO) build --locked -p llm-autoscaler
	$(TARGET)/debug/llm-autoscaler crd > crds/llmautoscaler.io_llmautoscalers.yaml
	$$(tests/controlplane/build.sh)/kubectl kustomize config/default > deploy/install.yaml
	cp crds/llmautoscaler.io_llmautoscalers.yaml $(CHART)/files/crd.yaml
	rm -f $(CHART)/files/rbac/*
	cp $(filter-out %/kustomization.yaml,$(wildcard config/rbac/*.yaml)) $(CHART)/files/rbac
	mkdir -p $(CHART)/files/monitoring
	cp deploy/monitoring/dashboard.json deploy/monitoring/rules.yaml $(CHART)/files/monitoring

.PHONY: notices
notices: ## write deploy/THIRD-PARTY-NOTICES.md from Cargo.lock and the sources that Cargo has downloaded
	UPDATE=1 $(CARGO) test --locked -p llm-autoscaler-house --test copies notices

.PHONY: values
values: ## write the table of the chart's values in docs/install.md
	UPDATE=1 $(CARGO) test --locked -p llm-autoscaler-house --test copies values

.PHONY: deny
deny: $(CARGO_DENY) ## licences, duplicate and banned crates, and sources of the dependencies (deny.toml)
	$(CARGO_DENY) --locked check --hide-inclusion-graph licenses bans sources

# Built once from crates.io at this version.
$(CARGO_DENY):
	$(CARGO) install --locked --version $(CARGO_DENY_VERSION) --root $(CARGO_DENY_ROOT) cargo-deny

.PHONY: clean
clean: ## remove all build output, including the control plane's binaries
	rm -rf $(TARGET) .cache
