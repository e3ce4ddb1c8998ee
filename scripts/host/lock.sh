#!/usr/bin/env bash
# Writes requirements.lock and requirements-dev.lock from pyproject.toml: exact versions with hashes for every platform
# and Python from 3.11 on, and no name of a package index, so that any mirror serves them.
#     scripts/host/lock.sh [--upgrade]
set -euo pipefail
cd "$(dirname "$0")/../.."

lock=(.venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --quiet
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" "$@")

"${lock[@]}" pyproject.toml --output-file requirements.lock
# The dev file is installed into the same environment, so it may not choose other versions.
"${lock[@]}" --group dev --constraints requirements.lock --output-file requirements-dev.lock
