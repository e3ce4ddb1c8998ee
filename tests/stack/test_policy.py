"""Holds compose.yaml, as Compose understands it, to the security defaults of the design."""

import json
import os
import shutil
import subprocess
from typing import Any

import pytest

from scripts.host.settings import docker_size_bytes, load_host_settings
from seedcore.settings import PROJECT_ROOT

LONG_RUNNING = ("ray-head", "ray-worker", "seedcore-api")
SERVICES = (*LONG_RUNNING, "bootstrap")
PROMETHEUS = "prometheus"
VALKEY = "valkey"
ALL = (*SERVICES, PROMETHEUS, VALKEY)


@pytest.fixture(scope="module")
def config() -> Any:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        if os.environ.get("SEEDCORE_REQUIRE_DOCKER") == "1":
            pytest.fail("SEEDCORE_REQUIRE_DOCKER=1, but there is no `docker compose`")
        pytest.skip("there is no `docker compose` here")
    return config_of("compose.yaml")


def config_of(*files: str, **environment: str) -> Any:
    """As Compose understands them together."""
    done = subprocess.run(
        ["docker", "compose", *(f"--file={file}" for file in files), "--profile=*", "config", "--format", "json"],
        cwd=PROJECT_ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_the_services(config: Any) -> None:
    assert set(config["services"]) == set(ALL)
    assert {name for name, service in config["services"].items() if service.get("profiles")} == {PROMETHEUS, VALKEY}


@pytest.mark.parametrize("service", ALL)
def test_locked_down(config: Any, service: str) -> None:
    options = config["services"][service]
    assert options["read_only"] is True
    assert options["cap_drop"] == ["ALL"]
    assert "cap_add" not in options
    assert "no-new-privileges:true" in options["security_opt"]
    assert not options.get("privileged")
    assert str(options.get("user", "seedcore")) not in ("0", "root")
    assert options["pids_limit"] > 0
    assert int(options["mem_limit"]) > 0
    assert options["logging"]["options"]["max-size"]
    assert any(mount.startswith("/tmp:") for mount in options["tmpfs"])


@pytest.mark.parametrize("service", ALL)
def test_binds_nothing_writable_from_the_host(config: Any, service: str) -> None:
    for volume in config["services"][service]["volumes"]:
        assert volume["type"] == "volume" or volume.get("read_only") is True, volume
        assert "docker.sock" not in volume["source"]


@pytest.mark.parametrize("service", ALL)
def test_only_the_workers_can_write_the_items(config: Any, service: str) -> None:
    state = [volume for volume in config["services"][service]["volumes"] if volume["source"] == "state"]
    assert all(service == "ray-worker" or volume.get("read_only") for volume in state)
    assert bool(state) == (service in ("ray-worker", "seedcore-api"))


@pytest.mark.parametrize("service", ALL)
def test_publishes_only_what_people_look_at_and_only_here(config: Any, service: str) -> None:
    published = config["services"][service].get("ports", [])
    assert all(port["host_ip"] == "127.0.0.1" for port in published)
    settings = load_host_settings()
    allowed = {"ray-head": {settings.dashboard_port}, "seedcore-api": {settings.api_port}, PROMETHEUS: {9090}}
    assert {port["target"] for port in published} == allowed.get(service, set())


@pytest.mark.parametrize("service", SERVICES)
def test_token_is_a_file_and_no_secret_is_in_the_environment(config: Any, service: str) -> None:
    options = config["services"][service]
    assert options["environment"]["RAY_AUTH_MODE"] == "token"
    assert options["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_auth_token"
    assert "RAY_AUTH_TOKEN" not in options["environment"]
    assert [secret["source"] for secret in options["secrets"]] == ["ray_auth_token"]


def test_one_namespace_and_one_environment(config: Any) -> None:
    environments = [config["services"][service]["environment"] for service in SERVICES]
    assert all(environment == environments[0] for environment in environments)
    assert environments[0]["RAY_NAMESPACE"] == load_host_settings().ray_namespace


def test_calls_within_the_stack_use_no_proxy(config: Any) -> None:
    for service in SERVICES:
        environment = config["services"][service]["environment"]
        excepted = environment["NO_PROXY"].split(",")
        assert {*LONG_RUNNING, "localhost", "127.0.0.1", "172.16.0.0/12"} <= set(excepted)
        assert environment["no_proxy"] == environment["NO_PROXY"]


def test_prometheus_has_no_secret(config: Any) -> None:
    assert not config["services"][PROMETHEUS].get("secrets")
    assert set(config["services"][PROMETHEUS]["environment"]) == {"API_PORT"}


def test_valkey_has_no_secret_but_its_own(config: Any) -> None:
    assert not config["services"][VALKEY].get("secrets")
    of_valkey = {"MEMORY_PASSWORD", "MEMORY_PASSWORD_FILE", "SQLITE_SYNCHRONOUS", "VALKEY_MEMORY"}
    assert set(config["services"][VALKEY]["environment"]) == of_valkey


@pytest.mark.parametrize("service", [*LONG_RUNNING, PROMETHEUS, VALKEY])
def test_long_running_services_are_watched_and_stop_in_time(config: Any, service: str) -> None:
    options = config["services"][service]
    probe = "images/valkey/start.sh health " if service == VALKEY else "images/healthcheck.sh "
    assert probe in f"{' '.join(options['healthcheck']['test'])} "
    # To start a check costs 0.1 s of CPU.
    assert (options["healthcheck"]["start_interval"], options["healthcheck"]["interval"]) == ("1s", "30s")
    assert options["restart"] == "unless-stopped"
    assert options["init"] is True
    assert options["stop_grace_period"] == "20s"


@pytest.mark.parametrize("service", LONG_RUNNING)
def test_the_object_store_fits_into_memory(config: Any, service: str) -> None:
    options = config["services"][service]
    assert int(options["shm_size"]) > int(options["environment"]["OBJECT_STORE_BYTES"])
    assert int(options["shm_size"]) == docker_size_bytes(load_host_settings().shm_size)


def test_order_is_by_conditions(config: Any) -> None:
    conditions = {
        service: {name: need["condition"] for name, need in config["services"][service].get("depends_on", {}).items()}
        for service in ALL
    }
    assert conditions == {
        "ray-head": {},
        "ray-worker": {"ray-head": "service_healthy"},
        "bootstrap": {"ray-head": "service_healthy", "ray-worker": "service_healthy", VALKEY: "service_healthy"},
        "seedcore-api": {"ray-head": "service_healthy", "bootstrap": "service_completed_successfully"},
        PROMETHEUS: {},
        VALKEY: {},
    }


def test_the_debugger_opens_its_port_on_this_machine_and_nothing_else(config: Any) -> None:
    debugged = config_of("compose.yaml", "images/debug.yaml")
    api, plain = debugged["services"].pop("seedcore-api"), config["services"]["seedcore-api"]
    port = str(load_host_settings().debug_port)
    (added,) = [one for one in api["ports"] if one not in plain["ports"]]
    assert (added["host_ip"], added["published"], added["target"]) == ("127.0.0.1", port, int(port))
    changed = {"ports", "environment", "healthcheck"}
    assert {key for key in {*api, *plain} if api.get(key) != plain.get(key)} == changed
    assert {**plain["environment"], "API_DEBUG": "1"} == api["environment"]
    assert debugged["services"].items() <= config["services"].items()


def test_serve_opens_its_port_on_this_machine_and_nothing_else(config: Any) -> None:
    serving = config_of("compose.yaml", "images/serve.yaml")["services"]
    told = {"RAY_SERVE_DEFAULT_HTTP_HOST": "0.0.0.0"}
    told["RAY_DASHBOARD_ADDRESS"] = f"http://ray-head:{load_host_settings().dashboard_port}"
    for name in ("ray-head", "ray-worker", "seedcore-api"):
        assert serving[name].pop("environment") == {**config["services"][name]["environment"], **told}
    (added,) = [one for one in serving["ray-head"].pop("ports") if one not in config["services"]["ray-head"]["ports"]]
    assert (added["host_ip"], added["published"], added["target"]) == ("127.0.0.1", "8001", 8000)
    for name, service in serving.items():
        assert service.items() <= config["services"][name].items()


def test_gpus_are_all_that_their_file_adds(config: Any) -> None:
    with_gpus = config_of("compose.yaml", "images/gpu.yaml")
    worker, plain = with_gpus["services"].pop("ray-worker"), config["services"]["ray-worker"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", -1, ["gpu"])
    assert {key for key in worker if worker[key] != plain[key]} == {"deploy"}
    assert {key for key in worker["deploy"] if worker["deploy"][key] != plain["deploy"][key]} == {"resources"}
    assert with_gpus["services"].items() <= config["services"].items()


@pytest.fixture(scope="module")
def for_others() -> Any:
    """With CLUSTER_ADDRESS, which lets other machines join."""
    return config_of("compose.yaml", "images/cluster.yaml", HEAD_ADDRESS="10.77.0.1:6379", CLUSTER_ADDRESS="10.77.0.1")


@pytest.mark.usefixtures("config")
def test_others_can_join_only_if_an_address_says_so(config: Any, for_others: Any) -> None:
    assert not any(config["services"][service].get("network_mode") == "host" for service in ALL)
    assert {config["services"][service]["environment"]["CLUSTER_ADDRESS"] for service in SERVICES} == {""}
    for service in LONG_RUNNING:
        options = for_others["services"][service]
        assert options["network_mode"] == "host"
        assert not options.get("ports")
        assert options["environment"]["RAY_ADDRESS"] == "10.77.0.1:6379"
        assert options["cap_drop"] == ["ALL"]
        assert options["read_only"] is True


@pytest.mark.usefixtures("config")
def test_a_machine_that_has_joined_has_no_items() -> None:
    joined = config_of(
        "compose.yaml",
        "images/joined.yaml",
        HEAD_ADDRESS="10.77.0.1:6379",
        CLUSTER_HEAD="10.77.0.1",
        CLUSTER_ADDRESS="x",
    )
    worker = joined["services"]["ray-worker"]
    assert {volume["target"] for volume in worker["volumes"]} == {"/app/app", "/app/seedcore", "/app/scripts", "/ray"}
    assert not worker.get("depends_on")
    assert worker["cap_drop"] == ["ALL"]
