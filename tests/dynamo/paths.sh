# Where the installed Dynamo and its model are, and what frontends and workers have in common; sourced by the other scripts.
# Sets `here`, `root`, `cache`, `venv` and `model`. The folder follows from what it is made of, so a changed version is
# another folder and not a changed one.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/.cache/dynamo
key() { cat "$@" | sha256sum | cut -c1-12; }
venv=${VENV:-$cache/$(key "$here"/{install.sh,requirements.lock,mock_model.py} "$root/tests/vllm/tiny_model.py")}
model=${MODEL:-$venv/model}

say() { echo "Dynamo: $*" >&2; }
die() { say "$*"; exit 1; }

# Makes the environment of one pod: how it finds the others, and that it listens on its own address only.
become_pod() {
    [[ -n ${POD_IP:-} && -n ${PORT:-} ]] || die "${0##*/} needs POD_IP and PORT in its environment, the address to serve on"
    [[ -n ${DYN_FILE_KV:-} ]] || die "${0##*/} needs DYN_FILE_KV in its environment, the folder by which frontends and workers find each other"
    [[ -e $venv/.complete ]] || die "it is not installed in $venv: run $here/install.sh"
    unset PYTHONPATH PYTHONHOME
    export DYN_DISCOVERY_BACKEND=file DYN_FILE_KV
    export DYN_REQUEST_PLANE=tcp DYN_TCP_RPC_HOST=$POD_IP DYN_TCP_RESPONSE_STREAM_HOST=$POD_IP
    # Events, which only other ways of routing need, go to a broker that is not there. Without one, each topic would
    # have a port that is open on all addresses of the machine, whatever DYN_EVENT_PLANE_HOST says.
    export DYN_EVENT_PLANE=zmq DYN_ZMQ_BROKER_URL="xsub=ipc://@dynamo-nobody , xpub=ipc://@dynamo-nobody"
    export DYN_LOG=${DYN_LOG:-warn} DYN_SDK_DISABLE_ANSI_LOGGING=1
    export HOME=$venv/home HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1 # what it writes beside its log
}
