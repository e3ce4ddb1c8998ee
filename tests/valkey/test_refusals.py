"""Errors name the engine, what is wrong with it, and what to do."""

import asyncio
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from scripts.host.ports import free_port
from seedcore.errors import (
    AuthenticationFailedError,
    EngineUnavailableError,
    ItemDamagedError,
    StoreFullError,
    UnreadableItemsError,
)
from seedcore.memory.working_memory import MwManager
from seedcore.settings import Settings, SettingsError, load_settings, read_settings
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
    with running_server(tmp_path / "server", "--tls-port", str(port), *files, "--tls-auth-clients", "no"):
        url = f"valkeys://127.0.0.1:{port}"
        with pytest.raises(EngineUnavailableError, match="certificate verify failed"):
            connect(url, CALL_DEADLINE_S="1").set_item("plan", 1)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        memory = connect(url, CALL_DEADLINE_S="60")
        memory.set_item("plan", 1)
        assert memory.get_item("plan") == 1
        assert asyncio.run(memory.get_item_async("plan")) == 1


def test_a_user_who_may_not(server: Server, connect: Connect) -> None:
    with server.client() as client:
        client.acl_setuser("guest", enabled=True, passwords=[f"+{PASSWORD}"], keys=["other:*"], commands=["+@all"])
    memory = connect(server.url.replace("//", "//guest@"), MEMORY_PASSWORD=PASSWORD)
    with pytest.raises(AuthenticationFailedError, match="its ACL must allow all keys that begin with 'seedcore:'"):
        memory.set_item("plan", 1)


def test_a_replica(tmp_path: Path, server: Server, connect: Connect) -> None:
    with running_server(tmp_path / "replica", "--replicaof", f"127.0.0.1 {server.port}") as replica:
        memory = connect(replica.url, CALL_DEADLINE_S=SHORT_DEADLINE_S)
        with pytest.raises(EngineUnavailableError, match="is a replica, which takes no writes: name the primary"):
            memory.set_item("plan", 1)


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
        ("valkey://x?db=1", "has more behind the question mark than replicas=N"),
        ("valkey://x?replicas=many", "must wait for 0 to 16 replicas"),
    ],
)
def test_a_url_that_is_none(url: str, said: str) -> None:
    with pytest.raises(SettingsError) as error:
        read_settings(Settings, {"MEMORY_URL": url})
    assert said in str(error.value)
    assert "secret" not in str(error.value)
