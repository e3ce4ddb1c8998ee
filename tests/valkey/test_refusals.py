"""Errors name the engine, what is wrong with it, and what to do."""

import asyncio
import re
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from scripts.host.ports import free_port
from seedcore.actors.valkey_keeper import ValkeyKeeper
from seedcore.api.app import create_app
from seedcore.cluster.status import PING_TIMEOUT_S
from seedcore.errors import (
    AuthenticationFailedError,
    EngineUnavailableError,
    ItemDamagedError,
    StoreFullError,
    UnreadableItemsError,
)
from seedcore.event_loop import in_thread
from seedcore.memory.working_memory import MwManager
from seedcore.memory_url import parse_address
from seedcore.settings import PROJECT_ROOT, Settings, SettingsError, load_settings, read_settings
from seedcore.store.valkey import engine_state
from seedcore.store.valkey.keys import Keys
from seedcore.store.valkey.memory import ValkeyMemory
from tests.engines import Server, needs_engine, running_server
from tests.valkey.conftest import SHORT_DEADLINE_S, Connect
from tests.waiting import wait_until

pytestmark = needs_engine

PASSWORD = "right"


def item_key(item_id: str) -> bytes:
    return Keys(load_settings().ray_namespace).item("organ", item_id)


def test_out_of_memory(server: Server, memory: MwManager) -> None:
    memory.set_item("kept", 1)
    with server.client() as client:
        client.config_set("maxmemory", "1mb")
    with pytest.raises(StoreFullError, match="has no memory left for a write: raise its maxmemory"):
        memory.set_item("plan", 1)
    assert memory.get_item("kept") == 1
    assert memory.delete_item("kept")  # which makes room


def test_a_wrong_password(tmp_path: Path, connect: Connect) -> None:
    with running_server(tmp_path / "locked", "--requirepass", PASSWORD) as server:
        for password in ("", "wrong"):
            with pytest.raises(AuthenticationFailedError, match=r"MEMORY_PASSWORD in \.env\.local") as error:
                connect(server.url, MEMORY_PASSWORD=password).get_item("plan")
            assert "wrong" not in str(error.value)
        connect(server.url, MEMORY_PASSWORD=PASSWORD).set_item("plan", 1)
        file = tmp_path / "password"
        file.write_text("right\n")
        memory = connect(server.url, MEMORY_PASSWORD="", MEMORY_PASSWORD_FILE=str(file))
        assert memory.get_item("plan") == 1
        assert "right" not in repr(load_settings())


def test_tls(tmp_path: Path, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    kind = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    subprocess.run(
        ["openssl", "req", *kind, "-keyout", key, "-out", certificate, *names],
        check=True,
        capture_output=True,
    )
    port = free_port()
    files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(certificate))
    url = f"valkeys://127.0.0.1:{port}"
    with running_server(tmp_path / "server", "--tls-port", str(port), *files, "--tls-auth-clients", "no"):
        with pytest.raises(AuthenticationFailedError, match="MEMORY_TLS_CA_FILE names its authority"):
            connect(url).set_item("plan", 1)
        with monkeypatch.context() as trusting:
            trusting.setenv("SSL_CERT_FILE", str(certificate))
            connect(url).set_item("plan", 1)
    with running_server(tmp_path / "server", "--tls-port", str(port), *files):  # which asks for one by default
        with pytest.raises(AuthenticationFailedError, match="wants a certificate of its clients: MEMORY_TLS_CERT_FILE"):
            connect(url, MEMORY_TLS_CA_FILE=str(certificate)).get_item("plan")
        memory = connect(url, MEMORY_TLS_CERT_FILE=str(certificate), MEMORY_TLS_KEY_FILE=str(key))
        assert memory.get_item("plan") == 1
        assert asyncio.run(memory.get_item_async("plan")) == 1
        with pytest.raises(AuthenticationFailedError, match="MEMORY_TLS_CA_FILE: this process cannot read /nowhere"):
            connect(url, MEMORY_TLS_CA_FILE="/nowhere").set_item("plan", 1)


def test_a_user_who_may_not(server: Server, connect: Connect) -> None:
    with server.client() as client:
        client.acl_setuser("guest", enabled=True, passwords=[f"+{PASSWORD}"], keys=["other:*"], commands=["+@all"])
    memory = connect(server.url.replace("//", "//guest@"), MEMORY_PASSWORD=PASSWORD)
    with pytest.raises(AuthenticationFailedError, match="its ACL must allow all keys that begin with 'seedcore:'"):
        memory.set_item("plan", 1)


def test_a_user_who_may_what_the_documents_say(server: Server, connect: Connect) -> None:
    (rules,) = re.findall(r"ACL of a user: `([^`]+)`", (PROJECT_ROOT / "docs/valkey.md").read_text())
    with server.client() as client:
        client.execute_command("ACL SETUSER", "guest", "on", f">{PASSWORD}", *rules.split())
    memory = connect(server.url.replace("//", "//guest@"), MEMORY_PASSWORD=PASSWORD)
    memory.set_items({"plan": 1, "array": np.zeros(2**20)})
    memory.set_global_item("shared", 1, ttl_s=60)
    assert memory.get_items(["plan", "shared", "nowhere"]) == {"plan": 1, "shared": 1}
    assert memory.get_hot_items(1)[0].item_id == "nowhere"
    engine = ValkeyMemory(load_settings())
    assert (engine.own_stats()["items"], engine.shared_stats()["items"]) == (2, 1)
    assert len(list(engine.all_items())) == 3
    assert memory.delete_items(["plan", "array"]) == ["plan", "array"]
    engine.clear()


def test_a_replica(tmp_path: Path, server: Server, connect: Connect) -> None:
    with running_server(tmp_path / "replica", "--replicaof", f"127.0.0.1 {server.port}") as replica:
        memory = connect(replica.url, CALL_DEADLINE_S=SHORT_DEADLINE_S)
        state = ValkeyMemory(load_settings()).state
        for call in (partial(memory.set_item, "plan", 1), partial(memory.get_item, "plan"), state):
            with pytest.raises(EngineUnavailableError, match="is a replica, which takes no writes: name the primary"):
                call()


def test_a_server_that_becomes_a_replica_is_not_read_any_more(tmp_path: Path, server: Server, connect: Connect) -> None:
    memory = connect(server.url, CALL_DEADLINE_S="1")
    memory.set_item("plan", 1)

    def is_refused() -> bool:
        try:
            memory.get_item("plan")
        except EngineUnavailableError as error:
            return "is a replica" in str(error)
        return False

    with running_server(tmp_path / "other") as other, server.client() as client:
        client.replicaof("127.0.0.1", other.port)
        wait_until(is_refused)
        client.replicaof("NO", "ONE")
        memory.set_item("plan", 2)
        assert memory.get_item("plan") == 2


def test_one_that_loads_its_file_is_named_and_waited_for(server: Server, connect: Connect, tmp_path: Path) -> None:
    connect(server.url).set_items({f"item-{number}": number for number in range(200)})
    with server.client() as client:
        client.bgrewriteaof()
        wait_until(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0)
    server.kill()
    slowly = ("--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024")
    loading = Server(tmp_path / "server", *slowly, port=server.port)
    loading.start(is_loaded=False)
    try:
        with pytest.raises(EngineUnavailableError, match="still loads its items from its file; wait"):
            connect(server.url, CALL_DEADLINE_S="1.5").get_item("item-7")
        assert connect(server.url, CALL_DEADLINE_S="60").get_item("item-7") == 7
    finally:
        loading.stop()


def test_an_old_version_is_told(server: Server, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(server.url)
    monkeypatch.setattr(engine_state, "OLDEST", {"Valkey": (99, 0), "Redis": (99, 0)})
    (problem,) = ValkeyMemory(load_settings()).state().problems
    assert problem.endswith("and the memory needs Valkey 7.2 or Redis 7.0")


def test_too_few_replicas(tmp_path: Path, server: Server, connect: Connect) -> None:
    memory = connect(f"{server.url}?replicas=1", CALL_DEADLINE_S=SHORT_DEADLINE_S)
    with pytest.raises(EngineUnavailableError, match=r"too few replicas of .* have the write"):
        memory.set_item("plan", 1)
    assert any(
        "has 0 replicas, and writes wait for 1" in problem for problem in ValkeyMemory(load_settings()).state().problems
    )
    with running_server(tmp_path / "replica", "--replicaof", f"127.0.0.1 {server.port}") as replica:
        memory = connect(f"{server.url}?replicas=1", CALL_DEADLINE_S="60")
        memory.set_item("plan", 2)  # answered when the replica has it
        server.kill()
        with replica.client() as client:
            client.execute_command("REPLICAOF NO ONE")
        assert connect(replica.url).get_item("plan") == 2


def test_a_key_of_another_application_in_the_way(server: Server, memory: MwManager) -> None:
    memory.set_item("good", 1)
    with server.client() as client:
        client.rpush(item_key("list"), "x")
        client.set(item_key("text"), "of somebody else")
    for item_id in ("list", "text"):
        with pytest.raises(ItemDamagedError, match="another application"):
            memory.get_item(item_id)
    with pytest.raises(ItemDamagedError, match="Give one of the two another database"):
        memory.set_item("list", 1)
    with pytest.raises(UnreadableItemsError) as error:
        memory.get_items(["good", "text"])
    assert error.value.found == {"good": 1}
    memory.set_item("text", 2)
    assert memory.get_item("text") == 2


def test_a_value_that_was_changed_is_noticed(server: Server, memory: MwManager) -> None:
    memory.set_items({"plan": [1, 2, 3], "other": [4, 5, 6]})
    with server.client() as client:
        value = client.get(item_key("plan"))
        client.set(item_key("plan"), value[:-1] + bytes([value[-1] ^ 1]))
        client.copy(item_key("other"), item_key("moved"))
    for item_id in ("plan", "moved"):
        with pytest.raises(ItemDamagedError, match=f"{item_id!r} is not in the engine as it was written"):
            memory.get_item(item_id)


def test_settings_that_break_a_promise_are_told_with_the_remedy(server: Server, memory: MwManager) -> None:
    memory.set_item("plan", 1)
    assert not ValkeyMemory(load_settings()).state().problems
    with server.client() as client:
        client.config_set("appendonly", "no")
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
    wait_until(lambda: len(ValkeyMemory(load_settings()).state().problems) == 2)
    said = " ".join(ValkeyMemory(load_settings()).state().problems)
    assert "`CONFIG SET appendonly yes`" in said
    assert "`CONFIG SET maxmemory-policy noeviction`" in said


@pytest.mark.usefixtures("memory")
def test_the_state_and_a_scan_outlive_a_restart_of_the_server(server: Server) -> None:
    memory = ValkeyMemory(load_settings())
    for _ in range(2):  # the second time, what is idle leads to the server that was killed
        assert memory.state().facts
        assert list(memory.all_items()) == []
        server.kill()
        server.start()


@pytest.mark.usefixtures("memory")
@pytest.mark.parametrize("totals", [ValkeyMemory.own_stats, ValkeyMemory.shared_stats])
def test_an_actor_tells_of_an_engine_that_is_gone_while_it_is_asked(
    totals: Callable[[ValkeyMemory], Mapping[str, float]], server: Server
) -> None:
    keeper = ValkeyKeeper("Keeper", load_settings(), totals)
    assert keeper.stats()["engine_up"] == 1
    server.kill()
    assert in_thread(keeper.stats).result(PING_TIMEOUT_S)["engine_up"] == 0


@pytest.mark.usefixtures("no_application", "memory")
def test_the_api_tells_what_keeps_the_memory_and_how_it_is(server: Server) -> None:
    def engine() -> dict[str, Any]:
        told: dict[str, Any] = client.get("/status").json()["engine"]
        return told

    with TestClient(create_app(), base_url="http://localhost") as client:
        told = engine()
        (fact,) = told.pop("facts")
        assert re.fullmatch(
            rf"(Valkey|Redis) \S+ at 127.0.0.1:{server.port}, primary with 0 replica\(s\), \S+ MB, append-only file on",
            fact,
        )
        assert told == {"name": f"the engine at 127.0.0.1:{server.port}", "problems": [], "reason": ""}
        with server.client() as direct:
            direct.config_set("appendonly", "no")
        assert "`CONFIG SET appendonly yes`" in " ".join(engine()["problems"])
        server.kill()
        assert f"127.0.0.1:{server.port}" in engine()["reason"]


@pytest.mark.parametrize("lines", [(), (f"requirepass {PASSWORD}",)], ids=["open", "locked"])
def test_sentinels_get_the_login_if_they_want_one(tmp_path: Path, connect: Connect, lines: tuple[str, ...]) -> None:
    sentinel = Server(tmp_path / "sentinel")
    with ExitStack() as stack:
        server = stack.enter_context(running_server(tmp_path / "locked", "--requirepass", PASSWORD))
        stack.callback(sentinel.stop)
        watched = f"sentinel monitor memory 127.0.0.1 {server.port} 1"
        sentinel.start_sentinel(watched, f"sentinel auth-pass memory {PASSWORD}", *lines)
        url = f"valkey+sentinel://127.0.0.1:{sentinel.port}/memory?replicas=0"
        memory = connect(url, MEMORY_PASSWORD=PASSWORD)
        memory.set_item("plan", 1)
        assert memory.get_item("plan") == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://x", "must be valkey://HOST:PORT/N"),
        ("valkey://:secret@x", "must have no password in it"),
        ("valkey://:pa/secret@x", "must "),
        ("valkey://u:1?secret@x", "has more behind the question mark than replicas=N"),
        ("valkey://a,b", "must name one server"),
        ("valkey://x:port", "must name hosts and ports"),
        ("valkey://x/zero", "must end with the number of a database"),
        ("valkey+sentinel://x", "must name the primary"),
        ("valkey+cluster://x/1", "a cluster has one only"),
        ("rediss://x?password=secret", "has more behind the question mark than replicas=N"),
        ("VALKEY://x", "must be valkey://HOST:PORT/N"),
        ("valkey://x?db=1", "has more behind the question mark than replicas=N"),
        ("valkey://x?replicas=many", "must wait for 0 to 16 replicas"),
    ],
)
def test_a_url_that_is_none(url: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_settings(Settings, {"MEMORY_URL": url})
    assert said in str(error.value)
    assert "secret" not in str(error.value)


def test_hosts_may_be_ipv6_addresses() -> None:
    address = parse_address("valkeys+cluster://user@[::1],[2001:db8::2]:7000?replicas=2")
    assert address.hosts == (("::1", 6379), ("2001:db8::2", 7000))
    assert (address.user, address.replicas, address.is_tls) == ("user", 2, True)
    assert str(address) == "the cluster at [::1]:6379, [2001:db8::2]:7000"
