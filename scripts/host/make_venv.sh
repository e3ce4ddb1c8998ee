#!/usr/bin/env bash
# Makes the virtual environment .venv from lock files:
#     scripts/host/make_venv.sh LOCK_FILE...
# Takes the newest Python that is 3.11 or newer; PYTHON_FOR_VENV=/path/to/python takes another.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in ${PYTHON_FOR_VENV:-python3.14 python3.13 python3.12 python3.11 python3}; do
        # Run it: version managers leave commands in PATH that only say that nothing is behind them.
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

stamp=$(cat "$@" | sha256sum)
if [[ -f .venv/installed && $(<.venv/installed) == "$stamp" ]] && .venv/bin/python -c '' 2>/dev/null; then
    touch .venv/installed # the lock files are only newer, as after a `git checkout`
    exit
fi

if [[ -f .venv/installed ]] && .venv/bin/python -c '' 2>/dev/null; then
    # In place: a stack may be running from it, and must be stopped from it even if this fails.
    echo "bringing the virtual environment .venv up to date with $*"
else
    python=$(find_python) || fail "no Python 3.11 or newer found (python3.11 ... python3.14, python3)." \
        "Install one, on Debian and Ubuntu with: apt install python3 python3-venv"
    echo "making the virtual environment .venv with $("$python" --version); this takes a minute, once"
    rm -rf .venv
    "$python" -m venv .venv >/dev/null 2>&1 || {
        rm -rf .venv
        fail "$python cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv"
    }
fi
# Both files at once, so that pip sees a conflict between them.
.venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar=on --quiet \
    --require-hashes "${@/#/--requirement=}" || {
    [[ -f .venv/installed ]] || rm -rf .venv
    fail "installing from $* failed, as pip says above. Behind a proxy set HTTPS_PROXY; with a certificate authority" \
        "of your network's own set PIP_CERT to its PEM file. Then try again."
}
echo "$stamp" >.venv/installed
