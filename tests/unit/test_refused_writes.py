"""A write that cannot be kept is refused as a whole before anything is sent, and costs nobody an item."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from seedcore.actors.calls import Call
from seedcore.actors.shared_cache import SharedCache
from seedcore.cluster.actor_client import ActorClient
from seedcore.errors import InvalidKeyError, InvalidTtlError, InvalidValueError, ValueTooLargeError
from seedcore.memory.items import Items
from seedcore.memory.working_memory import MwManager
from seedcore.settings import load_settings
from seedcore.store.limits import EVERYBODY
from seedcore.store.read_report import ReadReport
from tests.unit.conftest import SetKnobs
from tests.unit.performing import do

Set = Callable[[str, Mapping[str, Any], float | None], None]
MAX_BYTES = 400_000  # of the cache; an array of nearly so many gets a file


@pytest.fixture(autouse=True)
def bounds(no_head: SetKnobs, tmp_path: Path) -> None:
    """Bounds that are reached soon; no actor can be reached."""
    no_head(
        STATE_DIR=str(tmp_path),
        KEY_MAX_LENGTH="10",
        VALUE_MAX_BYTES="1000000",
        SHARED_CACHE_MAX_BYTES=str(MAX_BYTES),
        LOG_LEVEL="ERROR",
    )


@pytest.fixture(params=["blocking", "async"])
def set_many(request: pytest.FixtureRequest) -> Set:
    """Calls a method of a manager for many items, in one of both forms."""
    memory = MwManager("organ")

    def blocking(method: str, items: Mapping[str, Any], ttl_s: float | None) -> None:
        getattr(memory, method)(items, ttl_s)

    def on_a_loop(method: str, items: Mapping[str, Any], ttl_s: float | None) -> None:
        asyncio.run(getattr(memory, f"{method}_async")(items, ttl_s))

    return blocking if request.param == "blocking" else on_a_loop


@pytest.mark.parametrize("method", ["set_items", "set_global_items"])
@pytest.mark.parametrize(
    ("more", "ttl_s", "error"),
    [
        ({"": 2}, None, InvalidKeyError),
        ({"too long a key": 2}, None, InvalidKeyError),
        ({5: 2}, None, InvalidKeyError),
        ({}, 0, InvalidTtlError),
        ({"bad": object()}, None, InvalidValueError),
        ({"large": bytes(1_000_000)}, None, ValueTooLargeError),
        ({"large": np.zeros(1_000_001, np.uint8)}, None, ValueTooLargeError),
    ],
    ids=["no key", "long key", "a number as key", "no time", "no data", "large", "large array"],
)
def test_one_bad_item_refuses_the_good_ones_beside_it(
    set_many: Set, method: str, more: dict[str, Any], ttl_s: float | None, error: type[Exception]
) -> None:
    with pytest.raises(error):
        set_many(method, {"good": 1, **more}, ttl_s)


@pytest.mark.parametrize("value", [bytes(MAX_BYTES), np.zeros(MAX_BYTES + 1, np.uint8)], ids=["bytes", "array"])
def test_a_value_larger_than_the_whole_cache_is_refused(set_many: Set, value: Any) -> None:
    with pytest.raises(ValueTooLargeError, match=f"'large' has .* SHARED_CACHE_MAX_BYTES allows {MAX_BYTES}"):
        set_many("set_global_items", {"small": 1, "large": value}, None)


class Here:
    """In place of an `ActorClient`: its actor is in this process."""

    def __init__(self, actor: SharedCache) -> None:
        self._actor = actor

    def call(self, method: str, *arguments: object) -> Any:
        return do(self._actor, method, *arguments)

    def write(self, method: str, *arguments: object, ahead: Sequence[Call] = ()) -> Any:
        return self.call(method, *arguments)


@pytest.mark.parametrize("missing", [-1, 60, 200], ids=["larger", "larger with its file's name", "smaller"])
@pytest.mark.parametrize("sees_file", [True, False], ids=["in a file", "beside"])
def test_a_shared_value_about_as_large_as_the_cache_is_refused_or_kept(sees_file: bool, missing: int) -> None:
    settings = load_settings()
    cache = SharedCache("shared.sqlite3")
    client = cast("ActorClient", Here(cache))
    report = ReadReport({client: print}, client, print)
    shared = Items(client, settings, report, {"SHARED_CACHE_MAX_BYTES": MAX_BYTES}, evicts=True)
    if not sees_file:
        shared._file._ask_at = float("inf")
    shared.set_many(EVERYBODY, shared.pack({"small": "kept"}), None)
    try:
        large = shared.pack({"large": np.zeros(MAX_BYTES - missing, np.uint8)})
        assert shared.sees_file == sees_file
        shared.set_many(EVERYBODY, large, None)
    except ValueTooLargeError:
        assert do(cache, "get_many", EVERYBODY, ["small"])  # a refused write evicts nothing
    else:
        assert do(cache, "get_many", EVERYBODY, ["large"])  # what was acknowledged is there
