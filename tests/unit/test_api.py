import asyncio
import json
import logging
import re
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from types import ModuleType
from typing import Any
from unittest.mock import patch

import httpx
import pytest
import ray
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from starlette.routing import Route

from seedcore import application as seedcore_application
from seedcore import errors
from seedcore.api import middleware, problems
from seedcore.api.app import ROUTERS, create_app
from seedcore.api.middleware import Idempotency
from seedcore.cluster.singletons import singletons
from seedcore.event_loop import INLINE_BYTES
from seedcore.settings import load_settings
from tests.unit.conftest import SetKnobs
from tests.waiting import wait_until

MAX_BODY_BYTES = 2048
JSON = {"Content-Type": "application/json"}
ITEM = "/organs/agent/items/plan"
PROBLEM = "application/problem+json"

OPERATIONS = {
    ("/healthz", "get"),
    ("/readyz", "get"),
    ("/actors", "get"),
    ("/metrics", "get"),
    ("/status", "get"),
    ("/failures", "get"),
    ("/work", "get"),
    ("/actors/{name}/log", "get"),
    ("/hot-items", "get"),
    ("/organs/{organ_id}/items", "put"),
    ("/organs/{organ_id}/items/query", "post"),
    ("/organs/{organ_id}/items/{item_id}", "get"),
    ("/organs/{organ_id}/items/{item_id}", "put"),
    ("/organs/{organ_id}/items/{item_id}", "delete"),
    ("/shared-items", "put"),
    ("/shared-items/query", "post"),
    ("/shared-items/{item_id}", "get"),
    ("/shared-items/{item_id}", "put"),
    ("/shared-items/{item_id}", "delete"),
}
# These answer without a head, in their own way.
HEALTH = {
    (path, "get")
    for path in ("/healthz", "/readyz", "/actors", "/metrics", "/status", "/failures", "/work", "/actors/{name}/log")
}


@pytest.fixture
async def api(no_head: SetKnobs) -> AsyncIterator[httpx.AsyncClient]:
    """The application, without a Ray head and without waiting for one."""
    no_head(API_MAX_BODY_BYTES=str(MAX_BODY_BYTES))
    async with client_of(create_app()) as client:
        yield client


def client_of(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://localhost:8000")


def assert_problem(answer: httpx.Response, status: int, *words: str) -> None:
    """One shape for all errors (RFC 9457), with each of the words in its explanation."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    body = answer.json()
    assert body["status"] == status
    assert body["title"] == HTTPStatus(status).phrase
    assert body["type"] == "about:blank"
    for word in words:
        assert word in body["detail"], body["detail"]


def a_body_for(path: str, method: str) -> dict[str, Any] | None:
    """A good one for the operation."""
    bodies: dict[tuple[str, bool], dict[str, Any]] = {
        ("put", True): {"value": 1},
        ("put", False): {"items": {"plan": 1}},
        ("post", False): {"item_ids": ["plan"]},
    }
    return bodies.get((method, "{item_id}" in path))


async def without_host(client: httpx.AsyncClient, path: str) -> httpx.Response:
    request = client.build_request("GET", path)
    del request.headers["host"]
    return await client.send(request)


# Health and documentation


async def test_healthz_answers_without_a_cluster(api: httpx.AsyncClient) -> None:
    answer = await api.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


async def test_readyz_says_503_and_why_for_each_singleton_without_a_cluster(api: httpx.AsyncClient) -> None:
    answer = await api.get("/readyz")
    assert answer.status_code == 503
    body = answer.json()
    assert body["ready"] is False
    assert set(body["actors"]) == {row.name for row in singletons(load_settings())}
    for actor in body["actors"].values():
        assert actor["ready"] is False
        assert actor["reason"]


async def test_the_page_has_all_its_parts_and_takes_nothing_from_elsewhere(api: httpx.AsyncClient) -> None:
    page = await api.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {"/page/page.css", "/page/page.js"} <= set(addresses)
    for address in addresses:
        assert address.startswith(("/", "data:,")), address
    for name, kind in (("page.css", "text/css"), ("page.js", "javascript")):
        part = await api.get(f"/page/{name}")
        assert part.status_code == 200
        assert kind in part.headers["content-type"]
        assert "://" not in part.text.replace("http://www.w3.org/2000/svg", "").replace("`${location.protocol}//", "")
    assert (await api.get("/page/../app.py")).status_code == 404


async def test_the_status_without_a_head_says_what_is_wrong(api: httpx.AsyncClient) -> None:
    status = (await api.get("/status")).json()
    assert [actor["running"] for actor in status["actors"]] == [False] * len(singletons(load_settings()))
    assert status["nodes"] == []
    assert status["nodes_reason"]
    assert status["hot_items"] is None


@pytest.mark.parametrize("path", ["/failures", "/work", "/actors/mw/log"])
async def test_what_rays_dashboard_tells_is_missing_without_a_head_with_the_reason(
    api: httpx.AsyncClient, path: str
) -> None:
    answer = await api.get(path)
    assert answer.status_code == 200
    *nothing, reason = answer.json().values()
    assert not any(nothing)
    assert load_settings().ray_address in reason


async def test_metrics_without_a_head_say_that_no_actor_is_up(api: httpx.AsyncClient) -> None:
    answer = await api.get("/metrics")
    assert answer.status_code == 200
    for row in singletons(load_settings()):
        assert f'seedcore_actor_up{{actor="{row.name}"}} 0.0' in answer.text
    assert re.search(r"(?m)^seedcore_lookup_retries_total \d+\.0$", answer.text)


async def test_the_document_describes_every_operation(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    operations = {
        (path, method): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert set(operations) == OPERATIONS
    for name, operation in operations.items():
        assert operation["description"], name
        assert operation["tags"], name
    assert document["info"]["title"] == "SeedCore"


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_the_documentation_needs_no_network(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path)
    assert answer.status_code == 200
    assert "/openapi.json" in answer.text
    parts = re.findall(r'<(?:script|link)[^>]* (?:src|href)="([^"]+)"', answer.text)
    assert len(parts) >= 2
    for part in parts:
        assert (await api.get(part)).status_code == 200, part


# Guards


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost",
        "localhost.",
        "localhost.:8000",
        "localhost:8000",
        "127.0.0.1:1",
        "seedcore-api:8000",
        "[::1]",
        "[::1]:8000",
    ],
)
async def test_the_machines_own_names_are_served(api: httpx.AsyncClient, host: str) -> None:
    assert (await api.get("/healthz", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example",
        "rebound.example:8000",
        "localhost.rebound.example",
        "127.0.0.1.rebound.example",
        "127.0.0.2",
        "[::2]:8000",
        "",
        ":8000",
        "[::1].rebound.example",
        "localhost:8000@rebound.example",
        "localhost..",
        ".",
        "::1",
        "*",
        "localhost, rebound.example",
    ],
)
async def test_other_hosts_are_refused_whatever_they_ask_for(api: httpx.AsyncClient, host: str) -> None:
    for path in ("/healthz", "/no/such/path", "/docs"):
        answer = await api.get(path, headers={"Host": host})
        assert_problem(answer, 421, "API_ALLOWED_HOSTS", "localhost")


async def test_a_request_without_a_host_is_refused(api: httpx.AsyncClient) -> None:
    assert_problem(await without_host(api, "/healthz"), 421)


async def test_the_knob_says_which_hosts_are_served(knobs: SetKnobs) -> None:
    knobs(API_ALLOWED_HOSTS=" dev.example , Other.example:8000,[FE80::1]:8000")
    async with client_of(create_app()) as client:
        for host in ("DEV.example:80", "dev.example.", "other.example", "[fe80::1]"):
            assert (await client.get("/healthz", headers={"Host": host})).status_code == 200, host
        assert (await client.get("/healthz", headers={"Host": "localhost"})).status_code == 200  # the health check's
        assert (await client.get("/healthz", headers={"Host": "third.example"})).status_code == 421


async def test_a_page_on_the_web_is_given_no_permission(api: httpx.AsyncClient) -> None:
    origin = {"Origin": "https://rebound.example"}
    asked = await api.options(ITEM, headers={**origin, "Access-Control-Request-Method": "PUT"})
    assert asked.status_code == 405
    for answer in (asked, await api.get("/healthz", headers=origin)):
        assert not any(name.startswith("access-control-") for name in answer.headers)


@pytest.mark.parametrize("content_type", [{}, {"Content-Type": "text/plain"}], ids=["none", "text"])
async def test_what_a_web_page_may_send_unasked_is_not_read_as_json(
    api: httpx.AsyncClient, content_type: dict[str, str]
) -> None:
    answer = await api.post("/shared-items/query", content=b'{"item_ids": []}', headers=content_type)
    assert_problem(answer, 415, "header Content-Type", "application/json")


def body_of(size: int) -> bytes:
    """A JSON body that is not valid, so that no item is asked for, of exactly this size."""
    return b'{"no such member": "' + b"x" * (size - 22) + b'"}'


async def test_a_body_of_the_largest_size_is_read(api: httpx.AsyncClient) -> None:
    body = body_of(MAX_BODY_BYTES)
    assert len(body) == MAX_BODY_BYTES
    assert_problem(await api.put(ITEM, content=body, headers=JSON), 422, "no such member")


async def test_a_body_above_the_limit_is_refused_by_its_length(api: httpx.AsyncClient) -> None:
    answer = await api.put(ITEM, content=body_of(MAX_BODY_BYTES + 1), headers=JSON)
    assert_problem(answer, 413, f"API_MAX_BODY_BYTES={MAX_BODY_BYTES}")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("length", [{}, {"Content-Length": "10"}], ids=["no length", "a length that is not true"])
async def test_an_endless_body_is_refused_as_soon_as_it_is_too_large(
    api: httpx.AsyncClient, length: dict[str, str]
) -> None:
    chunk = b"x" * 512
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent <= 100 * MAX_BODY_BYTES:
            sent += len(chunk)
            yield chunk

    answer = await api.put(ITEM, content=chunks(), headers={**JSON, **length})
    assert_problem(answer, 413, "API_MAX_BODY_BYTES")
    assert sent <= MAX_BODY_BYTES + 2 * len(chunk)


async def test_a_body_in_many_chunks_is_read_whole(api: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for byte in body_of(300):
            yield bytes([byte])

    assert_problem(await api.put(ITEM, content=chunks(), headers=JSON), 422, "no such member")


# Requests that are not right


async def test_unknown_paths_and_methods_are_problems(api: httpx.AsyncClient) -> None:
    assert_problem(await api.get("/no/such/path"), 404)
    answer = await api.post("/healthz")
    assert_problem(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD"
    assert (await api.patch(ITEM)).headers["allow"] == "GET, HEAD, PUT, DELETE"
    assert (await api.put("/page/page.js")).status_code == 405


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (b"[]", "body"),
        (b'"text"', "body"),
        (b"{}", "body.value"),
        (b'{"ttl_s": 5}', "body.value"),
        (b'{"value": 1, "ttl": 5}', "body.ttl"),
        (b'{"value": 1, "ttl_s": 0}', "body.ttl_s"),
        (b'{"value": 1, "ttl_s": -1}', "body.ttl_s"),
        (b'{"value": 1, "ttl_s": "5"}', "body.ttl_s"),
        (b'{"value": 1, "ttl_s": true}', "body.ttl_s"),
        (b'{"value": 1, "ttl_s": [5]}', "body.ttl_s"),
    ],
)
async def test_a_body_that_is_not_an_item_is_refused_by_its_place(
    api: httpx.AsyncClient, body: bytes, where: str
) -> None:
    answer = await api.put(ITEM, content=body, headers=JSON)
    assert_problem(answer, 422, where)
    assert answer.json()["errors"][0]["where"].startswith(where)


@pytest.mark.parametrize("padding", [b"", b" " * INLINE_BYTES], ids=["small", "large"])
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff",
        b'{"value": 1} x',
        b'{"value": NaN}',
        b'{"value": 1, "ttl_s": NaN}',
        b'{"value": [1, -Infinity]}',
        b'{"value": 1e400}',
        b'{"value": 1' + b"0" * 250 + b"e99}",
        b'{"items": {"a": ' + b"9" * 400 + b".0}}",
        b'{"value": ' + b"[" * 900 + b"]" * 900 + b"}",
    ],
    ids=lambda body: repr(body[:40]),
)
async def test_a_body_that_is_not_json_is_refused(no_head: SetKnobs, body: bytes, padding: bytes) -> None:
    async with client_of(create_app()) as api:
        for path in (ITEM, "/organs/agent/items"):
            assert_problem(await api.put(path, content=body + padding, headers=JSON), 422, "body")


async def test_what_only_looks_like_too_large_a_number_is_kept(api: httpx.AsyncClient) -> None:
    for body in (b'{"value": "1e400"}', b'{"value": 1e200}', b'{"value": "' + b"1" * 400 + b'"}'):
        assert_problem(await api.put(ITEM, content=body, headers=JSON), 503)  # as far as it goes without a head


async def test_text_that_is_not_unicode_is_refused_wherever_it_stands(api: httpx.AsyncClient) -> None:
    for body in ({"value": "\ud800"}, {"value": ["\ud800"]}, {"value": {"\ud800": 1}}, {"value": 1, "\ud800": 2}):
        assert_problem(await api.put(ITEM, content=json.dumps(body), headers=JSON), 422)


LONG = "k" * 5000  # longer than the largest KEY_MAX_LENGTH


@pytest.mark.parametrize(
    ("method", "path", "body", "words"),
    [
        ("GET", f"/organs/{LONG}/items/plan", None, ["organ_id", "KEY_MAX_LENGTH"]),
        ("PUT", f"/organs/{LONG}/items/plan", {"value": 1}, ["organ_id", "KEY_MAX_LENGTH"]),
        ("DELETE", f"/organs/{LONG}/items/plan", None, ["organ_id", "KEY_MAX_LENGTH"]),
        ("GET", f"/organs/agent/items/{LONG}", None, ["item_id", "KEY_MAX_LENGTH"]),
        ("DELETE", f"/organs/agent/items/{LONG}", None, ["item_id", "KEY_MAX_LENGTH"]),
        ("GET", "/organs/agent/items/", None, ["item_id", "empty"]),
        ("GET", f"/shared-items/{LONG}", None, ["item_id", "KEY_MAX_LENGTH"]),
        ("DELETE", "/shared-items/", None, ["item_id", "empty"]),
        ("PUT", "/organs/agent/items", {"items": {"": 1, "good": 2}}, ["item_id", "empty"]),
        ("PUT", "/shared-items", {"items": {"\ud800": 1}}, ["body", "hex escape"]),
        ("PUT", "/shared-items", {"items": [1]}, ["body.items"]),
        ("POST", "/organs/agent/items/query", {"item_ids": "plan"}, ["body.item_ids"]),
        ("POST", "/organs/agent/items/query", {"item_ids": ["good", 5]}, ["body.item_ids.1"]),
        ("POST", "/shared-items/query", {"item_ids": ["good", ""]}, ["item_id", "empty"]),
        ("POST", "/shared-items/query", {"ids": []}, ["body.ids"]),
        ("GET", "/hot-items?n=-1", None, ["query.n"]),
        ("GET", "/hot-items?n=100000000", None, ["query.n"]),
        ("GET", "/hot-items?n=many", None, ["query.n"]),
    ],
)
async def test_bad_keys_and_numbers_are_refused(
    api: httpx.AsyncClient, method: str, path: str, body: Any, words: list[str]
) -> None:
    content = None if body is None else json.dumps(body)
    answer = await api.request(method, path, content=content, headers=JSON)
    assert_problem(answer, 422, *words)


# An Idempotency-Key


@pytest.mark.parametrize("path", [ITEM, "/shared-items/plan"])
@pytest.mark.parametrize("key", ["", "x" * (middleware.KEY_MAX_LENGTH + 1)], ids=["empty", "too long"])
async def test_a_key_that_is_none_is_refused(api: httpx.AsyncClient, path: str, key: str) -> None:
    answer = await api.put(path, headers={"idempotency-KEY": key}, json={"value": 1})
    assert_problem(answer, 422, "header Idempotency-Key")


async def test_the_document_tells_of_the_key_where_something_is_written(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    told = {
        (path, method)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if any(parameter["name"] == middleware.KEY_HEADER for parameter in operation.get("parameters", []))
    }
    assert told == {(path, method) for path, method in OPERATIONS if method in ("put", "delete")}


# One route for each path and method


def test_each_declared_route_is_the_only_one_for_its_path_and_method() -> None:
    served = [
        (route.path_format, method)
        for route in create_app().routes
        if isinstance(route, Route)
        for method in route.methods or ()
    ]
    assert {(path.replace(":path", ""), method.lower()) for path, method in served} >= OPERATIONS
    assert len(set(served)) == len(served)


@pytest.mark.parametrize(("path", "method"), sorted(OPERATIONS))
@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "1"}], ids=["without a key", "with a key"])
@pytest.mark.parametrize("place", ["application", "router"])
async def test_what_a_router_depends_on_is_asked_at_each_route(
    path: str, method: str, headers: dict[str, str], place: str
) -> None:
    async def refuse(request: Request) -> None:
        raise HTTPException(HTTPStatus.FORBIDDEN, f"not for {request.method}")

    login = [Depends(refuse)]
    app = FastAPI(dependencies=login if place == "application" else [])
    for router in ROUTERS:
        app.include_router(router, dependencies=login if place == "router" else [])
    problems.install(app)
    app.add_middleware(Idempotency)
    async with client_of(app) as client:
        answer = await client.request(
            method,
            path.format(organ_id="agent", item_id="plan", name="mw"),
            headers=headers,
            json=a_body_for(path, method),
        )
    assert_problem(answer, 403, f"not for {method.upper()}")


# The application's own router


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module as app/routes.py may be."""
    routes = ModuleType("own_application.routes")
    monkeypatch.setitem(sys.modules, "own_application", ModuleType("own_application"))
    monkeypatch.setitem(sys.modules, routes.__name__, routes)
    with patch.object(seedcore_application, "PACKAGE", "own_application"):
        yield routes
    seedcore_application._load.cache_clear()


async def test_a_router_of_ones_own_keeps_its_prefix_and_its_dependencies(application: Any, knobs: SetKnobs) -> None:
    knobs()

    async def refuse() -> None:
        raise HTTPException(HTTPStatus.FORBIDDEN, "not for you")

    inner = APIRouter(prefix="/inner")
    inner.get("/guarded", dependencies=[Depends(refuse)])(lambda: 1)
    application.router = APIRouter(prefix="/own")
    application.router.include_router(inner)
    application.router.get("/open")(lambda: {"answer": 42})
    async with client_of(create_app()) as client:
        assert (await client.get("/own/open")).json() == {"answer": 42}
        assert_problem(await client.get("/own/inner/guarded"), 403, "not for you")
        assert {"/own/open", "/own/inner/guarded"} <= set((await client.get("/openapi.json")).json()["paths"])


@pytest.mark.parametrize("path", ["/healthz", "/organs/{organ}/items/{id}"])
def test_a_router_with_a_path_of_ours_is_refused_by_its_path(application: Any, path: str, knobs: SetKnobs) -> None:
    knobs()
    application.router = APIRouter()
    application.router.get(path)(lambda: 1)
    with pytest.raises(errors.InvalidAppError, match=f"app/routes.py declares paths that the API has: {path}"):
        create_app()


async def test_too_large_a_value_is_refused_by_its_knob(api: httpx.AsyncClient, knobs: SetKnobs) -> None:
    knobs(VALUE_MAX_BYTES="1024")
    answer = await api.put("/organs/agent-with-small-values/items/plan", json={"value": "x" * 1024})
    assert_problem(answer, 413, "'plan'", "VALUE_MAX_BYTES allows 1024")


# Without a cluster


@pytest.mark.parametrize(("path", "method"), sorted(OPERATIONS - HEALTH))
async def test_without_a_head_every_operation_on_items_says_503_and_where_it_looked(
    api: httpx.AsyncClient, path: str, method: str
) -> None:
    answer = await api.request(method, path.format(organ_id="agent", item_id="plan"), json=a_body_for(path, method))
    assert_problem(answer, 503, "RAY_ADDRESS", load_settings().ray_address, "make up")


# Errors of all kinds


@pytest.fixture
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


STATUSES: dict[type[errors.SeedCoreError], int] = {
    errors.SeedCoreError: 500,
    errors.ClusterUnreachableError: 503,
    errors.AuthenticationFailedError: 503,
    errors.VersionMismatchError: 500,
    errors.ActorNotFoundError: 503,
    errors.ActorUnavailableError: 503,
    errors.BootstrapError: 503,
    errors.InvalidAppError: 500,
    errors.InvalidSingletonError: 500,
    errors.ActorFailedError: 500,
    errors.BlockingCallError: 500,
    errors.InvalidKeyError: 422,
    errors.InvalidValueError: 422,
    errors.InvalidTtlError: 422,
    errors.UnreadableItemsError: 422,
    errors.ValueTooLargeError: 413,
    errors.EngineUnavailableError: 503,
    errors.StoreUnavailableError: 503,
    errors.StoreFullError: 507,
    errors.StoreDamagedError: 503,
    errors.ItemDamagedError: 500,
    errors.StoreFencedError: 500,
    errors.RequestAbandonedError: 500,
}


def test_every_error_of_ours_has_a_status() -> None:
    ours = {value for value in vars(errors).values() if isinstance(value, type) and value.__module__ == errors.__name__}
    assert ours == set(STATUSES)


async def ask_for_an_error(error: Exception) -> httpx.Response:
    app = FastAPI()
    problems.install(app)

    @app.get("/")
    async def fail() -> None:
        raise error

    async with client_of(app) as client:
        return await client.get("/")


async def test_a_connection_that_ends_after_an_unexpected_error_is_not_used_again() -> None:
    answer = await ask_for_an_error(ZeroDivisionError())
    assert_problem(answer, 500, "the API's log has the traceback")
    assert answer.headers["connection"] == "close"


async def test_a_status_that_nobody_has_registered_is_answered() -> None:
    answer = await ask_for_an_error(HTTPException(499, "not for you"))
    assert answer.status_code == 499
    assert answer.json() == {"type": "about:blank", "title": "Error", "status": 499, "detail": "not for you"}


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(("kind", "status"), STATUSES.items())
async def test_an_error_of_ours_keeps_its_explanation(kind: type[errors.SeedCoreError], status: int) -> None:
    assert_problem(await ask_for_an_error(kind("what to do: Grüße 🎭")), status, "what to do: Grüße 🎭")


@pytest.mark.usefixtures("quiet")
async def test_an_unexpected_error_tells_nothing_of_the_inside() -> None:
    answer = await ask_for_an_error(RuntimeError("a secret of the inside"))
    assert_problem(answer, 500, "log")
    assert "secret" not in answer.text


@pytest.mark.usefixtures("quiet")
async def test_bootstrap_is_tried_again_whatever_ray_raises(no_head: SetKnobs) -> None:
    no_head(RAY_ADDRESS="auto")
    app = create_app()
    with patch.object(ray, "init", side_effect=RuntimeError("the head is gone")) as init:
        async with app.router.lifespan_context(app):
            await asyncio.to_thread(wait_until, lambda: init.call_count > 1)


async def test_many_requests_at_once_are_each_answered_for_themselves(api: httpx.AsyncClient) -> None:
    paths = [f"/shared-items/{'k' * (4097 + number)}" for number in range(50)]
    answers = await asyncio.gather(*(api.get(path) for path in paths))
    for number, answer in enumerate(answers):
        assert_problem(answer, 422, f"{4097 + number} characters")


async def test_polling_without_a_head_says_why_and_leaves_no_threads_behind(api: httpx.AsyncClient) -> None:
    await api.get("/actors")
    before = threading.active_count()
    for path in ("/readyz", "/actors") * 10:
        answer = await api.get(path)
        assert load_settings().ray_address in answer.text, answer.text
    wait_until(lambda: threading.active_count() <= before, timeout_s=30)  # one may be ending just now
