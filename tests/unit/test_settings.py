import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from scripts.host.settings import HostSettings, docker_size_bytes, load_host_settings
from seedcore.ray_environment import export_ray_environment, ray_environment
from seedcore.settings import (
    MIN_OBJECT_STORE_BYTES,
    PROJECT_ROOT,
    LogLevel,
    Settings,
    SettingsError,
    load_settings,
)
from tests.unit.conftest import SetKnobs

# Knobs whose value can be any text.
FREE_TEXT = {
    "BASE_IMAGE",
    "SEEDCORE_IMAGE",
    "EXTRA_CA_CERTS",
    "API_ALLOWED_HOSTS",
    "MEMORY_PASSWORD",
    "MEMORY_PASSWORD_FILE",
    "MEMORY_TLS_CA_FILE",
    "MEMORY_TLS_CERT_FILE",
    "MEMORY_TLS_KEY_FILE",
    "STATE_DIR",
    "RAY_AUTH_TOKEN_PATH",
}
OTHER_KNOBS = sorted({name.upper() for name in HostSettings.model_fields} - FREE_TEXT)
NONSENSE = "?! nonsense"
ACTOR_NAMES = ("MW_ACTOR_NAME", "MISS_TRACKER_ACTOR_NAME", "SHARED_CACHE_ACTOR_NAME")


def refusal() -> str:
    with pytest.raises(SettingsError) as refused:
        load_host_settings()
    return str(refused.value)


@pytest.mark.parametrize("knob", OTHER_KNOBS)
def test_nonsense_is_refused_with_knob_value_and_meaning(knobs: SetKnobs, knob: str) -> None:
    knobs(**{knob: NONSENSE})
    meaning = HostSettings.model_fields[knob.lower()].description
    assert meaning
    line = refusal().splitlines()[1]
    assert line.startswith(f"  {knob}={NONSENSE!r}: ")
    assert line.endswith(f" ({meaning})")


@pytest.mark.parametrize(
    ("knob", "value", "allowed"),
    [
        ("LOOKUP_RETRIES", "0", "greater than or equal to 1"),
        ("LOOKUP_RETRIES", "1.5", "valid integer"),
        ("LOOKUP_BACKOFF_S", "-1", "greater than or equal to 0"),
        ("LOOKUP_BACKOFF_S", "nan", "less than or equal to 60"),
        ("CALL_DEADLINE_S", "0", "greater than 0"),
        ("CALL_DEADLINE_S", "inf", "less than or equal to 3600"),
        ("API_PORT", "1023", "greater than or equal to 1024"),
        ("API_PORT", "65536", "less than or equal to 65535"),
        ("API_PORT", "", "valid integer"),
        ("OBJECT_STORE_BYTES", "1000", str(MIN_OBJECT_STORE_BYTES)),
        ("RUNTIME", "podman", "'auto', 'docker' or 'local'"),
        ("RAY_AUTH_MODE", "none", "'token' or 'disabled'"),
        ("LOG_LEVEL", "LOUD", "must be 'DEBUG', 'INFO', 'WARNING' or 'ERROR'"),
        ("LOG_FORMAT", "xml", "'text' or 'json'"),
        ("SQLITE_SYNCHRONOUS", "OFF", "'NORMAL' or 'FULL'"),
        ("RAY_NAMESPACE", "", "at least 1 character"),
        ("RAY_NAMESPACE", "../up", "must have letters, digits, ., - and _"),
        ("RAY_NAMESPACE", "n" * 101, "at most 100 characters"),
        ("RAY_ADDRESS", "ray://ray-head:10001", "must be HOST:PORT"),
        ("RAY_ADDRESS", "ray-head", "must be HOST:PORT"),
        ("SHM_SIZE", "320", "a number above 0 and b, k, m or g, such as 1100m"),
        ("SHM_SIZE", "0m", "a number above 0 and b, k, m or g"),
        ("HEAD_MEMORY", "2G", "a number above 0 and b, k, m or g"),
        ("COMPOSE_PROJECT_NAME", "Mine", "must have small letters"),
        ("RAY_TEMP_DIR", "here", "must begin with / or ~"),
        ("APT_PACKAGES", "git\n", "with a space between two"),
        ("AUTO_CREATE", "2", "boolean"),
        ("BASE_IMAGE", "", "at least 1 character"),
        ("API_ALLOWED_HOSTS", "", "at least 1 character"),
        ("API_ALLOWED_HOSTS", "dev.local:8000,*", "'*' is no host"),
        ("API_ALLOWED_HOSTS", "*.dev.local", "'*.dev.local' is no host"),
        ("API_ALLOWED_HOSTS", "http://dev.local", "'http://dev.local' is no host"),
        ("API_ALLOWED_HOSTS", "dev.local/", "'dev.local/' is no host"),
        ("API_ALLOWED_HOSTS", "localhost, ::1", "'::1' is no host"),
        ("API_ALLOWED_HOSTS", "dev local", "'dev local' is no host"),
        ("VALUE_MAX_BYTES", "1000000000000", "less than or equal to"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_with_what_is(
    knobs: SetKnobs, knob: str, value: str, allowed: str
) -> None:
    knobs(**{knob: value})
    line = refusal().splitlines()[1]
    assert line.startswith(f"  {knob}={value!r}: ")
    assert allowed in line
    assert not re.search(r"should|pattern|Value error", line)


@pytest.mark.parametrize("level", ["warn", "Warning", "WARN", "WARNING"])
def test_a_log_level_may_be_written_as_people_do(knobs: SetKnobs, level: str) -> None:
    knobs(LOG_LEVEL=level)
    assert load_host_settings().log_level is LogLevel.WARNING


def test_the_address_auto_is_the_stacks_own_head(knobs: SetKnobs) -> None:
    knobs(RAY_ADDRESS="auto")
    assert load_host_settings().ray_address == "127.0.0.1:6379"


def test_all_bad_values_are_named_at_once(knobs: SetKnobs) -> None:
    knobs(API_PORT="low", RUNTIME="podman", LOG_LEVEL="LOUD")
    lines = refusal().splitlines()
    assert ".env" in lines[0]
    assert [line.split("=")[0].strip() for line in lines[1:]] == ["API_PORT", "LOG_LEVEL", "RUNTIME"]


@pytest.mark.parametrize(
    "pair", [ACTOR_NAMES[:2], ACTOR_NAMES[1:], (ACTOR_NAMES[0], ACTOR_NAMES[2]), ACTOR_NAMES], ids="-".join
)
def test_equal_actor_names_are_refused_by_name(knobs: SetKnobs, pair: tuple[str, ...]) -> None:
    knobs(**dict.fromkeys(pair, "the-same"))
    message = refusal()
    assert all(name in message for name in ACTOR_NAMES)
    assert message.count("the-same") == len(pair)


@pytest.mark.parametrize(
    ("shm_size", "allowed"),
    [
        ("79m", False),
        ("80m", False),
        (f"{80 * 2**20}b", False),
        (f"{80 * 2**20 + 1}b", True),
        ("81m", True),
        ("1g", True),
    ],
)
def test_shared_memory_must_be_above_the_object_store(knobs: SetKnobs, shm_size: str, allowed: bool) -> None:
    knobs(OBJECT_STORE_BYTES=str(80 * 2**20), SHM_SIZE=shm_size)
    if allowed:
        assert load_host_settings().shm_size == shm_size
    else:
        message = refusal()
        assert f"SHM_SIZE='{shm_size}'" in message
        assert f"OBJECT_STORE_BYTES={80 * 2**20}" in message


def test_a_process_does_not_mind_what_the_host_alone_reads(knobs: SetKnobs) -> None:
    knobs(SHM_SIZE="none", RUNTIME="podman")
    assert load_settings() == Settings()
    with pytest.raises(SettingsError, match="RUNTIME"):
        load_host_settings()


@pytest.mark.parametrize(
    ("size", "size_in_bytes"), [("1b", 1), ("2k", 2048), ("3m", 3 * 1024**2), ("4g", 4 * 1024**3), ("320m", 335544320)]
)
def test_sizes_are_counted_as_docker_counts_them(size: str, size_in_bytes: int) -> None:
    assert docker_size_bytes(size) == size_in_bytes


def test_environment_wins_over_env_file_and_that_over_the_default(knobs: SetKnobs, tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("API_PORT=9001\nDASHBOARD_PORT=9002\nNO_KNOB_OF_OURS=1\n")
    knobs(DASHBOARD_PORT="9003")
    settings = Settings(_env_file=env_file)
    default = Settings.model_fields["ray_client_port"].default
    assert (settings.api_port, settings.dashboard_port, settings.ray_client_port) == (9001, 9003, default)


@pytest.mark.usefixtures("knobs")
def test_the_env_file_beside_the_code_is_read_from_any_folder(tmp_path: Path) -> None:
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    (project / "seedcore").mkdir(parents=True)
    elsewhere.mkdir()
    for name in ("__init__.py", "code_version.py", "memory_url.py", "settings.py"):
        shutil.copy(PROJECT_ROOT / "seedcore" / name, project / "seedcore")
    (project / ".env").write_text("RAY_NAMESPACE=of-the-project\nSTATE_DIR=here/state\n")
    (elsewhere / ".env").write_text("RAY_NAMESPACE=of-elsewhere\n")
    code = "from seedcore.settings import load_settings as load; print(load().ray_namespace, load().state_dir)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(project)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["of-the-project", str(project / "here/state")]


@pytest.mark.parametrize("knob", ["STATE_DIR", "RAY_AUTH_TOKEN_PATH"])
def test_a_path_is_seen_from_the_project_folder_unless_absolute(knobs: SetKnobs, knob: str) -> None:
    knobs(**{knob: "some/where"})
    assert getattr(load_settings(), knob.lower()) == PROJECT_ROOT / "some/where"
    knobs(**{knob: "/some/where"})
    assert getattr(load_settings(), knob.lower()) == Path("/some/where")


def test_allowed_hosts_are_a_list(knobs: SetKnobs) -> None:
    knobs(API_ALLOWED_HOSTS=" one.example,two.example ,, three.example,")
    assert load_settings().allowed_hosts == ["one.example", "two.example", "three.example"]


def test_settings_are_read_once_and_cannot_be_changed(knobs: SetKnobs) -> None:
    knobs(API_PORT="9001")
    settings = load_settings()
    os.environ["API_PORT"] = "9002"
    assert load_settings() is settings
    with pytest.raises(ValueError, match="frozen"):
        settings.api_port = 9003  # type: ignore[misc]
    assert load_settings().api_port == 9001


# What Ray is told


def test_ray_is_told_where_the_token_is(knobs: SetKnobs) -> None:
    knobs(
        RAY_AUTH_TOKEN_PATH="secret/token",  # noqa: S106 - a path
        GCS_RECONNECT_TIMEOUT_S="77",
    )
    environment = ray_environment(load_settings())
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_AUTH_TOKEN_PATH"] == str(PROJECT_ROOT / "secret/token")
    assert environment["RAY_gcs_rpc_server_reconnect_timeout_s"] == "77"


def test_without_authentication_ray_is_told_of_no_token(knobs: SetKnobs) -> None:
    knobs(RAY_AUTH_MODE="disabled")
    environment = ray_environment(load_settings())
    assert environment["RAY_AUTH_MODE"] == "disabled"
    assert "RAY_AUTH_TOKEN_PATH" not in environment


@pytest.mark.parametrize("mode", ["token", "disabled"])
def test_ray_tells_nobody_of_its_use(knobs: SetKnobs, mode: str) -> None:
    knobs(RAY_AUTH_MODE=mode)
    with patch.dict(os.environ):
        export_ray_environment(load_settings())
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        assert os.environ["RAY_AUTH_MODE"] == mode


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("RAY_ADDRESS", "127.0.0.1:65536"),
        ("RAY_ADDRESS", "127.0.0.1:0"),
        ("API_ALLOWED_HOSTS", " , "),
        ("STATE_DIR", ""),
        ("RAY_AUTH_TOKEN_PATH", "~nobody-of-this-name/token"),
    ],
)
def test_a_value_that_could_not_work_is_refused(knobs: SetKnobs, knob: str, value: str) -> None:
    knobs(**{knob: value})
    with pytest.raises(SettingsError, match=knob):
        load_settings()


def test_a_path_may_begin_at_home(knobs: SetKnobs) -> None:
    knobs(STATE_DIR="~/state")
    assert load_settings().state_dir == Path.home() / "state"
