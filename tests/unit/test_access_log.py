import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from seedcore.api import problems, request_records
from seedcore.api.request_records import RequestRecords
from seedcore.errors import ActorUnavailableError
from seedcore.logs import configure_logging
from seedcore.settings import LogFormat, LogLevel, Settings
from tests.unit.conftest import SetKnobs

PATH = "/organs/agent/items/plan%0Aof today"


@pytest.fixture
async def api(knobs: SetKnobs) -> AsyncIterator[httpx.AsyncClient]:
    """Answers, says why it cannot, fails."""
    knobs(RAY_NAMESPACE="here")
    app = FastAPI()
    problems.install(app)
    app.add_middleware(RequestRecords)

    @app.get("/organs/{organ_id}/items/{item_id}")
    async def _get(organ_id: str, item_id: str) -> str:
        return item_id

    @app.put("/organs/{organ_id}/items/{item_id}")
    async def _put(organ_id: str, item_id: str) -> None:
        raise ActorUnavailableError("mw did not answer")

    @app.delete("/organs/{organ_id}/items/{item_id}")
    async def _delete(organ_id: str, item_id: str) -> None:
        raise ZeroDivisionError

    @app.get("/readyz")
    async def _ready() -> None:
        raise ActorUnavailableError("mw did not answer")

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


def configure(level: LogLevel, log_format: LogFormat = LogFormat.JSON) -> None:
    configure_logging(Settings().model_copy(update={"log_level": level, "log_format": log_format}))


def records(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return [record for record in found if record["name"] == request_records.__name__]


async def test_a_request_is_logged_with_organ_item_namespace_and_duration(
    api: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(LogLevel.DEBUG)
    assert (await api.get(PATH)).json() == "plan\nof today"
    (record,) = records(capsys)
    assert record["duration_s"] > 0
    assert f"in {record['duration_s'] * 1000:.1f} ms" in record["message"]
    wanted = {"organ": "agent", "item": "plan\nof today", "namespace": "here", "method": "GET", "status": 200}
    assert {name: record[name] for name in wanted} == wanted


async def test_it_is_quiet_about_what_works_and_about_who_only_watches(
    api: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(LogLevel.INFO)
    await api.get(PATH)
    assert (await api.get("/nothing")).status_code == 404
    assert (await api.get("/readyz")).status_code == 503
    assert records(capsys) == []


async def test_what_failed_is_logged_once_with_its_reason(
    api: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(LogLevel.INFO)
    assert (await api.put(PATH)).status_code == 503
    (record,) = records(capsys)
    assert record["levelname"] == "ERROR"
    assert (record["status"], record["organ"]) == (503, "agent")
    assert record["message"].endswith(": mw did not answer")
    assert (await api.delete(PATH)).status_code == 500
    assert [record["status"] for record in records(capsys)] == [500]


async def test_a_slow_request_is_a_warning(
    api: httpx.AsyncClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_records, "SLOW_S", 0.0)
    configure(LogLevel.INFO)
    await api.get(PATH)
    assert [record["levelname"] for record in records(capsys)] == ["WARNING"]


async def test_an_item_id_with_a_line_break_makes_no_second_line(
    api: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(LogLevel.DEBUG, LogFormat.TEXT)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    await api.get(PATH)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if request_records.__name__ in line]
    assert "GET /organs/agent/items/plan%0Aof%20today 200 in " in line
