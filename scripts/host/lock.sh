#!/usr/bin/env bash
# Writes requirements.lock and requirements-dev.lock from pyproject.toml, and app/requirements.lock from
# app/requirements.txt if there is one: exact versions with hashes for every platform and Python from 3.11 on, and no
# name of a package index, so that any mirror serves them.
#     scripts/host/lock.sh [--upgrade]
set -euo pipefail
cd "$(dirname "$0")/../.."

lock=(.venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" "$@")

"${lock[@]}" pyproject.toml --output-file requirements.lock
# The dev file is installed into the same environment, so it may not choose other versions.
"${lock[@]}" --group dev --constraints requirements.lock --output-file requirements-dev.lock
# What the application needs is beside them in the same environment.
if [[ -f app/requirements.txt ]]; then
    "${lock[@]}" app/requirements.txt --constraints requirements.lock --constraints requirements-dev.lock \
        --output-file app/requirements.lock || {
        echo "app/requirements.txt cannot be locked, as uv says above: correct the name or version there. A package" \
            "that SeedCore has too must allow the version in requirements.lock. Nothing of app/ was changed." >&2
        exit 1
    }
    # so that a later change is seen
    echo "# of app/requirements.txt $(sha256sum <app/requirements.txt)" >>app/requirements.lock
else
    rm -f app/requirements.lock
fi
echo "Next: \`make up\` installs them"
