# shellcheck shell=bash disable=SC2034,SC2154
# The version that is built, its commit, and its time, for the scripts of this folder, which source
# this file. It needs `root`, the root of the checkout, and `die`.

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
[[ -n $version ]] || die "Cargo.toml has no version in [workspace.package]"
# The commit; with changes that are not committed, it says so.
revision=${LLM_AUTOSCALER_REVISION:-}
if [[ -z $revision ]]; then
    revision=$(git -C "$root" rev-parse --short=12 HEAD 2>/dev/null) || revision=unknown
    [[ -z $(git -C "$root" status --porcelain 2>/dev/null) ]] || revision+=-dirty
fi
# The time in everything that has one, so that two builds of a commit are equal.
time=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || echo 0)}

# archive FOLDER FILE PATH: packs a path of a folder; equal folders give equal files.
archive() {
    tar --create --sort=name --format=posix --pax-option=delete=atime,delete=ctime \
        --mtime="@$time" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX -C "$1" -f "$2" "$3"
}
