"""The HTTP API by path, on the real actors."""

import asyncio
import base64
import json
import math
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from seedcore.api.app import create_app
from seedcore.cluster.bootstrap import bootstrap_actors, get_miss_tracker, get_mw_store
from seedcore.cluster.singletons import singletons
from seedcore.memory.working_memory import MwManager
from seedcore.settings import Settings
from tests.cluster.processes import kill_for_good, paused, pid_of
from tests.server import Connection, serving
from tests.waiting import wait_until_async

PROBLEM = "application/problem+json"
BASE_URL = "http://127.0.0.1:8000"
TRIES = 5


@pytest.fixture
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    app = create_app()
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def api(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL, timeout=60) as client:
        yield client


@pytest.fixture
def organ() -> str:
    return f"/organs/organ-{uuid4().hex[:8]}/items"


async def answered(request: Any, status: int = 200) -> Any:
    """The JSON of an answer that must have this status; an error must be a problem."""
    answer = await request
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.headers["content-type"] == PROBLEM
        assert answer.json()["status"] == status
        assert answer.json()["detail"]
    return answer.json()


async def wait_for_status(api: httpx.AsyncClient, path: str, status: int) -> None:
    async def holds() -> bool:
        return (await api.get(path)).status_code == status

    await wait_until_async(holds)


async def wait_until_ready(api: httpx.AsyncClient) -> None:
    await wait_for_status(api, "/readyz", 200)


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -1, 2**70, 1.5, "", "Grüße 🎭", [], {}, [1, [2, {"three": None}]], {"a": {"b": [1.25, "x"]}}],
    ids=repr,
)
async def test_any_json_value_comes_back_as_it_was(api: httpx.AsyncClient, organ: str, value: Any) -> None:
    assert await answered(api.put(f"{organ}/item", json={"value": value})) == {"kept": 1}
    assert await answered(api.get(f"{organ}/item")) == {"item_id": "item", "value": value, "source": "organ"}


@pytest.mark.parametrize("item_id", ["plain", "with/slash", "a b", "ü🎭", "query", "100%", "?#&", "a/../b"])
async def test_any_text_is_an_item_id(api: httpx.AsyncClient, organ: str, item_id: str) -> None:
    path = f"{organ}/{quote(item_id, safe='')}"
    await answered(api.put(path, json={"value": item_id}))
    assert (await answered(api.get(path)))["item_id"] == item_id
    assert await answered(api.delete(path)) == {"deleted": 1}


async def test_shared_items_are_everybodys(api: httpx.AsyncClient, organ: str, item_id: str) -> None:
    await answered(api.put(f"/shared-items/{item_id}", json={"value": 1}))
    assert await answered(api.get(f"/shared-items/{item_id}")) == {"item_id": item_id, "value": 1, "source": "shared"}
    assert (await answered(api.get(f"{organ}/{item_id}")))["source"] == "shared"
    await answered(api.put(f"{organ}/{item_id}", json={"value": 2}))
    assert (await answered(api.get(f"{organ}/{item_id}")))["value"] == 2
    assert (await answered(api.get(f"/shared-items/{item_id}")))["value"] == 1
    assert await answered(api.delete(f"/shared-items/{item_id}")) == {"deleted": 1}
    await answered(api.delete(f"/shared-items/{item_id}"), 404)


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "1"}], ids=["without a key", "with a key"])
@pytest.mark.parametrize("size", [1, 5_000, 300_000])
async def test_an_answer_is_compact_json(
    api: httpx.AsyncClient, organ: str, item_id: str, headers: dict[str, str], size: int
) -> None:
    value = {"text": "ü🎭" * size, "numbers": [None, True, 1, 1.5]}
    for path, source in ((f"{organ}/{item_id}", "organ"), (f"/shared-items/{item_id}", "shared")):
        await answered(api.put(path, json={"value": value}))
        answer = await api.get(path, headers=headers)
        shown = {"item_id": item_id, "value": value, "source": source}
        assert answer.text == json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
        assert answer.headers["content-type"] == "application/json"


async def test_one_key_on_two_paths_is_of_two_requests(api: httpx.AsyncClient, item_id: str) -> None:
    paths = [f"/organs/a/items/{item_id}%2Fitems%2Fb", f"/organs/a%2Fitems%2F{item_id}/items/b"]
    for path in paths:
        await answered(api.put(path, headers={"Idempotency-Key": item_id}, json={"value": path}))
    assert [(await answered(api.get(path)))["value"] for path in paths] == paths


async def test_a_missing_item_is_a_404_and_a_miss(api: httpx.AsyncClient, organ: str, item_id: str) -> None:
    for _ in range(60):
        assert item_id in (await answered(api.get(f"{organ}/{item_id}"), 404))["detail"]
    hot = {item["item_id"]: item for item in await answered(api.get("/hot-items", params={"n": 100}))}
    assert hot[item_id]["misses"] - hot[item_id]["overcount"] <= 60 <= hot[item_id]["misses"]
    assert len(await answered(api.get("/hot-items", params={"n": 1}))) == 1
    await answered(api.get("/hot-items", params={"n": -1}), 422)


async def test_deleting_what_is_not_there_is_a_404(api: httpx.AsyncClient, organ: str) -> None:
    await answered(api.delete(f"{organ}/nothing"), 404)


async def test_many_items(api: httpx.AsyncClient, organ: str, item_id: str) -> None:
    items = {f"{item_id}-{number}": {"number": number} for number in range(200)}
    assert await answered(api.put(organ, json={"items": items})) == {"kept": 200}
    await answered(api.put("/shared-items", json={"items": {f"{item_id}-shared": "s"}}))
    wanted = [*items, f"{item_id}-shared", f"{item_id}-missing"]
    found = await answered(api.post(f"{organ}/query", json={"item_ids": wanted}))
    assert {item["item_id"]: item["value"] for item in found["items"]} == {**items, f"{item_id}-shared": "s"}
    assert found["missing"] == [f"{item_id}-missing"]
    found = await answered(api.post("/shared-items/query", json={"item_ids": wanted[-2:]}))
    assert [item["item_id"] for item in found["items"]] == [f"{item_id}-shared"]


async def test_many_items_are_kept_all_or_none(api: httpx.AsyncClient, organ: str) -> None:
    await answered(api.put(organ, json={"items": {"good": 1, "x" * 300: 2}}), 422)
    await answered(api.get(f"{organ}/good"), 404)


async def test_an_item_with_a_time_to_live_expires(api: httpx.AsyncClient, organ: str) -> None:
    await answered(api.put(f"{organ}/item", json={"value": 1, "ttl_s": 1}))
    await answered(api.put(f"{organ}/long", json={"value": 2, "ttl_s": 3600}))
    await wait_for_status(api, f"{organ}/item", 404)
    assert (await answered(api.get(f"{organ}/long")))["value"] == 2


async def test_values_from_python_are_shown_as_json(api: httpx.AsyncClient) -> None:
    memory = MwManager(f"organ-{uuid4().hex[:8]}")
    await memory.set_item_async("item", {"bytes": b"\x00\xff", "nan": math.nan, "tuple": (1, 2)})
    shown = (await answered(api.get(f"/organs/{memory.organ_id}/items/item")))["value"]
    assert shown == {"bytes": base64.b64encode(b"\x00\xff").decode(), "nan": None, "tuple": [1, 2]}


async def test_what_the_api_wrote_mw_manager_reads(api: httpx.AsyncClient) -> None:
    memory = MwManager(f"organ-{uuid4().hex[:8]}")
    await answered(api.put(f"/organs/{memory.organ_id}/items/item", json={"value": [1, "two"]}))
    assert await memory.get_item_async("item") == [1, "two"]


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("item", {"value": 1, "ttl_s": 0}, "ttl_s"),
        ("item", {"ttl_s": 1}, "value"),
        ("x" * 300, {"value": 1}, "KEY_MAX_LENGTH"),
    ],
)
async def test_a_bad_put_keeps_nothing(api: httpx.AsyncClient, organ: str, path: str, body: Any, word: str) -> None:
    assert word in (await answered(api.put(f"{organ}/{path}", json=body), 422))["detail"]
    await answered(api.get(f"{organ}/item"), 404)


async def test_a_value_larger_than_a_request_may_be(api: httpx.AsyncClient, organ: str, settings: Settings) -> None:
    body = json.dumps({"value": "x" * settings.api_max_body_bytes})
    assert "API_MAX_BODY_BYTES" in (await answered(api.put(f"{organ}/item", content=body), 413))["detail"]
    await answered(api.get(f"{organ}/item"), 404)


async def test_a_small_put_whose_client_went_away_does_not_land_over_a_later_one(
    app: FastAPI, api: httpx.AsyncClient, organ: str
) -> None:
    await answered(api.put(f"{organ}/item", json={"value": "first"}))
    body = json.dumps({"value": "x"}).encode()
    actor = await asyncio.to_thread(get_mw_store)
    async with serving(app) as port:
        for number in range(TRIES):
            with paused(actor):
                client = await Connection.to(port)
                await client.put(len(body), body, f"{organ}/item")
                answer = asyncio.create_task(client.answer())
                assert not (await asyncio.wait([answer], timeout=0.05 * number))[0]  # at whatever it is meanwhile
                client.close()
                with suppress(asyncio.IncompleteReadError, ConnectionError):
                    await answer
            await answered(api.put(f"{organ}/item", json={"value": number}))
            for _ in range(5):
                await answered(api.put(f"{organ}/other", json={"value": number}))
                assert (await answered(api.get(f"{organ}/item")))["value"] == number


async def test_ready_and_where_the_actors_are(api: httpx.AsyncClient, settings: Settings) -> None:
    await wait_until_ready(api)
    readiness = await answered(api.get("/readyz"))
    assert readiness["ready"] is True
    assert set(readiness["actors"]) == {"mw", "shared_cache", "miss_tracker"}
    shown = await answered(api.get("/actors"))
    assert shown["namespace"] == settings.ray_namespace
    mw = next(actor for actor in shown["actors"] if actor["name"] == "mw")
    assert mw["pid"] == await asyncio.to_thread(lambda: pid_of(get_mw_store()))
    assert mw["restarts"] is not None
    assert mw["stats"]["items"] >= 0


async def test_not_ready_says_which_actor_and_why(api: httpx.AsyncClient, organ: str, settings: Settings) -> None:
    await wait_until_ready(api)
    await answered(api.put(f"{organ}/item", json={"value": "kept"}))
    await asyncio.to_thread(lambda: kill_for_good(get_mw_store()))
    answer = await api.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["ready"] is False
    assert answer.json()["actors"]["mw"]["ready"] is False
    assert answer.json()["actors"]["mw"]["reason"]
    assert answer.json()["actors"]["shared_cache"] == {"ready": True, "reason": ""}
    refused = await answered(api.put(f"{organ}/item", json={"value": "not kept"}), 503)
    assert "make bootstrap" in refused["detail"]
    await answered(api.get("/healthz"))
    await asyncio.to_thread(bootstrap_actors)
    await wait_until_ready(api)
    assert (await answered(api.get(f"{organ}/item")))["value"] == "kept"


async def test_the_start_up_creates_what_is_missing(settings: Settings) -> None:
    await asyncio.to_thread(lambda: kill_for_good(get_mw_store()))
    app = create_app()
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE_URL) as api,
    ):
        await wait_until_ready(api)


# Metrics


async def metric(api: httpx.AsyncClient, name: str, **labels: str) -> float:
    """The value of one sample."""
    answer = await api.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return float(sample.value)
    return 0.0


async def test_metrics_of_every_actor(api: httpx.AsyncClient, organ: str, settings: Settings) -> None:
    await wait_until_ready(api)
    for row in singletons(settings):
        assert await metric(api, "seedcore_actor_up", actor=row.name) == 1
        assert await metric(api, "seedcore_actor_stale_code", actor=row.name) == 0
    before = {name: await metric(api, f"seedcore_actor_{name}", actor="mw") for name in ("items", "writes_total")}
    await answered(api.put(f"{organ}/item", json={"value": 1}))
    assert await metric(api, "seedcore_actor_items", actor="mw") == before["items"] + 1
    assert await metric(api, "seedcore_actor_writes_total", actor="mw") > before["writes_total"]
    assert await metric(api, "seedcore_actor_bytes", actor="mw") > 0


@pytest.mark.parametrize(
    ("method", "path", "host", "route", "status"),
    [
        ("GET", "/organs/nobody/items/nothing", None, "/organs/{organ_id}/items/{item_id:path}", "404"),
        ("GET", "/healthz", None, "/healthz", "200"),
        ("GET", "/no-such-page", None, "other", "404"),
        ("BREW", "/healthz", None, "/healthz", "405"),
        ("GET", "/healthz", "rebound.example", "other", "421"),
    ],
)
async def test_metrics_of_requests(
    api: httpx.AsyncClient, method: str, path: str, host: str | None, route: str, status: str
) -> None:
    await wait_until_ready(api)
    labels = {"method": method if method == "GET" else "other", "route": route, "status": status}
    before = await metric(api, "seedcore_http_request_seconds_count", **labels)
    answer = await api.request(method, path, headers={"Host": host} if host else {})
    assert str(answer.status_code) == status
    assert await metric(api, "seedcore_http_request_seconds_count", **labels) >= before + 1


async def test_an_actor_that_is_gone_is_not_up(api: httpx.AsyncClient) -> None:
    await wait_until_ready(api)
    kill_for_good(get_miss_tracker())
    assert await metric(api, "seedcore_actor_up", actor="miss_tracker") == 0
    bootstrap_actors()
    assert await metric(api, "seedcore_actor_up", actor="miss_tracker") == 1
