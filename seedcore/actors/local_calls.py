"""The way to an actor on the same machine: its socket, from threads and from coroutines."""

import asyncio
import os
import socket
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

from seedcore.actors.call_socket import RECEIVE_BYTES, FrameBuffer, address, answers_in, calls_frame
from seedcore.actors.calls import Answer, Call
from seedcore.event_loop import INLINE_BYTES, OfEachLoop
from seedcore.store.files import store_files

LOOK_AGAIN_S: Final = 1.0  # after nobody answered at the socket


class LocalCalls:
    """Sends calls to the actor that keeps a store, where this process sees its socket. Threads and event loops may
    share it.

    Whether somebody answers at the socket is tried at the first call, and again some time after a failure.

    Args:
        store: the file, as this process would see it.
    """

    def __init__(self, store: Path) -> None:
        self._path = store_files.companion(store, store_files.SOCKET)
        self._look_at = 0.0  # on the monotonic clock
        self._idle: list[_Connection] = []
        self._of_loop = OfEachLoop(lambda: _LoopConnection(self._path))

    def perform(self, calls: list[Call], timeout_s: float) -> list[Answer] | None:
        """The answers; None where the calls must go through Ray.

        Raises:
            TimeoutError: the actor took the calls, but did not answer within the timeout.
        """
        frame = None if self._is_lost() else calls_frame(calls)
        if frame is None:
            return None
        for is_last in (False, True):  # the first may belong to a process that is gone
            try:
                connection = self._take()
                answer = connection.ask(frame, timeout_s)
            except TimeoutError:
                raise
            except OSError:
                self._idle.clear()
                if is_last:
                    self._lose()
                continue
            self._idle.append(connection)
            return answers_in(answer)
        return None

    async def perform_async(self, calls: list[Call], timeout_s: float, *, is_small: bool) -> list[Answer] | None:
        """`perform` without blocking the event loop.

        Args:
            calls: as there.
            timeout_s: as there.
            is_small: whether they may be packed on the loop itself.
        """
        if self._is_lost():
            return None
        frame = calls_frame(calls) if is_small else await asyncio.to_thread(calls_frame, calls)
        if frame is None:
            return None
        connection = self._of_loop.get()
        for is_last in (False, True):
            try:
                async with asyncio.timeout(timeout_s):
                    answer = await connection.ask(frame)
            except TimeoutError:
                connection.close()
                raise
            except OSError:
                if is_last:
                    self._lose()
                continue
            return answers_in(answer) if len(answer) <= INLINE_BYTES else await asyncio.to_thread(answers_in, answer)
        return None

    def close(self) -> None:
        """End the connections that nobody uses now; those of event loops end with their loops."""
        self._idle.clear()

    def _is_lost(self) -> bool:
        return time.monotonic() < self._look_at

    def _lose(self) -> None:
        self._look_at = time.monotonic() + LOOK_AGAIN_S

    def _take(self) -> "_Connection":
        try:
            connection = self._idle.pop()
        except IndexError:
            return _Connection(self._path)
        # That of a parent process would mix its answers with ours.
        return connection if connection.pid == os.getpid() else _Connection(self._path)


class _Connection:
    """For one thread at a time.

    Raises:
        OSError: nobody answers at the path.
    """

    def __init__(self, path: Path) -> None:
        self.pid = os.getpid()
        self._socket = _connected(path)
        self._frames = FrameBuffer()

    def ask(self, frame: bytes, timeout_s: float) -> bytes:
        """The answer to a frame. After an error the connection is of no use any more."""
        self._socket.settimeout(timeout_s)
        self._socket.sendall(frame)
        while data := self._socket.recv(RECEIVE_BYTES):
            for answer in self._frames.add(data):
                return answer
        raise ConnectionResetError

    def __del__(self) -> None:
        """Close it, for whoever forgets it."""
        if hasattr(self, "_socket"):
            self._socket.close()


class _LoopConnection:
    """That of one event loop, which many coroutines share: answers come in the order of the calls.

    Args:
        path: of the socket.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._frames = FrameBuffer()
        self._waiting: deque[asyncio.Future[bytes | None]] = deque()
        self._sending = asyncio.Lock()

    async def ask(self, frame: bytes) -> bytes:
        """The answer to a frame.

        Raises:
            OSError: nobody answers at the path, or the connection broke.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes | None] = loop.create_future()
        async with self._sending:
            connection = self._socket or self._connect(loop)
            self._waiting.append(answer)
            try:
                await loop.sock_sendall(connection, frame)
            except BaseException:  # half of a frame was sent
                self.close()
                raise
        found = await answer
        if found is None:
            raise ConnectionResetError
        return found

    def _connect(self, loop: asyncio.AbstractEventLoop) -> socket.socket:
        self._socket = _connected(self._path)
        self._socket.setblocking(False)
        self._frames = FrameBuffer()
        loop.add_reader(self._socket, self._receive, self._socket)
        return self._socket

    def _receive(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        for frame in self._frames.add(data):
            answer = self._waiting.popleft()
            if not answer.done():  # else nobody waits for it any more
                answer.set_result(frame)

    def close(self) -> None:
        """Have every call fail that waits for an answer; the next one connects anew."""
        connection, self._socket = self._socket, None
        if connection is not None:
            asyncio.get_running_loop().remove_reader(connection)
            if self._sending.locked():  # whoever sends on it would wait for one that is closed for ever
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            else:
                connection.close()
        waiting, self._waiting = self._waiting, deque()
        for answer in waiting:
            if not answer.done():
                answer.set_result(None)  # an exception would be logged if nobody waits for it any more

    def __del__(self) -> None:
        """Close it with its loop."""
        if self._socket is not None:
            self._socket.close()


def _connected(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)  # who finds the queue full goes through Ray
    try:
        with address(path) as name:
            connection.connect(name)
    except BaseException:
        connection.close()
        raise
    return connection
