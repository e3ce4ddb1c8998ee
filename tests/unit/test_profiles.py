"""What a stack of py-spy's counts as."""

import pytest

from benchmarks.profiles import parts


@pytest.mark.parametrize(
    ("inner", "part"),
    [
        (
            "StoreReader.get (seedcore/store/sqlite/store_reader.py)",
            "seedcore/store/sqlite/store_reader: StoreReader.get",
        ),
        ("unpackb (msgpack/__init__.py)", "msgpack"),
        ("_run_once (asyncio/base_events.py)", "asyncio"),
        ("_find_and_load (<frozen importlib._bootstrap>)", "importlib"),
    ],
)
def test_the_innermost_frame_counts(inner: str, part: str) -> None:
    outer = "get_item (seedcore/memory/working_memory.py)"
    assert parts(f"{outer};{inner} 3\n{outer};{inner} 4\n") == {part: 7}
