#!/usr/bin/env bash
# Puts each fault of faults/*.patch into a copy of the code, and demands that the chaos run finds a
# violation. FAULTS names some of them; SEED and MINUTES are those of the run.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../../../.." && pwd)
target=${CARGO_TARGET_DIR:-$repository/target}
work=$target/chaos/faults
cargo=${CARGO:-cargo}
export SEED=${SEED:-short}

mkdir -p "$work/target"
# Dependencies that have been built are the same there, and take no room as links.
if [ ! -d "$work/target/debug" ] && [ -d "$target/debug/deps" ]; then
    mkdir "$work/target/debug"
    cp -al "$target/debug/deps" "$target/debug/build" "$target/debug/.fingerprint" \
        "$work/target/debug/"
fi

"$cargo" test --locked --quiet --manifest-path "$repository/Cargo.toml" -p llm-autoscaler-e2e \
    --test chaos --no-run
rm -rf "$work/code"
mkdir "$work/code"
(cd "$repository" && git ls-files -z | xargs -0 cp --parents -t "$work/code")
missed=()
for patch in "$repository"/tests/e2e/tests/chaos/faults/*.patch; do
    fault=$(basename "$patch" .patch)
    case " ${FAULTS:-$fault} " in *" $fault "*) ;; *) continue ;; esac
    echo "=== $fault"
    patch --quiet --strip=1 --directory="$work/code" --input="$patch"
    CARGO_TARGET_DIR=$work/target "$cargo" build --locked --quiet \
        --manifest-path "$work/code/Cargo.toml" -p llm-autoscaler
    LLM_AUTOSCALER_BIN=$work/target/debug/llm-autoscaler "$cargo" test --locked --quiet \
        --manifest-path "$repository/Cargo.toml" -p llm-autoscaler-e2e --test chaos \
        > "$work/$fault.log" 2>&1 || true
    # The file is newer than what was built of it, so the next build has it without the fault.
    patch --quiet --strip=1 --reverse --directory="$work/code" --input="$patch"
    if grep '^VIOLATION' "$work/$fault.log" | cut -c1-200 | head -3 | grep .; then
        echo "$fault: caught"
    else
        echo "$fault: NOT caught; see $work/$fault.log"
        missed+=("$fault")
    fi
done
if [ ${#missed[@]} -gt 0 ]; then
    echo "not caught: ${missed[*]}"
    exit 1
fi
