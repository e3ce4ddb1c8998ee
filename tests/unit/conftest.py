import logging
import os
import sys
from collections.abc import Callable, Iterator
from unittest.mock import patch

import hypothesis
import pytest

from scripts.host.ports import free_port
from scripts.host.settings import HostSettings
from seedcore import application
from seedcore.api import items
from seedcore.settings import load_settings

SetKnobs = Callable[..., None]

# No deadline and no check of slowness: this machine may be as slow as it likes.
hypothesis.settings.register_profile(
    "unit", deadline=None, max_examples=50, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unit")


@pytest.fixture(autouse=True)
def no_application() -> Iterator[None]:
    """Whatever stands in `app/`, these tests are of ours."""
    with patch.object(application, "PACKAGE", "no_application"):
        yield


@pytest.fixture
def knobs() -> Iterator[SetKnobs]:
    """Sets knobs in an environment that has none; `.env` and the defaults stay. Undone after the test."""

    def set_knobs(**values: str) -> None:
        os.environ.update(values)
        forget_settings()

    with patch.dict(os.environ):
        for variable in list(os.environ):
            if variable.lower() in HostSettings.model_fields:
                del os.environ[variable]
        forget_settings()
        yield set_knobs
    forget_settings()


def forget_settings() -> None:
    """And what was made with them. Above all the thread that looks for the actors: gRPC reads the environment in the
    middle of a connect, and crashes the process if a test changes it meanwhile.
    """
    engines = sys.modules.get("seedcore.memory.engines")
    if engines is not None and load_settings.cache_info().currsize:
        engines.end_memory(load_settings())
    load_settings.cache_clear()
    items._manager.cache_clear()


@pytest.fixture
def no_head(knobs: SetKnobs) -> SetKnobs:
    """`knobs` with which no Ray head answers, and nobody waits for one."""
    knobs(RAY_ADDRESS=f"127.0.0.1:{free_port()}", RAY_AUTH_MODE="disabled", LOOKUP_RETRIES="1")
    return knobs


@pytest.fixture(autouse=True)
def same_logging_afterwards() -> Iterator[None]:
    """Much of the code sets up logging for its process, which here is pytest's."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
