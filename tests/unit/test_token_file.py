import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from scripts.host.runtime import StackError
from scripts.host.token_file import TOKEN_BYTES, ensure_token, replace_token


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_token_is_long_and_random(tmp_path: Path) -> None:
    tokens = set()
    for name in ("first", "second"):
        ensure_token(tmp_path / "secrets" / name)
        tokens.add((tmp_path / "secrets" / name).read_text())
    assert len(tokens) == 2
    assert all(len(bytes.fromhex(token)) == TOKEN_BYTES for token in tokens)
    assert TOKEN_BYTES >= 32


@pytest.mark.usefixtures("umask")
def test_containers_can_read_the_file_and_other_users_cannot_enter_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "token"
    ensure_token(path)
    assert mode(path) == 0o644
    assert mode(path.parent) == 0o700


def test_a_token_in_a_folder_that_is_open_is_refused_or_the_folder_closed(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)
    with suppress(StackError):
        ensure_token(folder / "token")
    assert not (folder / "token").exists() or mode(folder) & 0o077 == 0


def test_a_token_that_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "token"
    ensure_token(path)
    token = path.read_text()
    ensure_token(path)
    assert path.read_text() == token
    path.write_text("my own token\n")
    ensure_token(path)
    assert path.read_text() == "my own token\n"


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("old_mode", [None, 0o644, 0o600], ids=["none", "644", "600"])
def test_a_replaced_token_has_the_mode_of_the_old_one(tmp_path: Path, old_mode: int | None) -> None:
    path = tmp_path / "secrets" / "token"
    if old_mode is not None:
        ensure_token(path)
        path.chmod(old_mode)
    old = path.read_text() if path.exists() else ""
    replace_token(path)
    assert len(bytes.fromhex(path.read_text())) == TOKEN_BYTES
    assert path.read_text() != old
    assert mode(path) == (old_mode or 0o644)
    assert mode(path.parent) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_whoever_reads_while_it_is_replaced_finds_a_whole_token(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "token"
    ensure_token(path)
    with path.open() as opened_before:
        replace_token(path)
        assert len(opened_before.read()) == len(path.read_text()) == 2 * TOKEN_BYTES


def test_what_cannot_be_replaced_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)
    (folder / "token").write_text("old")
    (folder / "token").chmod(0o644)
    with pytest.raises(StackError, match="chmod 700"):
        replace_token(folder / "token")
    (folder / "folder").mkdir()
    with pytest.raises(StackError, match="RAY_AUTH_TOKEN_PATH"):
        replace_token(folder / "folder")
    assert (folder / "token").read_text() == "old"


def an_empty_file(path: Path) -> None:
    path.touch()


def a_blank_file(path: Path) -> None:
    path.write_text(" \n")


def a_folder(path: Path) -> None:
    path.mkdir()


def a_file_of_bytes(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


def a_link_to_nowhere(path: Path) -> None:
    path.symlink_to(path.parent / "nowhere")


def a_file_in_place_of_its_folder(path: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


@pytest.mark.parametrize(
    "make_fault",
    [an_empty_file, a_blank_file, a_folder, a_file_of_bytes, a_link_to_nowhere, a_file_in_place_of_its_folder],
)
def test_what_is_no_token_is_refused_with_path_knob_and_remedy_and_left_as_it_is(
    tmp_path: Path, make_fault: Callable[[Path], None]
) -> None:
    path = tmp_path / "secrets" / "token"
    path.parent.mkdir(mode=0o700)
    make_fault(path)
    before = {file: file.lstat().st_mtime_ns for file in tmp_path.rglob("*")}
    with pytest.raises(StackError) as refused:
        ensure_token(path)
    for word in (str(path), "RAY_AUTH_TOKEN_PATH", "Delete it", "make up"):
        assert word in str(refused.value)
    assert {file: file.lstat().st_mtime_ns for file in tmp_path.rglob("*")} == before
