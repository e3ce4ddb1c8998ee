"""The OpenAPI document is true: what tests and clients that are made from it do with the API that it describes."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from importlib import import_module
from itertools import product
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
from fastapi import FastAPI

from seedcore.api.app import create_app
from tests.server import serving
from tests.unit.conftest import SetKnobs, forget_settings

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = 10  # for each operation, of the ways in which a request may be right or wrong
PHASES = ("examples", "coverage", "fuzzing", "stateful")
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


@pytest.fixture
async def app(no_head: SetKnobs, memory_without_ray: None) -> AsyncIterator[FastAPI]:
    """The application with a memory of its own."""
    no_head()
    yield create_app()
    forget_settings()  # and the managers of this memory


def test_each_error_is_a_problem(app: FastAPI) -> None:
    document = app.openapi()
    answers = {
        (path, method, status): answer.get("content")
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        for status, answer in operation["responses"].items()
        if int(status) >= 400 and (path, status) != ("/readyz", "503")
    }
    assert {status for _, _, status in answers} == {
        "400", "404", "408", "413", "415", "421", "422", "500", "503", "507",
    }  # fmt: skip
    assert all(content == PROBLEM for content in answers.values())
    assert "HTTPValidationError" not in repr(document)


def test_an_error_that_a_route_declares_itself_stays(app: FastAPI) -> None:
    app.get("/own/{item}", responses={422: {"description": "own"}, 404: {"description": "nothing"}})(lambda item: item)
    responses = app.openapi()["paths"]["/own/{item}"]["get"]["responses"]
    assert (responses["422"]["description"], responses["404"]["description"]) == ("own", "nothing")
    assert responses["421"]["content"] == PROBLEM


def test_the_bounds_of_ids_are_those_of_the_knob(app: FastAPI, knobs: SetKnobs) -> None:
    knobs(KEY_MAX_LENGTH="77")
    document = app.openapi()
    for parameter in document["paths"]["/organs/{organ_id}/items/{item_id}"]["get"]["parameters"]:
        assert (parameter["schema"]["minLength"], parameter["schema"]["maxLength"]) == (1, 77)
    assert document["components"]["schemas"]["ItemsIn"]["properties"]["items"]["propertyNames"]["maxLength"] == 77
    assert document["components"]["schemas"]["ItemIds"]["properties"]["item_ids"]["items"]["maxLength"] == 77


async def run(*command: str, cwd: Path) -> None:
    """Run a program of the virtual environment, which must end well."""
    programs = Path(sys.executable).parent
    process = await asyncio.create_subprocess_exec(
        str(programs / command[0]),
        *command[1:],
        cwd=cwd,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


async def test_schemathesis_finds_nothing(app: FastAPI, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    async with serving(app) as port:
        await run(
            "st",
            f"--config-file={CONFIGURATION}",
            "run",
            f"http://127.0.0.1:{port}/openapi.json",
            f"--max-examples={EXAMPLES}",
            f"--report-json-path={report}",
            cwd=tmp_path,
        )
    phases = json.loads(report.read_text())["phases"]
    assert {name: phase["status"] for name, phase in phases.items()} == dict.fromkeys(PHASES, "success")


def generated(tag: str, operation: str) -> Any:
    """The module of the client for an operation, by how its name begins."""
    package = import_module(f"generated_client.api.{tag}")
    (name,) = (module.name for module in iter_modules(package.__path__) if module.name.startswith(operation))
    return import_module(f"{package.__name__}.{name}")


async def test_a_generated_client_puts_gets_and_deletes(
    app: FastAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(app) as port:
        address = f"http://127.0.0.1:{port}"
        await run(
            "openapi-python-client",
            "generate",
            f"--url={address}/openapi.json",
            "--meta=none",
            "--output-path=generated_client",
            "--fail-on-warning",
            cwd=tmp_path,
        )
        monkeypatch.syspath_prepend(tmp_path)
        client = import_module("generated_client")
        models = import_module("generated_client.models")
        one = {verb: generated("organ_items", f"{verb}_organ_item_").asyncio for verb in ("put", "get", "delete")}
        async with client.Client(base_url=address) as api:
            for organ, item in product(("agent", "a/b", "ü 🎭?#%2F"), ("plan", "c/d/", "query")):
                put = await one["put"](organ, item, client=api, body=models.ItemIn(value=[1, organ]))
                assert put == models.Kept(kept=1)
                found = await one["get"](organ, item, client=api)
                assert (found.item_id, found.value, found.source) == (item, [1, organ], "organ")
                assert await one["delete"](organ, item, client=api) == models.Deleted(deleted=1)
                missing = await one["get"](organ, item, client=api)
                assert isinstance(missing, models.Problem)
                assert (missing.status, missing.title) == (404, "Not Found")
