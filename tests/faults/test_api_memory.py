"""The memory of the API's process, whatever is sent to it at once; needs no Ray and no Docker."""

import asyncio
from collections import Counter

import httpx

from seedcore.api.middleware import MAX_LARGE
from seedcore.settings import load_settings
from tests.server import Connection, api_process

# What the API may take beyond what it has after its start.
TIMES_A_BODY = 36  # the worst one as Python objects 30, its bytes twice, and what the allocator holds back
WAITING_BYTES = 650 * 1024  # twice what uvicorn reads at once, of a body that waits for its turn
CONNECTION_BYTES = 64 * 1024  # of a header that is not complete
IDLE_CONNECTIONS = 1000
UPLOADS = 24
WORST = b'{"":0},'  # seven bytes that become a dict


def worst_body(size: int) -> bytes:
    """A valid body of this size which takes the most memory."""
    start, end = b'{"value": [', b"0]}"
    return (start + WORST * ((size - len(start) - len(end)) // len(WORST)) + end).ljust(size)


async def test_memory_stays_bounded_whatever_comes_at_once() -> None:
    with api_process() as api:
        settings = load_settings()
        bound = (
            api.process.memory_info().rss
            + TIMES_A_BODY * MAX_LARGE * settings.api_max_body_bytes
            + UPLOADS * WAITING_BYTES
            + IDLE_CONNECTIONS * CONNECTION_BYTES
        )
        assert bound < 1.5 * 2**30  # of API_MEMORY=2g; the rest is for the node's own processes
        body = worst_body(settings.api_max_body_bytes)
        statuses: Counter[int] = Counter()

        async def upload() -> None:
            connection = await Connection.to(api.port)
            sending = asyncio.create_task(connection.put(len(body), body))
            answer = await connection.answer()
            statuses[answer.status_code] += 1
            assert "make up" in answer.json()["detail"]
            connection.close()
            await sending

        async def ask_for_health() -> None:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{api.port}", timeout=30) as client:
                while statuses.total() < UPLOADS:
                    assert (await client.get("/healthz")).status_code == 200

        idle = [await Connection.to(api.port) for _ in range(IDLE_CONNECTIONS)]
        await asyncio.gather(ask_for_health(), *(upload() for _ in range(UPLOADS)))
        for connection in idle:
            connection.close()
        assert statuses == {503: UPLOADS}  # there is no head
        assert api.peak_bytes < bound
