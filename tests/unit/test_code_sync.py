"""What a machine that has joined gets of the head's code."""

from pathlib import Path

import pytest

from scripts import code_sync
from scripts.code_sync import archive_of, unpack


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "head"
    for name, content in {"app/actors.py": "one", "app/data/words.txt": "a b", "images/ray.env": "A=1"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "app/__pycache__").mkdir()
    (root / "app/__pycache__/actors.pyc").touch()
    (root / "app/.#actors.py").symlink_to("somebody@somewhere.1")  # a lock of Emacs
    return root


def content(root: Path) -> dict[str, str]:
    return {str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()}


def test_it_becomes_as_the_heads_is(project: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    archive, digest = archive_of(project)
    assert sorted(unpack(archive, copy)) == ["app/actors.py", "app/data/words.txt", "images/ray.env"]
    assert content(copy) == {"app/actors.py": "one", "app/data/words.txt": "a b", "images/ray.env": "A=1"}
    assert archive_of(copy)[1] == digest

    (project / "app/actors.py").write_text("two")
    (project / "app/data/words.txt").unlink()
    assert sorted(unpack(archive_of(project)[0], copy)) == ["app/actors.py", "app/data/words.txt"]
    assert content(copy) == {"app/actors.py": "two", "images/ray.env": "A=1"}


def test_a_file_may_become_a_folder_and_a_folder_a_file(project: Path, tmp_path: Path) -> None:
    copy, words = tmp_path / "copy", project / "app/data/words.txt"
    unpack(archive_of(project)[0], copy)
    words.unlink()
    words.parent.rmdir()
    words.parent.write_text("a b")
    (project / "app/actors.py").unlink()
    (project / "app/actors.py").mkdir()
    (project / "app/actors.py/one.py").write_text("one")
    (copy / "app/data/__pycache__").mkdir()
    unpack(archive_of(project)[0], copy)
    assert content(copy) == {"app/actors.py/one.py": "one", "app/data": "a b", "images/ray.env": "A=1"}


def test_what_is_as_it_was_is_not_written(project: Path, tmp_path: Path) -> None:
    archive, _ = archive_of(project)
    unpack(archive, tmp_path / "copy")
    written = (tmp_path / "copy/app/actors.py").stat()
    assert unpack(archive, tmp_path / "copy") == []
    assert (tmp_path / "copy/app/actors.py").stat().st_ino == written.st_ino


def test_too_much_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_sync, "MAX_BYTES", 3)
    with pytest.raises(ValueError, match="the files below app, seedcore, scripts, images have more than 0 MiB"):
        archive_of(project)
