#!/usr/bin/env bash
# Makes a project with copier from the oldest version of the template that can, works on it as a user would, updates it
# to the commit under test, and looks whether all that is the user's is still there, the memory too.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
template=$folder/template
project=$folder/my-project
copier=("$PWD/.venv/bin/uv" tool run --from "copier>=9.6,<10" copier)
export RUNTIME=docker SEEDCORE_IMAGE=seedcore-copier:dev

finish() {
    [[ ! -d $project ]] || make --directory="$project" clean YES=1
    rm -rf "$folder"
}
trap finish EXIT

say() { printf '\n--- %s\n' "$*"; }

# In a clone of its own, since tags do not travel.
git clone --quiet . "$template"
git() { command git -c user.name=ci -c user.email=ci@localhost -c advice.detachedHead=false "$@"; }
oldest=$(git -C "$template" log --diff-filter=A --format=%H -- copier.yml | tail -1)
git -C "$template" tag v0.0.1 "$oldest"
git -C "$template" tag v9999 HEAD

say "copier copy of $oldest"
"${copier[@]}" copy --quiet --defaults --vcs-ref=v0.0.1 "$template" "$project"
cd "$project"
grep -q '^COMPOSE_PROJECT_NAME=my-project$' .env
git init --quiet
git add --all
git commit --quiet --message="as copied"

say "what a user does in it"
ln -s "$OLDPWD/.venv" .venv # else one is made, which takes a minute
echo .venv >>.git/info/exclude
cat >app/actors.py <<'PYTHON'
"""Mine."""

import os

from seedcore import Singleton


class Mine:
    """Knows its greeting."""

    def greet(self) -> str:
        return os.environ["MY_GREETING"]


SINGLETONS = [Singleton("mine", Mine)]
PYTHON
cat >app/routes.py <<'PYTHON'
"""Mine."""

import ray
from fastapi import APIRouter

from seedcore import get_singleton

router = APIRouter()


@router.get("/mine")
def mine() -> str:
    """What the actor says."""
    return str(ray.get(get_singleton("mine").greet.remote()))
PYTHON
cat >app/tests/test_app.py <<'PYTHON'
"""Mine."""

from app.actors import SINGLETONS


def test_mine() -> None:
    assert SINGLETONS[0].name == "mine"
PYTHON
rm app/jobs/primes.py
cat >compose.override.yaml <<'YAML'
services:
  mine:
    image: ${SEEDCORE_IMAGE}
    entrypoint: [sleep, infinity]
    init: true
YAML
echo "MY_GREETING=hello from .env" >>.env
echo "# My own" >README.md
port=$(.venv/bin/python -c 'from scripts.host.ports import free_ports; print(free_ports(2))')
sed -i "s/^API_PORT=.*/API_PORT=$port/; s/^DASHBOARD_PORT=.*/DASHBOARD_PORT=$((port + 1))/" .env
git add --all
git commit --quiet --message="mine"
make up
curl -sS --fail -X PUT "http://127.0.0.1:$port/organs/mine/items/kept" -H 'Content-Type: application/json' -d '{"value": 1}'
make down
tree_of_mine() { git ls-tree -r HEAD app compose.override.yaml README.md; }
before=$(tree_of_mine)

say "copier update"
"${copier[@]}" update --quiet --defaults --vcs-ref=v9999
if git grep -n -e '^<<<<<<< ' -e '^>>>>>>> '; then
    echo "copier update left conflicts, see above" >&2
    exit 1
fi
git add --all
git commit --quiet --allow-empty --message="updated"
diff <(tree_of_mine) <(echo "$before")
grep -q '^MY_GREETING=hello from .env$' .env
grep -q "^API_PORT=$port$" .env

say "what came of it"
make up
make verify
make test ARGS=app
curl -sS --fail "http://127.0.0.1:$port/organs/mine/items/kept" | grep '"value":1'
curl -sS --fail "http://127.0.0.1:$port/mine" | grep "hello from .env"
make ps | grep mine
make logs S=mine FOLLOW=0
