"""The way to the engine: pooled connections, tries until the deadline, and what coroutines ask at once in one go.

What is asked is written once, as a generator that yields batches of commands and gets their answers; the client runs it
in a thread or in a coroutine.
"""

import asyncio
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from redis.exceptions import AskError, MovedError, NoScriptError, RedisClusterException, RedisError

from seedcore.errors import AuthenticationFailedError
from seedcore.event_loop import INLINE_BYTES, OfEachLoop
from seedcore.memory_url import Address, parse_address
from seedcore.settings import Settings
from seedcore.store.valkey import scripts
from seedcore.store.valkey.connections import Command, Connections, LoopConnections
from seedcore.store.valkey.refusals import TIMEOUTS, NotReplicatedError, explained, refusal_of
from seedcore.store.valkey.topology import Node, Topology

T = TypeVar("T")

TRY_S: Final = 5.0  # for one answer of a server; a try after that finds another one, if there is one
WAIT_S: Final = 2.0  # for replicas, within that
FIRST_PAUSE_S: Final = 0.02
LONGEST_PAUSE_S: Final = 0.5
FAILURES: Final = (RedisError, RedisClusterException, OSError)


class Batch(NamedTuple):
    """Commands for one server, answered in their order.

    Args:
        key: one of the keys that they are about; all of them are in one slot.
        commands: each with its arguments.
        is_write: whether as many replicas must have it as the address says.
        is_large: whether the answers of others must not wait behind it.
    """

    key: bytes
    commands: Sequence[Command]
    is_write: bool = False
    is_large: bool = False


Steps = Generator[Batch, list[Any], T]


class ValkeyClient:
    """The one client of a process. Threads and event loops may share it.

    Args:
        settings: the address, the password, and how long to wait.
    """

    def __init__(self, settings: Settings) -> None:
        self.address = parse_address(settings.memory_url)
        self._deadline_s = settings.call_deadline_s
        try_s = min(TRY_S, self._deadline_s)
        tls_files = _tls_files(settings) if self.address.is_tls else ()
        self._files = {knob: file for _, knob, file in tls_files if file}
        self._options: dict[str, Any] = {
            "username": self.address.user or None,
            "password": settings.memory_login_password,
            "ssl": self.address.is_tls,
            **{f"ssl_{option}": file or None for option, _, file in tls_files},
            "socket_timeout": try_s,
            "socket_connect_timeout": try_s,
            "protocol": 2,
        }
        self._topology = Topology(self.address, self._options)
        self._nodes: dict[Node, Connections] = {}
        self._nodes_of_loop: OfEachLoop[dict[Node, LoopConnections]] = OfEachLoop(dict)

    def run(self, steps: Steps[T]) -> T:
        """Do the steps, and return what they return.

        Raises:
            EngineUnavailableError: no answer within `CALL_DEADLINE_S`; a write may or may not be done.
            SeedCoreError: the engine refuses, see `refusals`.
        """
        try:
            batch = next(steps)
            while True:
                batch = steps.send(self._ask(batch))
        except StopIteration as end:
            result: T = end.value
            return result

    async def run_async(self, steps: Steps[T], *, is_large: bool = False) -> T:
        """`run` without blocking the event loop. Batches at the same time travel together.

        Args:
            steps: as those of `run`.
            is_large: whether they themselves handle so many bytes that they go to a thread.
        """
        answers: list[Any] | None = None
        while True:
            aside = is_large or (answers is not None and any(map(_is_long, answers)))
            step = await asyncio.to_thread(_step, steps, answers) if aside else _step(steps, answers)
            if not isinstance(step, Batch):
                result: T = step.value
                return result
            answers = await self._ask_async(step)

    def are_together(self, one: bytes, other: bytes) -> bool:
        """Whether two keys are on the same server, as far as is known."""
        return self._topology.are_together(one, other)

    def ask_each(self, command: Command) -> dict[Node, Any]:
        """The answer of every server that has keys of its own, for a command that is about no key. Raises as `run`."""
        return self._try_twice(lambda: {node: self._answer_of(node, command) for node in self._nodes_now()})

    def scan(self, pattern: bytes, number: int, *options: str) -> Iterator[bytes]:
        """All keys that match a pattern, some of them perhaps more than once. Raises as `run`.

        Args:
            pattern: as `SCAN` takes it.
            number: of keys that a server looks at before it serves others.
            options: further ones of `SCAN`.
        """
        for node in self._try_twice(self._nodes_now):
            cursor = b"0"
            while True:
                command = ("SCAN", cursor, "MATCH", pattern, "COUNT", number, *options)
                cursor, keys = self._try_twice(partial(self._answer_of, node, command))
                yield from keys
                if cursor == b"0":
                    break

    def require_files(self) -> None:
        """Refuse to go on where a file that a knob names is not there; the client library names neither.

        Raises:
            AuthenticationFailedError: this process cannot read one.
        """
        for knob, file in self._files.items():
            if not os.access(file, os.R_OK):
                raise AuthenticationFailedError(
                    f"{knob}: this process cannot read {file}. On Docker it is a path in the containers, which have "
                    "app/ at /app/app"
                )

    def _try_twice(self, ask: Callable[[], T]) -> T:
        """A second time if it failed at once: a connection may have ended while nobody used it, or its server have
        become a replica.
        """
        try:
            return ask()
        except FAILURES as error:
            self._topology.forget()
            self.require_files()
            if isinstance(error, TIMEOUTS):
                raise explained(error, self.address) from error
        try:
            return ask()
        except FAILURES as error:
            self._topology.forget()
            raise explained(error, self.address) from error

    def _nodes_now(self) -> list[Node]:
        if not self._topology.is_known:
            self._topology.search().result(self._deadline_s)
        return self._topology.nodes()

    def _answer_of(self, node: Node, command: Command) -> Any:
        (answer,) = self._connections(node).send([command])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """End the connections that threads use; those of event loops end with their loops."""
        for connections in self._nodes.values():
            connections.close()

    def _ask(self, batch: Batch) -> list[Any]:
        tries = _Tries(self, batch)
        while True:
            try:
                if not (tries.asked or self._topology.is_known):
                    self._topology.search().result(tries.left_s)
                node = tries.asked or self._topology.node_of(batch.key)
                connections = self._connections(node)
                return tries.answers(connections.send([*tries.commands(), *tries.wait]))
            except FAILURES as error:
                pause_s = tries.pause_after(error)
            time.sleep(pause_s)

    async def _ask_async(self, batch: Batch) -> list[Any]:
        tries = _Tries(self, batch)
        while True:
            try:
                if not (tries.asked or self._topology.is_known):
                    async with asyncio.timeout(tries.left_s):
                        await asyncio.wrap_future(self._topology.search())
                node = tries.asked or self._topology.node_of(batch.key)
                connections, commands = self._loop_connections(node), tries.commands()
                if batch.is_large:
                    return tries.answers(await connections.send([*commands, *tries.wait]))
                gathered = connections.writes if tries.wait else connections.reads
                return tries.answers(await gathered.call(commands))
            except FAILURES as error:
                pause_s = tries.pause_after(error)
            await asyncio.sleep(pause_s)

    def _connections(self, node: Node) -> Connections:
        found = self._nodes.get(node)
        return self._nodes.setdefault(node, Connections(self._options_of(node))) if found is None else found

    def _loop_connections(self, node: Node) -> LoopConnections:
        nodes = self._nodes_of_loop.get()
        if node not in nodes:
            nodes[node] = LoopConnections(self._options_of(node), self._deadline_s, wait_for(self.address))
        return nodes[node]

    def _options_of(self, node: Node) -> dict[str, Any]:
        return {**self._options, "host": node[0], "port": node[1], "db": self.address.database}


def _tls_files(settings: Settings) -> tuple[tuple[str, str, str], ...]:
    """The client library's name of each, the knob, and the file."""
    return (
        ("ca_certs", "MEMORY_TLS_CA_FILE", settings.memory_tls_ca_file),
        ("certfile", "MEMORY_TLS_CERT_FILE", settings.memory_tls_cert_file),
        ("keyfile", "MEMORY_TLS_KEY_FILE", settings.memory_tls_key_file),
    )


def wait_for(address: Address) -> list[Command]:
    """The command that waits for replicas, if there is to be one."""
    return [("WAIT", address.replicas, int(WAIT_S * 1000))] if address.replicas else []


class _End(NamedTuple):
    value: Any


def _step(steps: Steps[Any], answers: list[Any] | None) -> Batch | _End:
    try:
        return next(steps) if answers is None else steps.send(answers)
    except StopIteration as end:  # which no coroutine may raise
        return _End(end.value)


def _is_long(answer: Any) -> bool:
    return isinstance(answer, bytes) and len(answer) > INLINE_BYTES


class _Tries:
    """The tries of one batch: what is sent in each, what its answers mean, how long to wait before the next one."""

    def __init__(self, client: ValkeyClient, batch: Batch) -> None:
        self._client, self._batch = client, batch
        self._deadline = time.monotonic() + client._deadline_s
        self._pause_s = FIRST_PAUSE_S
        self._lacks_scripts = False
        # What makes the server answer only when as many replicas have a write as must; its answer is how many have.
        self.wait = wait_for(client.address) if batch.is_write else []
        self.asked: Node | None = None  # who has the keys of a slot that moves

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self._deadline - time.monotonic())

    def commands(self) -> list[Command]:
        """Of this try: the batch, after the scripts that the server lacks."""
        commands = [*self._batch.commands]
        if self.asked is not None:
            commands = [sent for command in commands for sent in (("ASKING",), command)]
        if self._lacks_scripts:
            commands = [*(("SCRIPT", "LOAD", script) for script in scripts.ALL), *commands]
        return commands

    def answers(self, found: list[Any]) -> list[Any]:
        """The answers to the batch alone.

        Raises:
            RedisError: one of them is an error.
        """
        for answer in found:
            if isinstance(answer, Exception):
                raise answer
        if self.wait:
            *found, replicas = found
            if replicas < self._client.address.replicas:
                raise NotReplicatedError(f"{replicas} of {self._client.address.replicas}")
        if self._lacks_scripts:
            found = found[len(scripts.ALL) :]
        return found[1::2] if self.asked is not None else found

    def pause_after(self, error: Exception) -> float:
        """Seconds until the next try.

        Raises:
            SeedCoreError: there is none.
        """
        self.asked = None
        self._client.require_files()
        if isinstance(error, NoScriptError) and not self._lacks_scripts:
            self._lacks_scripts = True
            return 0.0
        if isinstance(error, AskError) and not isinstance(error, MovedError):
            self.asked = error.node_addr
        row = refusal_of(error)
        if row.is_passing and self.asked is None:
            self._client._topology.forget()
        pause_s, self._pause_s = self._pause_s, min(2 * self._pause_s, LONGEST_PAUSE_S)
        if not row.is_passing or time.monotonic() + pause_s > self._deadline:
            raise explained(error, self._client.address) from error
        return pause_s
