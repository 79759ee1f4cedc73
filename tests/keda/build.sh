#!/usr/bin/env bash
# Builds KEDA's operator and metrics server from the version that go.mod pins, and prints their
# folder as the only line on standard output. The folder has the programs keda-operator and
# keda-adapter, and crds, with KEDA's CustomResourceDefinitions. Everything else goes to standard
# error.
#
# Of KEDA's scalers only those in `scalers` are built in: the clients of the other seventy are most
# of KEDA's code. Everything else is as published, with the dependencies of KEDA's own go.sum.
#
# The first build takes some minutes. The result is kept in .cache/keda/KEY, where KEY is a hash of
# this script, go.mod and go.sum; from then on the script prints its path at once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
what="KEDA"
# shellcheck source=tests/lib/go.sh
. "$here/../lib/go.sh"
cd "$here"
target=$(cd ../.. && pwd)/.cache/keda/$(key build.sh go.{mod,sum})
kept=(keda-operator keda-adapter crds)
scalers="external external-push prometheus cpu memory cron"
files="external prometheus cpu_memory cron"
begin

say "building its operator and its metrics server with $have; this is done once and takes some minutes"
cp -R "$(go mod download -json github.com/kedacore/keda/v2 | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')" "$work/source"
chmod -R u+w "$work/source"
cd "$work/source"

mkdir "$work/scalers"
for name in $files; do mv "pkg/scalers/${name}_scaler.go" "$work/scalers"; done
mv pkg/scalers/scaler.go "$work/scalers"
rm pkg/scalers/*.go
mv "$work"/scalers/*.go pkg/scalers
# The page of its metrics is served on loopback.
sed -i.bak 's/fmt.Sprintf(":%v", metricsAPIServerPort)/fmt.Sprintf("127.0.0.1:%v", metricsAPIServerPort)/' cmd/adapter/main.go
# A constant that another scaler's file has.
printf 'package scalers\n\nconst externalMetricType = "External"\n' >pkg/scalers/constants.go
# The list of scalers keeps the lines of those that are built in.
awk -v kept="$scalers" '
    BEGIN { count = split(kept, names, " "); for (i = 1; i <= count; i++) is_kept["\"" names[i] "\":"] = 1 }
    /TRIGGERS-START/ { inside = 1 }
    inside && $1 == "case" { skip = !($2 in is_kept) }
    inside && $1 == "default:" { skip = 0; inside = 0 }
    !skip
' pkg/scaling/scalers_builder.go >"$work/list"
mv "$work/list" pkg/scaling/scalers_builder.go

# What only other scalers need is still in go.mod.
flags=(-mod=mod -buildvcs=false -trimpath -ldflags "-s -w")
build "$work/kept/keda-operator" ./cmd/operator
build "$work/kept/keda-adapter" ./cmd/adapter

mkdir "$work/kept/crds"
cp config/crd/bases/*.yaml "$work/kept/crds"
finish
