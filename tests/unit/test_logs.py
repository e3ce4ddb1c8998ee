import json
import logging
from typing import Any

import pytest

from seedcore.logs import configure_logging
from seedcore.settings import LogFormat, LogLevel, Settings
from tests.unit.conftest import SetKnobs

READY = "✅ MwManager for organ='%s' ready"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

logger = logging.getLogger("seedcore.a.module")


@pytest.fixture
def configured(knobs: SetKnobs) -> Any:
    """Sets up logging in a format and from a level on."""

    def configure(log_format: LogFormat, level: LogLevel = LogLevel.INFO) -> None:
        knobs(LOG_FORMAT=log_format.value, LOG_LEVEL=level.value)
        configure_logging(Settings())

    return configure


def test_a_json_line_is_an_object_with_time_level_name_and_message(
    configured: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    configured(LogFormat.JSON)
    logger.info(READY, "Grüße")
    logger.error('two\nlines and a "quote"')
    ready, error = capsys.readouterr().err.splitlines()
    assert READY % "Grüße" in ready, "not as people grep for it"
    record = json.loads(ready)
    assert record["message"] == READY % "Grüße"
    assert record["levelname"] == "INFO"
    assert record["name"] == logger.name
    assert record["asctime"]
    assert json.loads(error)["message"] == 'two\nlines and a "quote"'


def test_a_traceback_stays_in_its_json_line(configured: Any, capsys: pytest.CaptureFixture[str]) -> None:
    configured(LogFormat.JSON)
    try:
        raise ZeroDivisionError("the reason")
    except ZeroDivisionError:
        logger.exception("it failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ZeroDivisionError: the reason" in json.loads(line)["exc_info"]


def test_a_text_line_has_level_name_and_message(configured: Any, capsys: pytest.CaptureFixture[str]) -> None:
    configured(LogFormat.TEXT)
    logger.warning(READY, "agent")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"{logger.name}: " + READY % "agent")
    assert " WARNING " in line


@pytest.mark.parametrize("log_format", LogFormat)
@pytest.mark.parametrize("level", LogLevel)
def test_only_records_from_the_level_on_are_shown(
    configured: Any, capsys: pytest.CaptureFixture[str], log_format: LogFormat, level: LogLevel
) -> None:
    configured(log_format, level)
    for name in LEVELS:
        logger.log(logging.getLevelName(name), "a record of level %s.", name)
    output = capsys.readouterr()
    shown = [name for name in LEVELS if f"of level {name}." in output.err]
    assert shown == list(LEVELS[LEVELS.index(level.value) :])
    assert output.out == ""


def test_set_up_twice_each_record_is_shown_once(configured: Any, capsys: pytest.CaptureFixture[str]) -> None:
    configured(LogFormat.TEXT)
    configured(LogFormat.JSON)
    logger.info("once")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "once"


@pytest.mark.parametrize("name", ["uvicorn", "uvicorn.error"])
def test_uvicorns_records_have_the_same_format_and_are_shown_once(
    configured: Any, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    uvicorns = logging.getLogger(name)
    uvicorns.addHandler(logging.StreamHandler())  # as uvicorn does by default
    uvicorns.propagate = False
    configured(LogFormat.JSON)
    uvicorns.error("Started server process")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["name"] == name


def test_an_access_log_that_is_turned_off_stays_off() -> None:
    access = logging.getLogger("uvicorn.access")
    access.handlers.clear()  # what uvicorn --no-access-log does
    access.propagate = False
    try:
        configure_logging(Settings())
        assert not access.hasHandlers()
    finally:
        access.propagate = True
