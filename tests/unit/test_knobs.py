"""Settings, compose.yaml and the other files that name knobs say the same."""

import os
import re
from typing import Any, NamedTuple

import pytest

from scripts.host.docker_engine import DEFAULT_BASE_IMAGE
from scripts.host.settings import (
    MAX_WORKERS,
    OBSERVABILITY,
    VALKEY,
    HostSettings,
    as_text,
    knobs_in_env_file,
    load_host_settings,
    process_environment,
    set_knobs,
)
from seedcore.settings import PROJECT_ROOT, Settings
from tests.unit.conftest import SetKnobs

COMPOSE = (PROJECT_ROOT / "compose.yaml").read_text()
ENTRYPOINT = (PROJECT_ROOT / "images/entrypoint.sh").read_text()
PROMETHEUS_CONFIG = (PROJECT_ROOT / "images/prometheus/prometheus.yml").read_text()
RAY_ENV = (PROJECT_ROOT / "images/ray.env").read_text()
DOCKERFILE = (PROJECT_ROOT / "images/Dockerfile").read_text()
SUPERVISORD = (PROJECT_ROOT / "supervisord.conf").read_text()

# Knobs that containers do get, but never from .env: there is one right value inside of them.
FIXED_IN_CONTAINERS = {
    "RUNTIME",  # images/entrypoint.sh reads it, no Python does
    "RAY_CLIENT_PORT",
    "RAY_AGENT_PORT",
    "RAY_ADDRESS",
    "RAY_AUTH_TOKEN_PATH",
    "STATE_DIR",
}
DEFAULT_OF_COMPOSE = {"RAY_TEMP_DIR": "ray", "SEEDCORE_IMAGE": "${COMPOSE_PROJECT_NAME"}  # a volume; a name in a name
REQUIRED = re.compile(r"\$\{(\w+):?\?set it in \.env\}")
WITH_DEFAULT = re.compile(r"\$\{(\w+):-([^}]*)\}")


class Knob(NamedTuple):
    default: str
    meaning: str


def knobs_of(kind: type[Settings]) -> dict[str, Knob]:
    return {
        name.upper(): Knob(as_text(field.default), field.description or "") for name, field in kind.model_fields.items()
    }


def all_knobs() -> dict[str, Knob]:
    return knobs_of(HostSettings)


def of_a_person() -> dict[str, Knob]:
    return {name: knob for name, knob in all_knobs().items() if name in knobs_in_env_file()}


def of_a_specialist() -> dict[str, Knob]:
    return {name: knob for name, knob in all_knobs().items() if name not in knobs_in_env_file()}


def container_environment() -> dict[str, str]:
    """What compose.yaml sets in every container, as it is written there; nothing is what your shell or .env has."""
    block = re.search(r"^x-knobs: &knobs\n((?:  .*\n)+)", COMPOSE, re.MULTILINE)
    assert block
    lines = [line.partition(" #")[0].strip() for line in block[1].splitlines()]
    pairs = [line.partition(":") for line in lines if line and not line.startswith("#")]
    environment = {name: value.strip(' "') for name, _, value in pairs}
    assert len(environment) == len(pairs)
    return environment


def compose_without_comments() -> str:
    return re.sub(r"(?m)(^|\s)#.*$", "", COMPOSE)


@pytest.mark.parametrize("knob", all_knobs())
def test_a_knob_has_a_meaning_of_one_line(knob: str) -> None:
    meaning = all_knobs()[knob].meaning
    assert meaning
    assert meaning.splitlines() == [meaning]
    assert "|" not in meaning, "it would end a cell of the table"


# compose.yaml


def test_compose_uses_only_knobs_and_none_without_saying_where_it_is_set() -> None:
    used = set(re.findall(r"\$\{?(\w+)", compose_without_comments())) - {"COMPOSE_PROJECT_NAME"}  # Compose has it
    with_default = {name for name, _ in WITH_DEFAULT.findall(compose_without_comments())}
    assert with_default <= set(of_a_specialist())
    assert used - with_default == set(REQUIRED.findall(compose_without_comments())) <= set(of_a_person())


@pytest.mark.parametrize("text", [COMPOSE, RAY_ENV], ids=["compose.yaml", "ray.env"])
def test_a_default_that_compose_needs_itself_is_that_of_the_settings(text: str) -> None:
    found = [(name, default) for name, default in WITH_DEFAULT.findall(text) if name in all_knobs()]
    assert found
    for name, default in found:
        assert default == DEFAULT_OF_COMPOSE.get(name, all_knobs()[name].default)


def test_every_knob_that_processes_read_reaches_the_containers_and_no_other() -> None:
    assert set(container_environment()) == {*knobs_of(Settings), "RUNTIME"}


def test_a_container_gets_each_knob_from_its_own_variable_or_a_fixed_value() -> None:
    for name, value in container_environment().items():
        if name in FIXED_IN_CONTAINERS:
            assert value
            assert "$" not in value
        elif name in of_a_person():
            missing = ":?" if all_knobs()[name].default else "?"  # what may be empty must be there all the same
            assert value == f"${{{name}{missing}set it in .env}}"
        else:
            assert value in ("", f"${{{name}:-{all_knobs()[name].default}}}")


def test_a_meaning_that_tells_the_value_in_containers_tells_the_right_one() -> None:
    told = {
        name: match[1]
        for name, knob in all_knobs().items()
        if (match := re.search(r"in containers (\S+)$", knob.meaning))
    }
    assert told
    assert {name: container_environment()[name] for name in told} == told


def settings_in_a_container(knobs: SetKnobs, **changed: str) -> Settings:
    """What a process in a container makes of the knobs on the host; there is no .env in the image."""
    host = {name: knob.default for name, knob in of_a_person().items()} | changed
    for name in all_knobs():
        os.environ.pop(name, None)
    for name, written in container_environment().items():
        value = host.get(name) if "$" in written or not written else written
        if value is not None:
            knobs(**{name: value})
    return Settings(_env_file=None)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"API_PORT": "9000", "LOG_FORMAT": "json", "AUTO_CREATE": "1"},
        {"CALL_DEADLINE_S": "7", "STATE_RESOURCE": "other"},
        {"OBJECT_STORE_BYTES": str(2**30), "SHM_SIZE": "2g"},
    ],
)
def test_what_the_host_accepts_the_containers_accept(knobs: SetKnobs, changed: dict[str, str]) -> None:
    knobs(**changed)
    on_host: Any = HostSettings(_env_file=None)
    in_container: Any = settings_in_a_container(knobs, **changed)
    for name in Settings.model_fields:
        if name.upper() not in FIXED_IN_CONTAINERS:
            assert getattr(in_container, name) == getattr(on_host, name), name


# Other files


def test_the_entrypoint_uses_only_what_every_container_has() -> None:
    code = re.sub(r"(?m)(^|\s)#.*$", "", ENTRYPOINT)
    used = set(re.findall(r"\$\{?([A-Z][A-Z0-9_]+)(?![A-Za-z0-9_]|:-)", code))
    assert used
    of_the_image = set(re.findall(r"^ +([A-Z_]+)=", DOCKERFILE, re.MULTILINE))
    of_bash = {"HOSTNAME"}
    assert used <= {name for name, value in container_environment().items() if value} | of_the_image | of_bash


def test_the_embedded_runtime_sets_all_that_the_entrypoint_uses(knobs: SetKnobs) -> None:
    knobs()
    assert set(process_environment(load_host_settings())) == set(knobs_of(Settings))


def test_the_default_base_image_is_the_same_everywhere() -> None:
    default = all_knobs()["BASE_IMAGE"].default
    assert default == DEFAULT_BASE_IMAGE
    assert re.findall(r"^ARG BASE_IMAGE=(.*)$", DOCKERFILE, re.MULTILINE) == [default]


def test_prometheus_asks_each_ray_node_at_the_port_that_it_has() -> None:
    (port,) = re.findall(r"--metrics-export-port=(\d+)", ENTRYPOINT)
    asked = re.findall(r"(?:ray-head|seedcore-api):(\d+)|^ +port: (\d+)$", PROMETHEUS_CONFIG, re.MULTILINE)
    assert [static or found for static, found in asked] == [port] * 3


def test_the_profiles_are_those_that_the_scripts_know(knobs: SetKnobs) -> None:
    assert re.findall(r"^    profiles: \[(.*)\]$", COMPOSE, re.MULTILINE) == [OBSERVABILITY, VALKEY]
    for profile, property_name in {OBSERVABILITY: "has_prometheus", VALKEY: "has_valkey"}.items():
        for profiles, is_there in {"": False, "other": False, f"other,{profile}": True, "*": True}.items():
            knobs(COMPOSE_PROFILES=profiles)
            assert getattr(HostSettings(_env_file=None), property_name) is is_there


def test_a_secret_is_not_remembered_nor_shown(knobs: SetKnobs) -> None:
    knobs(MEMORY_PASSWORD="hunter2")  # noqa: S106
    settings = load_host_settings()
    assert "MEMORY_PASSWORD" not in set_knobs(settings)
    assert set_knobs(settings, with_secrets=True)["MEMORY_PASSWORD"] == "hunter2"
    assert "hunter2" not in repr(settings)


def test_supervisor_has_as_many_workers_as_the_knob_allows(knobs: SetKnobs) -> None:
    assert re.findall(r"^numprocs = (\d+)$", SUPERVISORD, re.MULTILINE) == [str(MAX_WORKERS)]
    knobs(RAY_WORKER_REPLICAS=str(MAX_WORKERS))
    assert HostSettings(_env_file=None).ray_worker_replicas == MAX_WORKERS
    knobs(RAY_WORKER_REPLICAS=str(MAX_WORKERS + 1))
    with pytest.raises(ValueError, match="ray_worker_replicas"):
        HostSettings(_env_file=None)
