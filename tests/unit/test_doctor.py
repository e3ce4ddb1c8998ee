"""What `make doctor` says of this machine and of a checkout, each trouble caused."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.checks import CheckError
from scripts.doctor_of_cluster import look_at_state
from scripts.host import doctor_of_machine, local_runtime
from scripts.host.doctor import bootstrap_run
from scripts.host.ports import free_ports
from scripts.host.settings import HostSettings
from seedcore.settings import PROJECT_ROOT, LogLevel, Synchronous
from seedcore.store.sqlite.item_store import ItemStore

DEADLINE_S = 60
PORTS = ("API_PORT", "DASHBOARD_PORT", "RAY_CLIENT_PORT", "RAY_AGENT_PORT")
NAMES = ("Makefile", ".env", "requirements.lock", "supervisord.conf", "compose.yaml", "seedcore", "scripts", "images")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in NAMES:
        source = PROJECT_ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "bench", "*.crt"))
        else:
            shutil.copy(source, tmp_path / name)
    subprocess.run(["chmod", "-R", "a+rX", "."], cwd=tmp_path, check=True)  # whatever the umask is
    return tmp_path


def doctor(checkout: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    first = free_ports(len(PORTS) + 2)  # a stack may run beside the tests
    ports = {name: f"{port}" for port, name in enumerate(PORTS, first + 1)}  # and the worker's after the last
    ports["RAY_ADDRESS"] = f"127.0.0.1:{first}"
    knobs = {"RUNTIME": "local", "COMPOSE_PROJECT_NAME": "doctor-test", **ports}
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.host.stack", "doctor", *arguments],
        cwd=checkout,
        env={**kept, "SSL_CERT_FILE": "", **knobs, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert "Traceback" not in done.stdout
    return done.returncode, done.stdout


def found(checkout: Path, **environment: str) -> dict[str, str]:
    """What is wrong, by the title of the check."""
    code, output = doctor(checkout, "--json", **environment)
    results: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines()]
    assert len(results) > 8
    wrong = {result["title"]: str(result["detail"]) for result in results if result["holds"] is False}
    assert code == (1 if wrong else 0)
    return wrong


def test_a_good_checkout_has_nothing_wrong(checkout: Path) -> None:
    code, output = doctor(checkout)
    assert code == 0, output
    assert "✅ .env has every knob, and none misspelt: " in output
    assert "➖ Docker: RUNTIME=local" in output
    assert "❌" not in output


def test_a_misspelt_knob(checkout: Path) -> None:
    text = (checkout / ".env").read_text()
    (checkout / ".env").write_text(text.replace("\nRAY_NAMESPACE=", "\nRAY_NAMESAPCE="))
    (title, said), *others = found(checkout).items()
    assert (title, others) == (".env has every knob, and none misspelt", [])
    assert said == "RAY_NAMESPACE is missing in .env: is RAY_NAMESAPCE misspelt?"


def test_a_value_that_docker_would_cut(checkout: Path) -> None:
    good = "A='s3cr$et'\nB=${RAY_NAMESPACE}\nC=5$\nD=a # $et\nE=a\\$et\n"
    (checkout / ".env.local").write_text(f'{good}MY_SECRET=s3cr$et\nexport OTHER="a $b"\n')
    (said,) = found(checkout).values()
    assert said.count("has a $") == 2
    assert "MY_SECRET in .env.local has a $ that Docker takes" in said
    assert "MY_SECRET='...'" in said
    assert "OTHER in .env.local has a $" in said
    assert "s3cr" not in said


def test_a_knob_that_is_missing_is_added_and_nothing_of_the_users_is_lost(checkout: Path) -> None:
    text = (checkout / ".env").read_text()
    (checkout / ".env").write_text(text.replace("\nRAY_NAMESPACE=seedcore-dev", "").replace("\nAPI_RELOAD=1", ""))
    (said,) = found(checkout).values()
    assert "RAY_NAMESPACE is missing in .env. Add the line `RAY_NAMESPACE=seedcore-dev` (its default)." in said
    assert "Add the line `API_RELOAD=1`" in said
    assert "git" not in said


def test_a_variable_that_is_meant_for_a_knob(checkout: Path) -> None:
    with (checkout / ".env").open("a") as file:
        file.write("CALL_DEADLINE=7\nMY_TOKEN=secret\n")
    assert list(found(checkout).values()) == ["CALL_DEADLINE is no knob: is CALL_DEADLINE_S meant?"]


def test_a_knob_of_a_specialist_may_be_there_and_need_not(checkout: Path) -> None:
    with (checkout / ".env").open("a") as file:
        file.write("CALL_DEADLINE_S=7\n")
    assert found(checkout) == {}


def test_the_files_of_compose_are_no_misspelt_profiles(checkout: Path) -> None:
    with (checkout / ".env.local").open("a") as file:
        file.write("COMPOSE_FILE=compose.yaml:images/gpu.yaml\n")
    assert found(checkout) == {}


def test_a_lock_of_emacs_is_no_file(checkout: Path) -> None:
    (checkout / "seedcore/.#settings.py").symlink_to("somebody@somewhere.1234")
    assert found(checkout) == {}


def test_requirements_that_are_not_locked(checkout: Path) -> None:
    requirements, lock = checkout / "app/requirements.txt", checkout / "app/requirements.lock"
    requirements.parent.mkdir()
    requirements.write_text("humanize\n")
    for locked in (None, "humanize==4.0\n"):
        if locked:
            lock.write_text(locked)
        ((title, said),) = found(checkout).items()
        assert title == "app/requirements.txt is locked"
        assert "`make lock`, then `make up`" in said
    done = subprocess.run(["sha256sum"], stdin=requirements.open(), capture_output=True, text=True, check=True)
    lock.write_text(f"humanize==4.0\n# of app/requirements.txt {done.stdout}")
    assert found(checkout) == {}


def test_windows_line_endings(checkout: Path) -> None:
    script = checkout / "images/entrypoint.sh"
    script.write_bytes(script.read_bytes().replace(b"\n", b"\r\n"))
    ((title, said),) = found(checkout).items()
    assert title == "scripts have Unix line endings"
    assert "bash does not take, in: images/entrypoint.sh. `sed -i 's/\\r$//' images/entrypoint.sh`" in said
    subprocess.run(["bash", "-c", said.split("`")[1]], cwd=checkout, check=True)
    assert found(checkout) == {}


def test_files_that_the_containers_cannot_read(checkout: Path) -> None:
    (checkout / "seedcore/errors.py").chmod(0o600)
    ((title, said),) = found(checkout).items()
    assert title == "files are readable for the containers"
    assert "seedcore/errors.py" in said
    assert "`chmod -R a+rX app seedcore scripts images`" in said


@pytest.mark.parametrize(("content", "mode", "words"), [("", 0o700, "is empty"), ("token", 0o755, "chmod 700")])
def test_a_token_that_is_none_or_that_others_can_read(checkout: Path, content: str, mode: int, words: str) -> None:
    (checkout / ".secrets").mkdir()
    (checkout / ".secrets").chmod(mode)
    (checkout / ".secrets/ray_auth_token").write_text(content)
    (checkout / ".secrets/ray_auth_token").chmod(0o644)
    ((title, said),) = found(checkout).items()
    assert title == "Ray's token"
    assert words in said


def test_authentication_that_is_off(checkout: Path) -> None:
    ((title, said),) = found(checkout, RAY_AUTH_MODE="disabled").items()
    assert title == "Ray's token"
    assert "RAY_AUTH_MODE=disabled: whoever reaches Ray can run code" in said


def test_a_taken_port(checkout: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ((title, said),) = found(checkout, API_PORT=f"{port}").items()
    assert title == "ports"
    assert f"port {port} (API_PORT) is taken by process {os.getpid()}" in said


@pytest.mark.parametrize(("content", "words"), [(None, "cannot read EXTRA_CA_CERTS="), ("no", "no PEM certificate")])
def test_certificate_authorities_that_are_none(checkout: Path, content: str | None, words: str) -> None:
    file = checkout / "ca.pem"
    if content is not None:
        file.write_text(content)
    ((title, said),) = found(checkout, EXTRA_CA_CERTS=f"{file}").items()
    assert title == "certificate authorities"
    assert words in said


def test_a_proxy_for_everything(checkout: Path) -> None:
    environment = {"http_proxy": "http://proxy.example:3128"}
    assert found(checkout, **environment) == {}
    _, output = doctor(checkout, **environment)
    assert "✅ proxy: your shell has one for http; `export NO_PROXY=localhost,127.0.0.1` lets your own curl" in output


def test_docker_that_is_wanted_and_does_not_answer(checkout: Path) -> None:
    said = found(checkout, RUNTIME="docker", DOCKER_HOST=f"unix://{checkout}/none.sock")["Docker"]
    assert "Docker" in said
    assert "RUNTIME=local" not in said


def test_docker_that_does_not_answer_and_has_the_items(checkout: Path) -> None:
    gone = {"RUNTIME": "auto", "DOCKER_HOST": f"unix://{checkout}/none.sock"}
    assert "Docker" not in found(checkout, **gone)
    (checkout / ".local").mkdir()
    (checkout / ".local/started.doctor-test.json").write_text('{"runtime": "docker"}')
    said = found(checkout, **gone)["Docker"]
    assert "Your items are there: the stack was last started on Docker." in said
    assert "RUNTIME=local" not in said


def test_a_knob_with_a_value_that_is_not_allowed_is_named(checkout: Path) -> None:
    code, output = doctor(checkout, API_PORT="80")
    assert code == 2
    assert output == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_files_that_another_user_made(checkout: Path) -> None:
    (checkout / ".local").mkdir()
    os.chown(checkout / ".local", 4321, 4321)
    ((title, said),) = found(checkout).items()
    assert title == "files are yours"
    assert ".local belong to user 4321, you are user 0. `sudo chown -R 0:0 .local`" in said


@pytest.mark.parametrize(
    ("limit", "check", "words"),
    [
        ("MIN_CPUS", "machine", "the stack needs 1152921504606846976 CPUs"),
        ("MIN_MEMORY_BYTES", "machine", "the stack needs 1073741824.0 GiB. Stop something"),
        ("MIN_DISK_BYTES", "disk", "1073741824.0 GiB are needed. `docker system df`"),
    ],
)
def test_a_machine_that_is_too_small(monkeypatch: pytest.MonkeyPatch, limit: str, check: str, words: str) -> None:
    monkeypatch.setattr(doctor_of_machine, limit, 2**60)  # more than any machine has
    checks = doctor_of_machine.DoctorOfMachine(HostSettings(), None, is_up=False)
    with pytest.raises(CheckError) as found:
        getattr(checks, check)()
    assert words in str(found.value)


@pytest.mark.parametrize(
    ("level", "log", "said"),
    [
        (
            LogLevel.INFO,
            "... Bootstrapped actors in namespace=x: mw=reused\n",
            "Bootstrapped actors in namespace=x: mw=",
        ),
        (LogLevel.WARNING, "", "it ended well"),
        (LogLevel.INFO, "", None),
    ],
)
def test_bootstrap_that_says_nothing_by_its_log_level_ended_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: LogLevel, log: str, said: str | None
) -> None:
    monkeypatch.setattr(local_runtime, "LOCAL_DIR", tmp_path)
    settings = HostSettings(log_level=level, compose_project_name="stack")
    (tmp_path / "log/stack").mkdir(parents=True)
    (tmp_path / "log/stack/bootstrap.log").write_text(log)
    runtime = local_runtime.LocalRuntime(settings)
    if said is None:
        with pytest.raises(CheckError, match="it never came to its end"):
            bootstrap_run(settings, [], runtime)
    else:
        assert bootstrap_run(settings, [], runtime).startswith(said)


def test_a_damaged_store_and_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "seedcore-dev/mw.sqlite3"
    store.parent.mkdir()
    ItemStore(store, Synchronous.NORMAL).database.close()
    assert look_at_state(tmp_path).damaged == []
    with store.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    (problem,) = look_at_state(tmp_path).damaged
    assert problem.startswith(f"{store}: ")
    monkeypatch.setattr(os, "access", lambda path, mode: path != store.parent)  # root may write everywhere
    assert look_at_state(tmp_path).not_writable == [str(store.parent)]
