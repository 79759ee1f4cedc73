# Sets the paths of the installed engine and its model (`here`, `root`, `venv`, `model`); the other
# scripts source it. The names of both folders contain a hash of their inputs, so a changed version
# gets a new folder.
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
