"""The bounds of request bodies, on real sockets."""

import asyncio
import json
from collections.abc import Iterator
from http import HTTPStatus

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from seedcore.api.middleware import LARGE_BYTES, MAX_LARGE, BodyLimit
from tests.server import Connection, Served, api_process, serving
from tests.waiting import wait_until_async

MIB = 2**20
LARGE = 2 * LARGE_BYTES
SOON_S = 0.3


@pytest.fixture(scope="module")
def api() -> Iterator[Served]:
    with api_process() as served:
        yield served


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"GET /", b"x"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ", b"x"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"X: y\r\n"),
        (b"PUT /hot-items HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x"),
        (b"PUT /hot-items HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    ],
    ids=["path", "header", "headers", "chunk extension", "trailers"],
)
async def test_an_endless_head_is_refused(api: Served, start: bytes, more: bytes) -> None:
    before = api.process.memory_info().rss
    connection = await Connection.to(api.port)
    assert not await connection.send(start + more * (32 * MIB // len(more)))
    assert api.process.memory_info().rss < before + 16 * MIB


# Turns and deadlines


class Held:
    """An application that answers with the size of the body, once it may."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.started: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.started.append(request.url.path)
        size = len(await request.body())
        if request.method == "PUT":
            await self.may_answer.wait()
        await PlainTextResponse(str(size))(scope, receive, send)

    async def wait_for(self, *paths: str) -> None:
        async def have_started() -> bool:
            return self.started == list(paths)

        await wait_until_async(have_started)


@pytest.fixture
async def held() -> Held:
    return Held()


async def test_large_bodies_take_turns_and_nobody_else_waits(held: Held) -> None:
    async with serving(BodyLimit(held, LARGE)) as port:
        large = [await Connection.to(port) for _ in range(MAX_LARGE + 1)]
        for connection in large:
            await connection.put(LARGE, b"x" * LARGE, "/large")
        await held.wait_for(*["/large"] * MAX_LARGE)
        small = await Connection.to(port)
        await small.put(LARGE_BYTES, b"x" * LARGE_BYTES, "/small")
        await held.wait_for(*["/large"] * MAX_LARGE, "/small")
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/nothing")).text == "0"
        held.may_answer.set()
        assert [(await connection.answer()).text for connection in large] == [str(LARGE)] * len(large)


async def test_a_client_that_goes_away_gives_its_turn_back(held: Held) -> None:
    async with serving(BodyLimit(held, LARGE)) as port:
        gone = [await Connection.to(port) for _ in range(MAX_LARGE)]
        for connection in gone:
            await connection.put(LARGE, b"x" * (LARGE - 1), "/gone")
        last = await Connection.to(port)
        await last.put(LARGE, b"x" * LARGE, "/last")
        for connection in gone:
            connection.close()
        held.may_answer.set()
        assert (await last.answer()).text == str(LARGE)
        assert held.started == ["/last"]


async def test_an_answer_that_has_begun_keeps_nobody_waiting() -> None:
    begun, may_end = [], asyncio.Event()

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        begun.append(len(await Request(scope, receive).body()))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await may_end.wait()
        await send({"type": "http.response.body"})

    async def have_begun() -> bool:
        return begun == [LARGE] * (MAX_LARGE + 1)

    async with serving(BodyLimit(stream, LARGE)) as port:
        connections = [await Connection.to(port) for _ in range(MAX_LARGE + 1)]
        for connection in connections:
            await connection.put(LARGE, b"x" * LARGE)
        await wait_until_async(have_begun)
        may_end.set()


def assert_refused(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    for word in words:
        assert word in answer.json()["detail"]


@pytest.mark.parametrize("sent", [0, LARGE - 1])
async def test_a_body_that_does_not_come_is_refused_and_gives_its_turn_back(held: Held, sent: int) -> None:
    async with serving(BodyLimit(held, LARGE, timeout_s=SOON_S)) as port:
        slow = [await Connection.to(port) for _ in range(MAX_LARGE)]
        for connection in slow:
            await connection.put(LARGE, b"x" * sent)
        for connection in slow:
            assert_refused(await connection.answer(), 408, "Send it again")
        other = await Connection.to(port)
        await other.put(LARGE, b"x" * LARGE)
        held.may_answer.set()
        assert (await other.answer()).text == str(LARGE)


async def test_the_answer_is_a_problem(held: Held) -> None:
    async with serving(BodyLimit(held, LARGE)) as port:
        connection = await Connection.to(port)
        await connection.put(LARGE + 1)
        answer = await connection.answer()
        assert_refused(answer, 413, f"API_MAX_BODY_BYTES={LARGE}")
        assert json.loads(answer.content)["title"] == HTTPStatus(413).phrase  # Python 3.13 has another


@pytest.mark.parametrize("length", [b"", b"Content-Length: 0\r\n", b"Content-Length: 1\r\n"])
async def test_a_body_in_chunks_is_bounded_whatever_length_is_told(held: Held, length: bytes) -> None:
    async with serving(BodyLimit(held, LARGE)) as port:
        connection = await Connection.to(port)
        head = b"PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n" + length
        await connection.send(head + b"\r\n%x\r\n%s\r\n0\r\n\r\n" % (LARGE + 1, b"x" * (LARGE + 1)))
        assert_refused(await connection.answer(), 413, f"API_MAX_BODY_BYTES={LARGE}")
