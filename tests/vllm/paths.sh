# Sets the paths of the installed engine and its model (`here`, `root`, `venv`, `model`); the other
# scripts source it. The names of both folders contain a hash of their inputs, so a changed version
# gets a new folder.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/.cache/vllm
what="vLLM"
# shellcheck source=tests/lib/say.sh
. "$root/tests/lib/say.sh"
venv=${VENV:-$cache/$(key "$here"/{install.sh,requirements.lock,cuda_stub.py} "$root/tests/lib/venv.sh")}
model=${MODEL:-$cache/tiny-model-$(key "$here/tiny_model.py")}

need_installed() {
    [[ -x $venv/bin/python && -e $venv/.complete ]] || die "it is not installed in $venv: run $here/install.sh"
    [[ -d $model ]] || die "there is no model in $model: run $here/install.sh"
}
