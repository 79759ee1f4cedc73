# Sets the paths of the installed Dynamo and its model (`here`, `root`, `cache`, `venv`, `model`), and
# defines the common environment of frontends and workers; the other scripts source it. The folder's
# name contains a hash of its inputs, so a changed version gets a new folder.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/.cache/dynamo
what="Dynamo"
# shellcheck source=tests/lib/say.sh
. "$root/tests/lib/say.sh"
venv=${VENV:-$cache/$(key "$here"/{install.sh,requirements.lock,mock_model.py} "$root"/tests/{vllm/tiny_model.py,lib/venv.sh})}
model=${MODEL:-$venv/model}

# Sets the environment of one pod: how it discovers the others, and that it listens on its own address
# only.
become_pod() {
    [[ -n ${POD_IP:-} && -n ${PORT:-} ]] || die "${0##*/} needs POD_IP and PORT in its environment, the address to serve on"
    [[ -n ${DYN_FILE_KV:-} ]] || die "${0##*/} needs DYN_FILE_KV in its environment, the folder by which frontends and workers find each other"
    [[ -e $venv/.complete ]] || die "it is not installed in $venv: run $here/install.sh"
    unset PYTHONPATH PYTHONHOME
    export DYN_DISCOVERY_BACKEND=file DYN_FILE_KV
    export DYN_REQUEST_PLANE=tcp DYN_TCP_RPC_HOST=$POD_IP DYN_TCP_RESPONSE_STREAM_HOST=$POD_IP
    # Events, which only other routing modes need, are sent to a broker that does not exist. Without a
    # broker each topic would open a port on all addresses of the machine, whatever
    # DYN_EVENT_PLANE_HOST is.
    export DYN_EVENT_PLANE=zmq DYN_ZMQ_BROKER_URL="xsub=ipc://@dynamo-nobody , xpub=ipc://@dynamo-nobody"
    export DYN_LOG=${DYN_LOG:-warn} DYN_SDK_DISABLE_ANSI_LOGGING=1
    export HOME=$venv/home HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1 # what it writes beside its log
}
