"""Calls of an actor through a Unix socket beside its store, for every process of the same machine that sees it.

A frame is its length and a list in msgpack: calls one way, their answers the other, in the same order. The mode of the
socket decides who may connect; a read-only mount keeps no process from it.
"""

import logging
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgpack

from seedcore import errors
from seedcore.actors.calls import Answer, Call, pack_calls, unpack_answers
from seedcore.errors import SeedCoreError
from seedcore.store.files import store_files

logger = logging.getLogger(__name__)

HEADER: Final = struct.Struct("!I")  # how many bytes follow
MAX_CALL_BYTES: Final = 4 * 2**20  # of a frame with calls; larger ones go through Ray
MAX_CONNECTIONS: Final = 256  # each has a thread, and a frame in memory
STALLED_S: Final = 30.0  # after which nobody waits for the rest of a frame, nor for a client that reads no answer
ACCEPT_AGAIN_S: Final = 1.0  # after a connection could not be taken
RECEIVE_BYTES: Final = 64 * 1024
MAX_ADDRESS_BYTES: Final = 100  # unix(7) has room for 107, macOS for 103
ERROR: Final = 1  # msgpack's type of an error of ours
NO_ANSWER: Final = b""  # where msgpack cannot carry one


class CallServer:
    """Answers calls through a socket until it is closed, or its process ends.

    Args:
        store: the file that the socket is beside. The socket of a process before is replaced.
        perform: takes packed calls and returns packed answers, on as many threads as there are connections.

    Raises:
        OSError: there can be no socket.
    """

    def __init__(self, store: Path, perform: Callable[[list[Any]], list[Any]]) -> None:
        self._path = store_files.companion(store, store_files.SOCKET)
        self._perform = perform
        self._room = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._is_closed = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            self._listen()
        except OSError:
            self._listener.close()
            raise
        threading.Thread(target=self._accept, daemon=True, name="call-server").start()

    def _listen(self) -> None:
        new = store_files.companion(self._path, f".{os.getpid()}")
        new.unlink(missing_ok=True)
        with address(new) as name:
            self._listener.bind(name)
        new.chmod(0o600)
        self._listener.listen(MAX_CONNECTIONS)
        self._inode = new.stat().st_ino
        new.rename(self._path)

    def close(self) -> None:
        """Take no more connections, and the socket away, unless that is another process's by now."""
        self._is_closed.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        with suppress(FileNotFoundError):
            if self._is_mine():
                self._path.unlink()

    def _is_mine(self) -> bool:
        return os.stat(self._path).st_ino == self._inode  # noqa: PTH116 - for each frame; pathlib takes twice as long

    def _accept(self) -> None:
        with self._listener:
            while not self._is_closed.is_set():
                try:
                    connection, _ = self._listener.accept()
                except OSError as error:
                    if not self._is_closed.wait(ACCEPT_AGAIN_S):
                        logger.warning("%s cannot take a connection: %s", self._path, error)
                    continue
                if not self._room.acquire(blocking=False):
                    connection.close()
                    continue
                threading.Thread(target=self._serve, args=(connection,), daemon=True, name="call-socket").start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                connection.settimeout(STALLED_S)
                for frame in _frames(connection):
                    if not self._is_mine():
                        return  # its client finds the one that keeps the store now
                    connection.sendall(self._answer(frame))
            except (OSError, ValueError, TypeError) as error:  # it is gone, stalled, or no client of ours
                logger.debug("a connection of %s ended: %s", self._path, error)
            finally:
                self._room.release()

    def _answer(self, frame: bytes) -> bytes:
        answers = self._perform(msgpack.unpackb(frame, strict_map_key=False))
        try:
            packed: bytes = msgpack.packb(answers, default=_pack_error)
        except TypeError:  # arrays, which Ray carries without a copy
            packed = NO_ANSWER
        return HEADER.pack(len(packed)) + packed


def _frames(connection: socket.socket) -> Iterator[bytes]:
    """Those that come, until the client closes the connection."""
    buffer = FrameBuffer(MAX_CALL_BYTES)
    while True:
        try:
            data = connection.recv(RECEIVE_BYTES)
        except TimeoutError:
            if buffer.is_empty:
                continue
            raise
        if not data:
            return
        yield from buffer.add(data)


def calls_frame(calls: list[Call]) -> bytes | None:
    """The calls as a frame; None for those that must go through Ray, as they are large or have arrays in them."""
    try:
        packed = msgpack.packb(pack_calls(calls))
    except (TypeError, ValueError, OverflowError):
        return None
    return HEADER.pack(len(packed)) + packed if len(packed) <= MAX_CALL_BYTES else None


def answers_in(frame: bytes) -> list[Answer] | None:
    """The answers of a frame; None if they must be asked for through Ray."""
    return unpack_answers(msgpack.unpackb(frame, ext_hook=_unpack_error, strict_map_key=False)) if frame else None


class FrameBuffer:
    """Makes frames of the bytes that come.

    Args:
        max_bytes: of one; None takes any.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._bytes = bytearray()

    @property
    def is_empty(self) -> bool:
        """Whether no frame has begun."""
        return not self._bytes

    def add(self, data: bytes) -> Iterator[bytes]:
        """The frames that are whole by now.

        Raises:
            ValueError: one would have too many bytes.
        """
        self._bytes += data
        while len(self._bytes) >= HEADER.size:
            (size,) = HEADER.unpack_from(self._bytes)
            if self._max_bytes is not None and size > self._max_bytes:
                raise ValueError(f"a frame of {size} bytes")
            end = HEADER.size + size
            if len(self._bytes) < end:
                return
            frame = bytes(self._bytes[HEADER.size : end])
            del self._bytes[:end]
            yield frame


@contextmanager
def address(path: Path) -> Iterator[str]:
    """What a socket at this path is called in `bind` and `connect`, which take short names only.

    Raises:
        OSError: its folder is not there.
    """
    if len(os.fsencode(path)) <= MAX_ADDRESS_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _pack_error(value: object) -> msgpack.ExtType:
    if isinstance(value, SeedCoreError):
        return msgpack.ExtType(ERROR, msgpack.packb([type(value).__name__, str(value)]))
    raise TypeError(f"{type(value).__name__} goes through Ray")


def _unpack_error(kind: int, data: bytes) -> SeedCoreError:
    name, message = msgpack.unpackb(data)
    error = getattr(errors, name)(message)
    if kind != ERROR or not isinstance(error, SeedCoreError):
        raise ValueError(f"{name} is no error of ours")
    return error
