import os
import socket
from collections.abc import Iterator

import psutil
import pytest

from scripts.host.ports import free_port, is_free, listener, require_free_ports
from scripts.host.runtime import StackError


def nobody(port: int) -> str | None:
    return None


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_a_port_that_nobody_has_is_free() -> None:
    assert is_free(free_port())


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_is_taken_by_whoever_listens_on_this_or_all_addresses(address: str) -> None:
    with socket.create_server((address, 0)) as server:
        port = int(server.getsockname()[1])
        assert not is_free(port)
    assert is_free(port)


def test_a_port_is_free_again_although_its_last_connections_linger() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    port = int(server.getsockname()[1])
    client = socket.create_connection(("127.0.0.1", port))
    connection, _ = server.accept()
    connection.close()  # who closes first keeps the port in TIME_WAIT
    assert client.recv(1) == b""
    client.close()
    server.close()
    assert is_free(port)


def test_free_ports_pass() -> None:
    require_free_ports({"API_PORT": free_port(), "DASHBOARD_PORT": free_port()}, nobody)


def test_a_taken_port_is_named_with_its_knob_and_its_process(taken_port: int) -> None:
    with pytest.raises(StackError) as refused:
        require_free_ports({"API_PORT": taken_port, "DASHBOARD_PORT": free_port()}, nobody)
    message = str(refused.value)
    assert f"port {taken_port} (API_PORT)" in message
    assert f"process {os.getpid()} ({psutil.Process().name()})" in message
    assert "set API_PORT in .env" in message
    assert "DASHBOARD_PORT" not in message


def test_who_knows_better_names_the_owner(taken_port: int) -> None:
    with pytest.raises(StackError, match=r"is taken by container web of the stack 'other'"):
        require_free_ports({"API_PORT": taken_port}, lambda port: "container web of the stack 'other'")


def test_all_taken_ports_are_named_at_once(taken_port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        other = int(server.getsockname()[1])
        with pytest.raises(StackError) as refused:
            require_free_ports({"API_PORT": taken_port, "DASHBOARD_PORT": other, "RAY_AGENT_PORT": free_port()}, nobody)
    message = str(refused.value)
    assert f"port {taken_port} (API_PORT)" in message
    assert f"port {other} (DASHBOARD_PORT)" in message
    assert "set API_PORT or DASHBOARD_PORT in .env" in message


@pytest.mark.parametrize(
    ("knob", "remedy"),
    [
        ("RAY_AGENT_PORT + 1", "or set RAY_AGENT_PORT in .env to a free port"),
        ("RAY_ADDRESS", "or set RAY_ADDRESS=127.0.0.1:PORT in .env to a free port"),
    ],
)
def test_what_is_to_be_set_can_be_set(taken_port: int, knob: str, remedy: str) -> None:
    with pytest.raises(StackError) as refused:
        require_free_ports({knob: taken_port}, nobody)
    assert f"port {taken_port} ({knob}) is taken" in str(refused.value)
    assert remedy in str(refused.value)


def test_two_knobs_with_one_port_are_named(taken_port: int) -> None:
    port = free_port()
    with pytest.raises(StackError) as refused:
        require_free_ports({"API_PORT": port, "DASHBOARD_PORT": port, "RAY_AGENT_PORT": taken_port}, nobody)
    message = str(refused.value)
    assert f"API_PORT={port}, DASHBOARD_PORT={port}" in message
    assert "RAY_AGENT_PORT" not in message


def test_nobody_listens_on_a_free_port(taken_port: int) -> None:
    assert listener(free_port()) is None
    assert str(os.getpid()) in str(listener(taken_port))
