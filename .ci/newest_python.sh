#!/usr/bin/env bash
# The unit tests on the newest Python that is supported, which is that of Debian's next release: in a container of its
# base image, with an environment as `make up` makes it.
set -euo pipefail
cd "$(dirname "$0")/.."

image=seedcore/python-base:forky
in_container='
    cp -r /checkout/. /work
    cd /work
    PYTHON_FOR_VENV=python3.14 scripts/host/make_venv.sh requirements.lock requirements-dev.lock
    .venv/bin/python -m pytest --numprocesses=2 tests/unit
'
# What this machine knows of certificates, proxies and its package index, and its network, where they are reached.
variables=()
while IFS= read -r name; do
    variables+=(--env "$name")
done < <(compgen -e | grep -iE '^(pip_(index_url|extra_index_url|cert)|(https?|no)_proxy|ssl_cert_file)$')
# .git, so that tests know which files are the checkout's.
docker run --rm --network=host --workdir=/work --volume="$PWD:/checkout:ro" \
    --volume=/etc/ssl/certs:/etc/ssl/certs:ro "${variables[@]}" "$image" bash -euc "$in_container"
