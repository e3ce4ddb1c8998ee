#!/usr/bin/env bash
# Makes the virtual environment .venv from lock files, or brings it up to date:
#     scripts/host/make_venv.sh LOCK_FILE...
# Takes the newest Python that Ray supports; PYTHON_FOR_VENV=/path/to/python takes another.
set -euo pipefail
cd "$(dirname "$0")/../.."

oldest=3.11 newest=3.14 # as images/require_base.sh has them
log=.local/log/venv.log
uv_dir=.local/uv # what brings uv, while .venv has none

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# Run it: version managers leave commands in PATH that only say that nothing is behind them. Isolated from what the shell
# tells Python, which is meant for other environments.
version_of() {
    "$1" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>&1
}

is_supported() {
    [[ $1 =~ ^3\.[0-9]+$ ]] && ((${1#3.} >= ${oldest#3.} && ${1#3.} <= ${newest#3.}))
}

candidates=(python3.14 python3.13 python3.12 python3.11 python3)
[[ -z ${PYTHON_FOR_VENV:-} ]] || candidates=("$PYTHON_FOR_VENV")

find_python() {
    local candidate
    for candidate in "${candidates[@]}"; do
        if is_supported "$(version_of "$candidate")"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# What there is instead, and what helps on this machine, whose packages may have no newer Python.
explain_missing_python() {
    local found=${candidates[-1]} package=""
    if [[ -n $(command -v "$found") ]]; then
        echo "Python $oldest to $newest is needed; $found is $(version_of "$found" | tail -n 1)."
    else
        echo "Python $oldest to $newest is needed; there is no $found."
    fi
    if [[ -n $(command -v apt-cache) ]]; then
        package=$(apt-cache pkgnames python3.1 | sed -nE '/^python3\.1[1-4]$/p' | sort --version-sort | tail -n 1)
    fi
    if [[ -n $package ]]; then
        echo "This system has a package of one: apt install $package $package-venv"
    else
        echo "uv (https://docs.astral.sh/uv/) brings one, without root: uv python install 3.13, then" \
            "make up PYTHON_FOR_VENV=\"\$(uv python find 3.13)\""
    fi
}

# Not if it is that of an earlier version, whose programs have the path in them at which it was made.
is_usable() {
    [[ -f .venv/installed && -x .venv/bin/python ]] && grep --quiet "^relocatable = true" .venv/pyvenv.cfg &&
        .venv/bin/python -I -c ''
}

run_python() {
    "$python" -E -s -m scripts.host.install_packages --log="$log" "$@"
}

stamp=$(cat "$@" | sha256sum)
if is_usable && [[ $(<.venv/installed) == "$stamp" ]]; then
    touch .venv/installed # the lock files are only newer, as after a `git checkout`
    exit
fi

mkdir -p "${log%/*}"
: >"$log"
if is_usable; then
    # In place: a stack may be running from it, and must be stopped from it even if this fails.
    python=.venv/bin/python uv=.venv/bin/uv
    echo "bringing the virtual environment .venv up to date with $*"
else
    python=$(find_python) || fail "$(explain_missing_python)"
    uv=$uv_dir/bin/uv
    echo "making the virtual environment .venv with Python $(version_of "$python"); this takes half a minute, once"
    rm -rf .venv
    run_python get-uv "$uv_dir" "$@"
fi
run_python install "$uv" .venv "$@" || {
    [[ -f .venv/installed ]] || rm -rf .venv
    exit 1
}
rm -rf "$uv_dir"
echo "$stamp" >.venv/installed
