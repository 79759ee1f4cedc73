# Functions for scripts that install Python packages into a virtual environment once and keep it in
# .cache. The scripts source this file after their paths.sh, which sets `what`, `here`, `root`, `cache`
# and `venv`; it needs bash.
#
# A script sets `packages_of` (what its packages are, in a message), `glibc` (the minor version of
# glibc 2 that they need) and `free_mb` (the disk that the installation needs). Then it calls:
#
#   begin           prints the environment's folder and exits if it is installed; else checks the
#                   machine, and creates the folder $TMPDIR, which is removed at the end
#   make_venv       creates the environment
#   install_lock    installs the packages of requirements.lock; its arguments are passed to pip
#   finish          prints the environment's folder
#
# The folder is the only line on standard output. A script may replace `is_done`, `check_more` and
# `clean_up`. PYTHON selects the interpreter.

unset PYTHONPATH PYTHONHOME
python=${PYTHON:-python3}

is_done() { [[ -e $venv/.complete ]]; }
check_more() { :; }
clean_up() { rm -rf "$TMPDIR"; }

check_machine() {
    local libc version free
    [[ $(uname -sm) == "Linux x86_64" ]] || die "$packages_of for Linux on x86-64, this is $(uname -sm): use emulated engines"
    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null || echo "another C library")
    [[ $libc =~ ^glibc\ 2\.([0-9]+) ]] && ((BASH_REMATCH[1] >= glibc)) \
        || die "the packages need glibc 2.$glibc or newer, this system has $libc: use a newer distribution, or emulated engines"
    command -v "$python" >/dev/null || die "there is no '$python' in PATH: install Python 3.11 to 3.13, or set PYTHON to one"
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || die "'$python' does not run: set PYTHON to a Python 3.11 to 3.13"
    case $version in
        3.11 | 3.12 | 3.13) ;;
        *) die "the packages are fixed for Python 3.11 to 3.13, and '$python' is $version: set PYTHON to such a one" ;;
    esac
    "$python" -c 'import venv, ensurepip' 2>/dev/null || die "'$python' cannot make virtual environments: install its venv module (on Debian: python3-venv)"
    check_more
    free=$(df -Pm "$cache" | awk 'NR == 2 { print $4 }')
    ((free >= free_mb)) || die "it needs $free_mb MB of disk while it installs, and $cache has $free MB free"
}

begin() {
    if is_done; then echo "$venv"; exit; fi
    mkdir -p "$cache"
    check_machine

    # One installation runs at a time; a script that has waited finds the result of the other.
    exec 9>"$cache/install.lock"
    if ! flock -n 9; then
        say "another process is installing it, waiting"
        flock 9
        if is_done; then echo "$venv"; exit; fi
    fi

    started=$SECONDS
    export TMPDIR=$cache/tmp # what pip downloads: on the disk that was checked
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    rm -rf "$TMPDIR"
    mkdir "$TMPDIR"
}

make_venv() {
    rm -rf "$venv" # what an interrupted run left: an environment cannot be moved, so it is made in its place
    "$python" -m venv "$venv"
}

count_packages() { grep -ci '^[a-z].*==' "$here/requirements.lock"; }
install_lock() {
    "$venv/bin/python" -m pip install --no-deps --no-cache-dir --disable-pip-version-check --only-binary :all: "$@" -r "$here/requirements.lock"
}

# Runs a step; its output, such as pip's progress, goes to standard error.
step() {
    say "$1"
    shift
    "$@" 9>&- >&2 </dev/null || die "this failed: $*; the reason is above"
}

finish() {
    say "installed in $((SECONDS - started))s"
    echo "$venv"
}
