"""What a user types, on the real stack of one runtime: see `--runtime`."""

import json
import os
import re
import socket
import tarfile
from contextlib import closing
from functools import partial
from http.client import HTTPConnection

import httpx
import pytest

from tests.stack.project import Project
from tests.waiting import wait_until

STATUS_LINES = [
    "📊 Singleton Actors Status:",
    "🎭 MissTracker: ✅ Running",
    "🎭 SharedCache: ✅ Running",
    "🎭 MwStore: ✅ Running",
]


def test_up_again_changes_nothing_and_prints_the_urls(stack: Project) -> None:
    before = stack.actors()
    output = stack.make("up")
    assert f"runtime: {stack.runtime}" in output
    assert "RAY_NAMESPACE from your shell was not used" in output
    assert f"http://127.0.0.1:{stack.api_port}/docs" in output
    assert f"http://127.0.0.1:{stack.dashboard_port}" in output
    assert "Next: " in output
    assert stack.actors() == before


def test_the_api_keeps_an_idle_connection_longer_than_its_clients_do(stack: Project) -> None:
    client_closes_after_s = httpx.Limits().keepalive_expiry
    assert client_closes_after_s
    with closing(HTTPConnection("127.0.0.1", stack.api_port)) as connection:
        connection.request("GET", "/readyz")
        assert connection.getresponse().read()
        connection.sock.settimeout(1.2 * client_closes_after_s)
        with pytest.raises(TimeoutError):  # at once and b"", if the API closed it
            connection.sock.recv(1)


def test_verify_holds(stack: Project) -> None:
    output = stack.make("verify")
    assert "❌" not in output
    assert len(re.findall("^✅", output, re.MULTILINE)) == 11
    assert "Ray Client lists the actors" in output


def test_doctor_finds_what_is_wrong_inside(stack: Project) -> None:
    lock, token = stack.folder / "requirements.lock", stack.folder / ".secrets/ray_auth_token"
    good, written, right = lock.read_text(), lock.stat(), token.read_text()
    lock.write_text(re.sub(r"(?m)^tenacity==\S+", "tenacity==0.0.1", good))
    token.write_text("another")
    failures = stack.doctor(API_PORT="8200")  # which it looks for where the stack has it
    token.write_text(right)
    lock.write_text(good)
    os.utime(lock, ns=(written.st_atime_ns, written.st_mtime_ns))  # else make installs everything anew
    said = failures["the services run with the settings of .env"]
    assert "older settings in " in said
    assert "seedcore-api" in said
    assert f"API_PORT was {stack.api_port} and is now 8200. `make up` applies it." in said
    said = failures["the services have the packages of the lock file"]
    assert "tenacity " in said
    assert "instead of 0.0.1" in said
    assert "the head does not accept it" in failures["the cluster"]
    assert "`make rotate-token`" in failures["the cluster"]
    assert len(failures) == 3


def test_a_support_bundle_has_what_helps_and_no_secret(stack: Project) -> None:
    output = stack.make("support-bundle")
    (name,) = re.findall(r"are in (\S+\.tar\.gz)", output)
    with tarfile.open(stack.folder / name) as bundle:
        files = {entry.name.partition("/")[2]: bundle.extractfile(entry) for entry in bundle}
        content = {name: file.read() for name, file in files.items() if file}
    token = stack.token.encode()
    assert [name for name, text in content.items() if token in text] == []
    assert b"RAY_NAMESPACE=seedcore-dev" in content["settings.txt"]
    assert b"ray " in content["versions.txt"]
    assert b"Bootstrapped actors" in content["logs/bootstrap.log"]
    assert b"seedcore-api" in content["ps.txt"]
    assert b'"holds": true' in content["doctor.jsonl"]
    assert any(re.fullmatch(r"ray/[a-z-]+/raylet.*", name) for name in content)


def test_monitor_prints_the_lines_that_people_grep_for(stack: Project) -> None:
    lines = stack.make("monitor").splitlines()
    start = lines.index(STATUS_LINES[0])
    assert lines[start : start + 4] == STATUS_LINES


def test_monitor_as_json(stack: Project) -> None:
    output = stack.make("monitor", "ARGS=--json")
    answer = json.loads(next(line for line in output.splitlines() if line.startswith("{")))
    assert answer["namespace"] == "seedcore-dev"
    assert {actor["name"]: actor["running"] for actor in answer["actors"]} == {
        "miss_tracker": True,
        "shared_cache": True,
        "mw": True,
    }


def test_monitor_with_an_option_that_there_is_not(stack: Project) -> None:
    done = stack.run("make", "monitor", "ARGS=--nonsense")
    assert done.returncode
    assert "unrecognized arguments: --nonsense" in done.stdout
    assert "Next:" not in done.stdout


def test_bootstrap_again_reuses_every_actor(stack: Project) -> None:
    before = stack.actors()
    output = stack.make("bootstrap")
    assert "Bootstrapped actors" in output
    assert "miss_tracker=reused, shared_cache=reused, mw=reused" in output
    assert stack.actors() == before


def test_ps_and_logs_name_every_service(stack: Project) -> None:
    services = stack.make("ps", "API_PORT=8200")
    assert f"API_PORT=8200 is not what the stack was started with ({stack.api_port})" in services
    for service in ("ray-head", "ray-worker", "seedcore-api"):
        assert service in services
    assert "What to do" not in services
    said = stack.make("logs", "S=bootstrap", "FOLLOW=0")
    assert "Bootstrapped actors" in said
    assert "\x1b" not in said  # for a file or a pipe
    stack.put("quiet", "item", 1)
    assert stack.get("quiet", "item") == 1
    said = stack.make("logs", "S=seedcore-api", "FOLLOW=0")
    assert "/organs/quiet" not in said  # what works is no line
    # The health check asks all the time; its lines would drown all others.
    assert "GET /readyz" not in said


def test_restart_picks_up_code_and_keeps_items_and_actors(stack: Project) -> None:
    stack.put("restart", "item", {"kept": True})
    before = stack.actors()
    _change(stack, '"alive"', '"alive and restarted"')
    stack.make("restart", API_PORT="8200")  # it runs elsewhere
    assert stack.api.get("/healthz").json() == {"status": "alive and restarted"}
    assert stack.get("restart", "item") == {"kept": True}
    assert stack.actors() == before
    said = stack.make("logs", "S=seedcore-api", "FOLLOW=0")
    assert "Finished server process" in said
    assert "SIGTERM received" not in said  # with a stack trace, as if it had crashed


def test_a_saved_file_is_live_without_a_restart(stack: Project) -> None:
    models = stack.folder / "seedcore/api/models.py"
    for status in ("saved", "savor", "savvy"):  # as long as each other, and soon after each other
        models.write_text(re.sub('status: str = ".*"', f'status: str = "{status}"', models.read_text()))
        shown = {"status": status}
        wait_until(partial(lambda shown: stack.api.get("/healthz").json() == shown, shown), timeout_s=30)
    stack.wait_until_ready()


def test_the_api_answers_only_to_its_own_host_names(stack: Project) -> None:
    answer = stack.api.get("/healthz", headers={"Host": "rebound.example"})
    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_dashboard_asks_for_the_token(stack: Project) -> None:
    url = f"http://127.0.0.1:{stack.dashboard_port}/api/version"
    assert httpx.get(url).status_code == 401
    token = stack.make("token").splitlines()[0]
    assert token == stack.token
    assert httpx.get(url, headers={"Authorization": f"Bearer {token}"}).json()["ray_version"]


ROUTES = '''"""Mine."""

import os

import ray
from fastapi import APIRouter, Depends, HTTPException

from seedcore import get_singleton


def login(token: str = "") -> None:
    if token != os.environ["MY_TOKEN"]:
        raise HTTPException(403)


router = APIRouter(prefix="/mine", dependencies=[Depends(login)])


@router.post("/count")
def count() -> int:
    return int(ray.get(get_singleton("counter").add.remote()))
'''


def test_a_broken_application_takes_nothing_down(stack: Project) -> None:
    stack.put("broken", "item", "kept")
    routes = stack.folder / "app/routes.py"
    routes.write_text(ROUTES.replace("/mine", "/organs/{organ_id}/items/{id}").replace("/count", ""))
    refused = stack.run("make", "restart")
    assert refused.returncode != 0
    assert "app/routes.py declares paths that the API has: /organs/{organ_id}/items/{id}" in refused.stdout
    routes.write_text("import nothing\n")
    token = stack.token
    for verb in ("restart", "reload-actors", "monitor", "debug", "rotate-token"):
        refused = stack.run("make", verb)
        assert refused.returncode != 0
        assert "No module named 'nothing' (app/routes.py, line 1)" in refused.stdout
        assert "Traceback" not in refused.stdout
    failures = stack.doctor()
    assert list(failures) == ["the code on the disk"], failures
    assert stack.token == token
    assert stack.get("broken", "item") == "kept"


def test_a_start_that_is_refused_takes_nothing_down(stack: Project) -> None:
    before = stack.actors()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = stack.run("make", "up", API_PORT=str(port))
    assert refused.returncode != 0
    assert f"port {port} (API_PORT) is taken" in refused.stdout
    assert stack.actors() == before


def test_clean_asks_first(stack: Project) -> None:
    stack.put("clean", "item", 1)
    refused = stack.run("make", "clean")
    assert refused.returncode != 0
    assert "YES=1" in refused.stdout
    assert stack.get("clean", "item") == 1


def test_backup_and_restore(stack: Project) -> None:
    stack.put("backup", "item", {"from": "the backup"})
    copy = stack.folder / "My $(touch Backups)"
    stack.make("backup", f"FILE={copy}/copy 1.tar".replace("$", "$$"))  # a dollar is make's
    assert list(stack.folder.glob("Backups")) == []
    (copy / "copy 1.tar").rename(stack.folder / "copy.tar")
    stack.put("backup", "item", "newer")
    stack.put("backup", "later", 1)

    before = stack.actors()
    unconfirmed = stack.run("make", "restore", "FILE=copy.tar")
    (stack.folder / "half.tar").write_bytes((stack.folder / "copy.tar").read_bytes()[:5000])
    half = stack.run("make", "restore", "FILE=half.tar", "YES=1")
    missing = stack.run("make", "restore", "FILE=nothing.tar", "YES=1")
    for refused, why in ((unconfirmed, "nobody to ask"), (half, "this is no backup"), (missing, "there is no file")):
        assert refused.returncode != 0
        assert why in refused.stdout
        assert "Traceback" not in refused.stdout
    assert "No item was changed." in half.stdout
    assert stack.get("backup", "item") == "newer"
    assert stack.actors() == before  # the application's as well

    stack.make("restore", "FILE=copy.tar", "YES=1")
    assert stack.get("backup", "item") == {"from": "the backup"}
    assert stack.api.get("/organs/backup/items/later").status_code == 404
    stack.put("backup", "item", "after")
    assert stack.get("backup", "item") == "after"


def _change(stack: Project, old: str, new: str) -> None:
    models = stack.folder / "seedcore/api/models.py"
    text = models.read_text()
    assert old in text
    models.write_text(text.replace(old, new))
