"""`make backup` and `make restore` carry all items from one engine to the other."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from scripts.store_archive import ArchiveError, PartlyRestoredError, export_stores, import_stores
from seedcore.errors import ItemDamagedError
from seedcore.memory.engines import end_memory
from seedcore.memory.transfer import export_items
from seedcore.memory.working_memory import MwManager
from seedcore.settings import load_settings
from seedcore.store.engine import HotItem
from seedcore.store.valkey.keys import Keys
from seedcore.store.valkey.memory import ValkeyMemory
from seedcore.testing import singletons_in_process
from tests.engines import Server, needs_engine

pytestmark = needs_engine

ARRAY = np.arange(300_000.0)
SMALL = {"a": [1, {"b": (2, 3)}], "c": "Grüße", "d": None}
BOUND = 4


@contextmanager
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str) -> Iterator[None]:
    """With the memory there, in this process."""
    for name, value in {
        "MEMORY_URL": url,
        "STATE_DIR": str(tmp_path / "state"),
        "SHARED_CACHE_MAX_ITEMS": str(BOUND),
    }.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    settings = load_settings()
    try:
        if url:
            yield
            end_memory(settings)
        else:
            with singletons_in_process(settings):
                yield
    finally:
        load_settings.cache_clear()


def fill() -> None:
    one, other = MwManager("one"), MwManager("other}")
    one.set_items(SMALL)
    one.set_item("goes", "soon", ttl_s=3600)
    other.set_item("arrays", {"many": ARRAY, "more": ARRAY[::2]})
    for number in range(BOUND):
        one.set_global_item(f"shared-{number}", number)
    one.set_global_item("shared-0", 0)  # so that it is the last that goes
    for _ in range(3):
        one.get_item("nowhere")
    assert one.get_hot_items() == [HotItem("nowhere", 3, 0)]


def check() -> None:
    one, other = MwManager("one"), MwManager("other}")
    assert one.get_items([*SMALL, "goes", "later"]) == {**SMALL, "goes": "soon"}
    found = other.get_item("arrays")
    np.testing.assert_array_equal(found["many"], ARRAY)
    np.testing.assert_array_equal(found["more"], ARRAY[::2])
    assert other.get_item("added") is None
    one.set_global_item("new", 1)
    wanted = [f"shared-{number}" for number in range(BOUND)]
    assert one.get_global_items(wanted) == {"shared-0": 0, "shared-2": 2, "shared-3": 3}
    assert one.get_hot_items(1) == [HotItem("nowhere", 3, 0)]


def archived() -> bytes:
    archive = io.BytesIO()
    export_stores(load_settings(), archive)
    return archive.getvalue()


@pytest.mark.parametrize("there", ["sqlite", "valkey"])
@pytest.mark.parametrize("back", ["sqlite", "valkey"])
def test_all_items_are_carried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server, there: str, back: str
) -> None:
    urls = {"sqlite": "", "valkey": server.url}
    (tmp_path / "state").mkdir()
    with engine(monkeypatch, tmp_path, urls[there]):
        fill()
        archive = archived()
        MwManager("other}").set_item("added", "later")
    monkeypatch.setenv("MEMORY_URL", urls[back])
    load_settings.cache_clear()
    import_stores(load_settings(), io.BytesIO(archive))
    with engine(monkeypatch, tmp_path, urls[back]):
        check()


def test_what_was_there_is_set_aside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server) -> None:
    (tmp_path / "state").mkdir()
    with engine(monkeypatch, tmp_path, server.url):
        MwManager("one").set_item("plan", "backed up")
        archive = archived()
        MwManager("one").set_item("plan", "of today")
        import_stores(load_settings(), io.BytesIO(archive))
        assert MwManager("one").get_item("plan") == "backed up"
        namespace = load_settings().ray_namespace
        (aside,) = (tmp_path / "state").glob(f"{namespace}.before-restore-*")
    monkeypatch.setenv("MEMORY_URL", "")
    monkeypatch.setenv("STATE_DIR", str(aside))
    load_settings.cache_clear()
    with singletons_in_process(load_settings()):
        assert MwManager("one").get_item("plan") == "of today"
    load_settings.cache_clear()


def test_a_damaged_item_is_named_and_makes_no_backup(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server
) -> None:
    with engine(monkeypatch, tmp_path, server.url):
        MwManager("one").set_items({"good": 1, "bad": 2})
        with server.client() as client:
            client.set(Keys(load_settings().ray_namespace).item("one", "bad"), "of another application")
        with pytest.raises(ItemDamagedError, match="'bad' is not in the engine as it was written"):
            export_items(load_settings(), tmp_path / "copies")


def test_a_damaged_item_keeps_no_backup_from_being_restored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").mkdir()
    with engine(monkeypatch, tmp_path, server.url):
        MwManager("one").set_items({"good": 1, "bad": 2, "list": 3})
        archive = archived()
        with server.client() as client:
            keys = Keys(load_settings().ray_namespace)
            client.set(keys.item("one", "bad"), "of another application")
            client.delete(keys.item("one", "list"))
            client.rpush(keys.item("one", "list"), "of another application")
        import_stores(load_settings(), io.BytesIO(archive))
        assert "not set aside: item 'bad' is not in the engine as it was written" in capsys.readouterr().err
        assert MwManager("one").get_items(["good", "bad", "list"]) == {"good": 1, "bad": 2, "list": 3}


def test_an_engine_that_dies_in_between_leaves_what_was_there_in_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server
) -> None:
    (tmp_path / "state").mkdir()
    with engine(monkeypatch, tmp_path, server.url):
        MwManager("one").set_item("plan", bytes(500_000))
        archive = archived()
        with server.client() as client:
            client.config_set("maxmemory", "1500kb")  # for what is there, and not for much more
            MwManager("one").delete_item("plan")
            client.config_set("maxmemory", "1mb")
        with pytest.raises(PartlyRestoredError, match="those that were there are in"):
            import_stores(load_settings(), io.BytesIO(archive))


def test_no_backup_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server) -> None:
    with engine(monkeypatch, tmp_path, server.url):
        MwManager("one").set_item("plan", 1)
        with pytest.raises(ArchiveError, match="this is no backup"):
            import_stores(load_settings(), io.BytesIO(b"nothing"))
        assert MwManager("one").get_item("plan") == 1
        assert len(list(ValkeyMemory(load_settings()).all_items())) == 1


def test_a_backup_of_another_stack_empties_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server
) -> None:
    archive = io.BytesIO()
    (tmp_path / "state").mkdir()
    with monkeypatch.context() as elsewhere, engine(monkeypatch, tmp_path, server.url):
        elsewhere.setenv("RAY_NAMESPACE", "elsewhere")
        load_settings.cache_clear()
        export_stores(load_settings(), archive)
    with engine(monkeypatch, tmp_path, server.url):
        MwManager("one").set_item("kept", 1)
        with pytest.raises(ArchiveError, match="give it the RAY_NAMESPACE"):
            import_stores(load_settings(), io.BytesIO(archive.getvalue()))
        assert MwManager("one").get_item("kept") == 1
