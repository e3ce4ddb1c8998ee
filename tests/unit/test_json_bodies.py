"""Large bodies are read in a thread; their answers are those of small ones."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from seedcore.api.app import create_app
from seedcore.api.problems import MAX_ERRORS
from seedcore.cluster.actor_client import INLINE_BYTES
from tests.unit.conftest import SetKnobs

JSON = {"Content-Type": "application/json"}
ITEM = "/organs/agent/items/plan"
ITEMS = "/organs/agent/items"
PADDING = b" " * INLINE_BYTES  # white space means nothing to JSON


@pytest.fixture
async def api(no_head: SetKnobs) -> AsyncIterator[httpx.AsyncClient]:
    """The application, without a Ray head and without waiting for one."""
    transport = httpx.ASGITransport(create_app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        yield client


@pytest.mark.parametrize("headers", [JSON, {}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x+json"}])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{]",
        b"[]",
        b"null",
        b'"text"',
        b"\xff",
        b"{}",
        b'{"value": 1}',
        b'{"value": 1} x',
        b'{"value": 1, "ttl_s": 0}',
        b'{"value": 1, "ttl_s": NaN}',
        b'{"value": 1, "ttl": 5, "other": 6}',
        b'{"value": {"a": [1, -Infinity]}}',
        b'{"value": 1e400}',
        b'{"value": "\\ud800"}',
        b'{"value": ' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"value": ' + b"[" * 2000 + b"]" * 2000 + b"}",
        b'{"items": {"a": NaN, "b": 1, "c": [NaN]}}',
        b'{"items": {"a": 1, "": 2}}',
        b'{"items": [1]}',
    ],
    ids=lambda body: repr(body[:40]),
)
async def test_a_large_body_has_the_answer_of_a_small_one(
    api: httpx.AsyncClient, body: bytes, headers: dict[str, str]
) -> None:
    for path in (ITEM, ITEMS):
        small, large = [
            await api.put(path, content=content, headers=headers) for content in (body, body and body + PADDING)
        ]
        assert large.status_code == small.status_code >= 400
        assert large.json() == small.json()


async def test_a_large_item_goes_on_to_the_actor(api: httpx.AsyncClient) -> None:
    answer = await api.put(ITEM, json={"value": ["x" * 100] * 10_000, "ttl_s": 5})
    assert answer.status_code == 503, answer.text
    assert "make up" in answer.json()["detail"]


def told(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [error["where"] for error in answer.json()["errors"]]


async def test_of_a_million_errors_the_first_are_told(api: httpx.AsyncClient) -> None:
    numbers = range(100_000)
    bodies: list[tuple[str, Any, str]] = [
        (ITEM, {"value": 1, **{f"x{number}": 0 for number in numbers}}, "body.x{}"),
        (ITEMS, {"items": {f"x{number}": float("nan") for number in numbers}}, "body.items.x{}"),
        ("/shared-items/query", {"item_ids": list(numbers)}, "body.item_ids.{}"),
    ]
    for path, body, where in bodies:
        method = "POST" if path.endswith("query") else "PUT"
        answer = await api.request(method, path, content=json.dumps(body), headers=JSON)
        assert told(answer) == [where.format(number) for number in range(MAX_ERRORS)]


async def test_a_missing_member_is_told_beside_many_unknown_ones(api: httpx.AsyncClient) -> None:
    body = {f"x{number}": 0 for number in range(1000)}
    answer = await api.put(ITEM, json=body | {"ttl_s": -1})
    assert told(answer) == ["body.value", "body.ttl_s", *(f"body.x{number}" for number in range(MAX_ERRORS - 2))]
