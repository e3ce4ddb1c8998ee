"""The bounds of request bodies, on real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from seedcore.api.body_limit import MAX_WAITING, PROGRESS_BYTES, SMALL_BODY_BYTES, SMALL_BUDGET_BYTES, BodyLimit
from tests.server import Connection, Served, api_process, serving
from tests.waiting import wait_until_async

MIB = 2**20
LARGE = 2 * SMALL_BODY_BYTES
SOON_S = 0.3
NEVER_S = 600.0


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


# Waiting for room


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


@pytest.fixture
async def port(held: Held) -> AsyncIterator[int]:
    """A server with room for one large body; nothing times out."""
    async with serving(BodyLimit(held, LARGE, LARGE, room_timeout_s=NEVER_S, body_timeout_s=NEVER_S)) as port:
        yield port
        held.may_answer.set()


async def test_requests_wait_in_order_until_there_is_room(held: Held, port: int) -> None:
    connections = [await Connection.to(port) for _ in range(4)]
    for number, connection in enumerate(connections):
        await connection.put(LARGE, b"x" * LARGE, f"/{number}")
        await held.wait_for("/0")
    held.may_answer.set()
    assert [(await connection.answer()).text for connection in connections] == [str(LARGE)] * 4
    assert held.started == ["/0", "/1", "/2", "/3"]


async def test_a_small_body_and_none_never_wait_for_large_ones(held: Held, port: int) -> None:
    large = [await Connection.to(port) for _ in range(3)]
    for connection in large:
        await connection.put(LARGE, b"x" * LARGE, "/large")
    await held.wait_for("/large")
    small = await Connection.to(port)
    await small.put(SMALL_BODY_BYTES, b"x" * SMALL_BODY_BYTES, "/small")
    await held.wait_for("/large", "/small")
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{port}/nothing")).text == "0"


async def test_small_bodies_wait_for_each_other(held: Held, port: int) -> None:
    number = SMALL_BUDGET_BYTES // SMALL_BODY_BYTES
    connections = [await Connection.to(port) for _ in range(number + 1)]
    for connection in connections[:-1]:
        await connection.put(SMALL_BODY_BYTES, b"x" * SMALL_BODY_BYTES, "/first")
    await held.wait_for(*["/first"] * number)
    await connections[-1].put(1, b"x", "/last")
    held.may_answer.set()
    assert (await connections[-1].answer()).text == "1"
    assert held.started[-1] == "/last"


async def test_a_body_of_unknown_length_takes_the_largest_share(held: Held, port: int) -> None:
    chunked, other = await Connection.to(port), await Connection.to(port)
    await chunked.send(
        b"PUT /chunked HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    )
    await held.wait_for("/chunked")
    await other.put(LARGE, b"x" * LARGE, "/other")
    held.may_answer.set()
    assert (await chunked.answer()).text == "1"
    assert (await other.answer()).text == str(LARGE)


@pytest.mark.parametrize("sent", [0, 1, LARGE])
async def test_a_client_that_goes_away_while_it_waits_gives_its_place_back(held: Held, port: int, sent: int) -> None:
    first, gone, last = [await Connection.to(port) for _ in range(3)]
    await first.put(LARGE, b"x" * LARGE, "/first")
    await held.wait_for("/first")
    await gone.put(LARGE, b"x" * min(sent, LARGE - 1), "/gone")
    await last.put(LARGE, b"x" * LARGE, "/last")
    gone.close()
    held.may_answer.set()
    assert (await last.answer()).status_code == 200
    assert held.started == ["/first", "/last"]


async def test_a_client_that_goes_away_in_its_body_gives_its_share_back(held: Held, port: int) -> None:
    gone, last = await Connection.to(port), await Connection.to(port)
    await gone.put(LARGE, b"x" * (LARGE - 1), "/gone")
    await last.put(LARGE, b"x" * LARGE, "/last")
    gone.close()
    await held.wait_for("/last")


# Deadlines


def assert_refused(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    for word in words:
        assert word in answer.json()["detail"]


async def test_who_waits_too_long_for_room_is_told_to_come_back(held: Held) -> None:
    async with serving(BodyLimit(held, LARGE, LARGE, room_timeout_s=SOON_S)) as port:
        first, second = await Connection.to(port), await Connection.to(port)
        await first.put(LARGE, b"x" * LARGE, "/first")
        await held.wait_for("/first")
        await second.put(LARGE, b"x" * LARGE, "/second")
        answer = await second.answer()
        assert_refused(answer, 503, "no room", "API_MAX_BUFFERED_BYTES")
        assert int(answer.headers["retry-after"]) > 0
        held.may_answer.set()
        assert (await first.answer()).status_code == 200


async def test_when_too_many_wait_the_next_is_told_at_once(held: Held, port: int) -> None:
    connections = [await Connection.to(port) for _ in range(MAX_WAITING + 2)]
    for connection in connections[:-1]:
        await connection.put(LARGE, b"x")
    await connections[-1].put(LARGE, b"x")
    answers = [asyncio.create_task(connection.answer()) for connection in connections]
    done, _ = await asyncio.wait(answers, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    assert_refused(done.pop().result(), 503, f"{MAX_WAITING} requests wait")
    assert not done
    for answer in answers:
        answer.cancel()
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("sent", [0, 1, PROGRESS_BYTES + 1])
async def test_a_body_that_does_not_come_is_refused_and_gives_its_share_back(held: Held, sent: int) -> None:
    async with serving(BodyLimit(held, LARGE, LARGE, body_timeout_s=SOON_S)) as port:
        slow, other = await Connection.to(port), await Connection.to(port)
        await slow.put(LARGE, b"x" * sent)
        assert_refused(await slow.answer(), 408, "Send it again")
        await other.put(LARGE, b"x" * LARGE)
        held.may_answer.set()
        assert (await other.answer()).text == str(LARGE)


async def test_a_slow_body_that_makes_progress_is_read(held: Held) -> None:
    held.may_answer.set()
    size = 4 * PROGRESS_BYTES
    async with serving(BodyLimit(held, size, size, body_timeout_s=2.0)) as port:
        connection = await Connection.to(port)
        await connection.put(size)
        for _ in range(4):
            await asyncio.sleep(0.6)  # all in all longer than the deadline
            await connection.send(b"x" * PROGRESS_BYTES)
        assert (await connection.answer()).text == str(size)


async def test_the_answer_is_a_problem(held: Held) -> None:
    async with serving(BodyLimit(held, LARGE, LARGE)) as port:
        connection = await Connection.to(port)
        await connection.put(LARGE + 1)
        answer = await connection.answer()
        assert_refused(answer, 413, f"API_MAX_BODY_BYTES={LARGE}")
        assert json.loads(answer.content)["title"] == "Request Entity Too Large"
