# Functions for scripts that build Go programs once and keep them in .cache. The scripts source this
# file; it needs bash.
#
# A script sets `what` (its name in messages), `target` (the folder to keep, named by a key of its
# sources) and `kept` (the names that must be in that folder). Then it calls:
#
#   begin    prints `result` and exits if everything has been built; else creates the folder $work
#            with `kept` in it
#   build    builds programs into $work/kept; may be called several times
#   program  builds the program of one module, which is in a folder beside the script
#   finish   moves $work/kept to `target`, and prints `result`
#
# `result` is the only line on standard output: `target`, unless the script sets it to a path in
# `target`. Everything else goes to standard error.

# shellcheck source=tests/lib/say.sh
. "$(dirname "${BASH_SOURCE[0]}")/say.sh"

is_kept() {
    local name
    for name in "${kept[@]}"; do [[ -x $target/$name ]] || return 1; done
}

need_go() {
    command -v go >/dev/null || die "building it needs Go 1.26 or newer, and there is no 'go' in PATH: install it from https://go.dev/dl"
    have=$(cd / && GOTOOLCHAIN=local go env GOVERSION) # for example go1.26.8
    [[ $have =~ ^go([0-9]+)\.([0-9]+) ]] || die "cannot read Go's version from '$have'"
    ((BASH_REMATCH[1] > 1 || BASH_REMATCH[2] >= 26)) || die "building it needs Go 1.26 or newer, this is $have: install it from https://go.dev/dl"
}

begin() {
    result=${result:-$target}
    if is_kept; then echo "$result"; exit; fi
    need_go

    # One build runs at a time; a script that has waited finds the result of the other.
    mkdir -p "${target%/*}"
    exec 9>"$target.lock"
    if ! flock -n 9; then
        say "another process is building it, waiting"
        flock 9
        if is_kept; then echo "$result"; exit; fi
    fi

    started=$SECONDS
    work=$(mktemp -d "${target%/*}/.build-${target##*/}.XXXXXX")
    job=
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    mkdir "$work/kept"
}

clean_up() {
    if [[ -n $job ]]; then kill "$job" 2>/dev/null || true; fi
    rm -rf "$work"
}

elapsed() {
    local seconds=$((SECONDS - started))
    if ((seconds < 60)); then echo "${seconds}s"; else echo "$((seconds / 60))m$((seconds % 60))s"; fi
}

# build OUT PACKAGE...: builds packages of the module in the current folder with the flags in the
# array `flags`, and reports its progress. If OUT does not end with a slash, messages name its last
# part.
build() {
    local out=$1 part=${1##*/} total next
    shift
    # This is an upper bound: the build lists only the packages that Go's own cache lacks.
    total=$(go list "${flags[@]}" -deps "$@" 2>"$work/log" | wc -l) || { cat "$work/log" >&2; die "cannot list the packages to build"; }
    nice go build -v "${flags[@]}" -o "$out" "$@" 2>"$work/log" 9>&- &
    job=$!

    next=$((SECONDS + 15))
    while kill -0 "$job" 2>/dev/null; do
        sleep 1
        if [[ -t 2 ]]; then
            printf '\r%s' "$(progress)" >&2
        elif ((SECONDS >= next)); then
            progress >&2
            next=$((SECONDS + 15))
        fi
    done
    if [[ -t 2 ]]; then echo >&2; fi
    if ! wait "$job"; then
        job=
        grep -v '^[A-Za-z0-9./_-]*$' "$work/log" | tail -n 30 >&2 || true # without the names of packages that -v prints
        die "the build failed after $(elapsed); its messages are above"
    fi
    job=
}

# program MODULE NAME PACKAGE FLAG...: builds a program of the module in the folder $here/MODULE.
program() {
    local module=$1 name=$2 package=$3
    shift 3
    flags=(-buildvcs=false -trimpath -ldflags "-s -w" "$@")
    cd "$here/$module"
    build "$work/kept/$name" "$package"
}

# Prints the progress of the running build.
progress() { echo "$what: ${part:+$part: }$(wc -l <"$work/log" | tr -d ' ')/${total// /} packages, $(elapsed)"; }

finish() {
    rm -rf "$target"
    mv "$work/kept" "$target" # a build that is interrupted leaves nothing
    say "built in $(elapsed)"
    echo "$result"
}
