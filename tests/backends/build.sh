#!/usr/bin/env bash
# Builds servers that speak Prometheus's query API, from the versions that the go.mod files in the
# folders beside this script pin, and prints their folder as the only line on standard output.
# Everything else goes to standard error.
#
# The first build takes some minutes, and downloads a newer Go toolchain if a module needs one. The
# result is kept in .cache/backends/KEY, where KEY is a hash of the go.mod and go.sum files; from
# then on the script prints its path at once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
what="backends"
# shellcheck source=tests/lib/go.sh
. "$here/../lib/go.sh"
cd "$here"
target=$(cd ../.. && pwd)/.cache/backends/$(key {victoriametrics,thanos,mimir}/go.{mod,sum})
kept=(victoria-metrics thanos mimir)
begin

export GOTOOLCHAIN=auto # the modules' own toolchains
say "building VictoriaMetrics, Thanos and Mimir; this is done once and takes some minutes"
program victoriametrics victoria-metrics github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics
program thanos thanos github.com/thanos-io/thanos/cmd/thanos -tags slicelabels
program mimir mimir github.com/grafana/mimir/cmd/mimir -tags netgo
finish
