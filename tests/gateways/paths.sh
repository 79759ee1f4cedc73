# Sets the paths of the installed gateways (`here`, `root`, `cache`, `venv`), and defines the common
# environment of their pods; the other scripts source it. The folder's name contains a hash of its
# inputs, so a changed version gets a new folder.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/.cache/gateways
what="gateways"
# shellcheck source=tests/lib/say.sh
. "$root/tests/lib/say.sh"
venv=${VENV:-$cache/$(key "$here"/{install.sh,requirements.lock} "$root/tests/lib/venv.sh")}

# Sets the environment of one pod, and `discovery`, the arguments by which a gateway finds the pods of
# its engines in the API server.
become_pod() {
    [[ -n ${POD_IP:-} && -n ${PORT:-} && -n ${POD_NAMESPACE:-} ]] || die "${0##*/} needs POD_IP, PORT and POD_NAMESPACE in its environment, the address to serve on"
    [[ -n ${KUBECONFIG:-} && -n ${WORKERS:-} ]] || die "${0##*/} needs KUBECONFIG and WORKERS in its environment, the API server and the label of the engines' pods, such as app=engine"
    [[ -e $venv/.complete ]] || die "it is not installed in $venv: run $here/install.sh"
    unset PYTHONPATH PYTHONHOME
    export KUBECONFIG HOME=$venv/home PYTHONDONTWRITEBYTECODE=1
    discovery=(
        --service-discovery --service-discovery-namespace "$POD_NAMESPACE"
        --selector "$WORKERS" --service-discovery-port "$PORT"
    )
}
