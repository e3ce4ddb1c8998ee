"""HTTP as curl, browsers and proxies speak it, byte by byte, on a real server."""

import gzip
import json
from collections.abc import AsyncIterator
from urllib.parse import quote

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel

from seedcore.api.app import create_app
from seedcore.memory.working_memory import MwManager
from tests.server import Connection, serving
from tests.unit.conftest import SetKnobs, forget_settings

MAX_BODY_BYTES = 2048
ITEM = "/organs/agent/items/plan"
BODY = b'{"value": 1}'


@pytest.fixture
async def app(no_head: SetKnobs, memory_without_ray: None) -> AsyncIterator[FastAPI]:
    """The application with a memory of its own."""
    no_head(API_MAX_BODY_BYTES=str(MAX_BODY_BYTES))
    yield create_app()
    forget_settings()  # and the managers of this memory


@pytest.fixture
async def connection(app: FastAPI) -> AsyncIterator[Connection]:
    async with serving(app) as port:
        connection = await Connection.to(port)
        yield connection
        connection.close()


async def ask(
    connection: Connection, method: str, path: str, body: bytes = b"", *, version: str = "1.1", **headers: str
) -> httpx.Response:
    """The answer to a request whose path is sent as it is."""
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}"] if body else []
    await connection.send("\r\n".join([*lines, "", ""]).encode() + body)
    return await connection.answer(has_body=method != "HEAD")


async def put(connection: Connection, path: str, value: object) -> httpx.Response:
    body = json.dumps({"value": value}).encode()
    return await ask(connection, "PUT", path, body, content_type="application/json")


# HEAD


@pytest.mark.parametrize(
    "path",
    ["/", "/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", "/page/page.js", ITEM, f"{ITEM}-missing", "/no"],
)
async def test_head_is_answered_as_get_without_the_body(connection: Connection, path: str) -> None:
    await put(connection, ITEM, 1)
    head = await ask(connection, "HEAD", path)
    got = await ask(connection, "GET", path)  # on the same connection, where no byte of a body is in its way
    assert head.status_code == got.status_code
    assert head.headers["content-type"] == got.headers["content-type"]
    assert head.headers["content-length"] != "0"
    if path != "/metrics":  # which has counted the first
        assert head.headers["content-length"] == got.headers["content-length"]


async def test_a_route_for_head_of_ones_own_is_the_one_that_answers(app: FastAPI) -> None:
    router = APIRouter()
    router.get("/own")(lambda: "get")
    router.head("/own", status_code=204)(lambda: None)
    app.include_router(router)
    async with serving(app) as port:
        connection = await Connection.to(port)
        await connection.send(b"HEAD /own HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await connection.answer(has_body=False)).status_code == 204
        connection.close()


# Ids in a path


IDS = [
    "a/b", "/", "//", "a//b", "a/items/b", "a/", "/a", ".", "..", "a/../b", "?", "#", "%", "%2F", "%252F", "a b", "a+b",
    ";", "&=", "\\", "ü🎭", "e\u0301", "a\nb", "\n", "\0", "query",
]  # fmt: skip


@pytest.mark.parametrize("text", IDS, ids=repr)
async def test_any_id_that_python_takes_is_reached_over_http(connection: Connection, text: str) -> None:
    encoded = quote(text, safe="")
    for path, organ, item in (
        (f"/organs/{encoded}/items/plan", text, "plan"),
        (f"/organs/agent/items/{encoded}", "agent", text),
    ):
        assert (await put(connection, path, text)).json() == {"kept": 1}
        assert await MwManager(organ).get_item_async(item) == text
        assert (await ask(connection, "GET", path)).json()["item_id"] == item
        found = await ask(
            connection,
            "POST",
            f"{path.rpartition('/')[0]}/query",
            json.dumps({"item_ids": [item]}).encode(),
            content_type="application/json",
        )
        assert [one["item_id"] for one in found.json()["items"]] == [item]
        assert (await ask(connection, "DELETE", path)).json() == {"deleted": 1}
        assert await MwManager(organ).get_item_async(item) is None
    shared = f"/shared-items/{encoded}"
    assert (await put(connection, shared, text)).json() == {"kept": 1}
    assert (await ask(connection, "GET", shared)).json()["item_id"] == text


@pytest.mark.parametrize(
    "path", ["/organs/a%2fb/items/c/d", "/organs/%61%2Fb/items/c%2Fd", "/organs/a%2Fb/items/c%2fd"]
)
async def test_one_id_has_many_spellings(connection: Connection, path: str) -> None:
    await put(connection, "/organs/a%2Fb/items/c%2Fd", path)
    assert (await ask(connection, "GET", path)).json()["value"] == path


@pytest.mark.parametrize(
    "path", ["/organs/%FF/items/plan", "/organs/agent/items/%FF", "/shared-items/a%C3", ITEM + "%ED%A0%80"]
)
async def test_an_id_that_is_not_utf_8_is_refused(connection: Connection, path: str) -> None:
    for answer in (await put(connection, path, 1), await ask(connection, "GET", path)):
        assert answer.status_code == 422
        assert "nicode" in answer.json()["detail"]


# Bodies


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content_type": "application/x-www-form-urlencoded"},
        {"content_type": "text/json"},
        {"content_type": "json"},
    ],
    ids=repr,
)
async def test_a_body_that_does_not_say_that_it_is_json_is_refused_by_its_header(
    connection: Connection, headers: dict[str, str]
) -> None:
    answer = await ask(connection, "PUT", ITEM, BODY, **headers)
    assert answer.status_code == 415
    assert "header Content-Type" in answer.json()["detail"]
    assert headers.get("content_type", "is missing") in answer.json()["detail"]
    assert (await ask(connection, "GET", ITEM)).status_code == 404


async def test_so_it_is_at_a_route_of_ones_own(app: FastAPI) -> None:
    class Own(BaseModel):
        value: int

    router = APIRouter()

    @router.put("/own")
    def own(body: Own, n: int = 0) -> int:
        return body.value

    app.include_router(router)
    async with serving(app) as port:
        connection = await Connection.to(port)
        assert (await ask(connection, "PUT", "/own", BODY)).status_code == 415
        assert (await ask(connection, "PUT", "/own?n=x", BODY, content_type="application/json")).status_code == 422
        assert (await ask(connection, "PUT", "/own")).status_code == 422  # no body at all
        connection.close()


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/a+json"])
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\r\n"], ids=["nothing", "byte order mark", "line"])
async def test_json_is_read_as_editors_and_tools_write_it(
    connection: Connection, content_type: str, before: bytes
) -> None:
    assert (await ask(connection, "PUT", ITEM, before + BODY, content_type=content_type)).status_code == 200


async def test_of_two_members_of_one_name_the_last_counts(connection: Connection) -> None:
    await ask(connection, "PUT", ITEM, b'{"value": 1, "value": {"a": 2, "a": 3}}', content_type="application/json")
    assert (await ask(connection, "GET", ITEM)).json()["value"] == {"a": 3}


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP"])
async def test_an_encoded_body_is_refused_by_its_header(connection: Connection, encoding: str) -> None:
    headers = {"content_type": "application/json", "content_encoding": encoding}
    answer = await ask(connection, "PUT", ITEM, gzip.compress(BODY), **headers)
    assert answer.status_code == 415
    assert f"header Content-Encoding: '{encoding}'" in answer.json()["detail"]
    assert answer.headers["accept-encoding"] == "identity"
    plain = {**headers, "content_encoding": "identity"}
    assert (await ask(connection, "PUT", ITEM, BODY, **plain)).status_code == 200


@pytest.mark.parametrize(("size", "status"), [(len(BODY), 100), (MAX_BODY_BYTES + 1, 413)])
async def test_who_asks_before_it_sends_a_body_is_told(connection: Connection, size: int, status: int) -> None:
    head = [
        f"PUT {ITEM} HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {size}",
        "Expect: 100-continue",
    ]  # fmt: skip
    await connection.send("\r\n".join([*head, "", ""]).encode())
    assert (await connection.answer(has_body=status != 100)).status_code == status
    if status == 100:
        await connection.send(BODY)
        assert (await connection.answer()).status_code == 200


# Connections


async def test_a_connection_goes_on_after_a_refusal(connection: Connection) -> None:
    for path, body, status in ((ITEM, b"{", 422), ("/no", BODY, 404), ("/healthz", BODY, 405), (ITEM, BODY, 200)):
        assert (await ask(connection, "PUT", path, body, content_type="application/json")).status_code == status


async def test_a_client_of_http_1_0_is_answered(connection: Connection) -> None:
    assert (await ask(connection, "PUT", ITEM, BODY, version="1.0", content_type="application/json")).status_code == 200


@pytest.mark.parametrize("headers", [{"Accept": "text/xml"}, {"Range": "bytes=0-1"}, {"If_None_Match": "*"}], ids=repr)
async def test_what_no_item_has_is_not_looked_at(connection: Connection, headers: dict[str, str]) -> None:
    await put(connection, ITEM, 1)
    answer = await ask(connection, "GET", ITEM, b"", **headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")


async def test_a_parameter_that_is_given_twice_or_is_unknown(connection: Connection) -> None:
    assert (await ask(connection, "GET", "/hot-items?n=many&n=1&m=2")).status_code == 200


async def test_a_path_of_the_longest_id_is_read(connection: Connection) -> None:
    longest = quote("🎭" * 256)
    path = f"/organs/{longest}/items/{longest}"
    assert (await put(connection, path, 1)).status_code == 200
    assert (await put(connection, path + "x", 1)).status_code == 422
