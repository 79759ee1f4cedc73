# Where the installed engine and its model are; sourced by the other scripts. Sets `here`, `root`, `venv` and `model`.
# Both follow from what they are made of, so a changed version is another folder and not a changed one.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/.cache/vllm
key() { (cd "$here" && cat "$@") | sha256sum | cut -c1-12; }
venv=${VENV:-$cache/$(key install.sh requirements.lock cuda_stub.py)}
model=${MODEL:-$cache/tiny-model-$(key tiny_model.py)}

say() { echo "vLLM: $*" >&2; }
die() { say "$*"; exit 1; }

need_installed() {
    [[ -x $venv/bin/python && -e $venv/.complete ]] || die "it is not installed in $venv: run $here/install.sh"
    [[ -d $model ]] || die "there is no model in $model: run $here/install.sh"
}
