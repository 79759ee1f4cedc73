# Functions for scripts that report what they do on standard error. The scripts source this file after
# they have set `what`, their name in messages.

say() { echo "$what: $*" >&2; }
die() { say "$*"; exit 1; }

sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; }
# Prints a key that changes with these files.
key() { cat "$@" | sha256 | cut -c1-12; }
