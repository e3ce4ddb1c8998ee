"""Code on the disk that cannot run, as whoever types a verb sees it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

from scripts import actor_trial
from scripts.run_module import EXIT_BROKEN
from seedcore.actors.mw_store import MwStore
from seedcore.cluster.actor_process import methods_of
from seedcore.settings import PROJECT_ROOT, Synchronous
from seedcore.store.sqlite.item_store import ItemStore

DEADLINE_S = 60
MW_STORE = "seedcore/actors/mw_store.py"
NAMESPACE = "seedcore-dev"
CONSTRUCTOR = '            self._keeper = ItemKeeper("MwStore", settings, items)\n'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("seedcore", "scripts"):
        shutil.copytree(PROJECT_ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT_ROOT / ".env", tmp_path)
    return tmp_path


def change(checkout: Path, old: str, new: str, file: str = MW_STORE) -> None:
    text = (checkout / file).read_text()
    assert old in text
    (checkout / file).write_text(text.replace(old, new, 1))


def python(checkout: Path, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=checkout,
        env={**os.environ, "STATE_DIR": str(checkout / "state"), "RAY_NAMESPACE": NAMESPACE},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_code_that_cannot_be_imported_is_named_in_one_line(checkout: Path) -> None:
    lines = len((checkout / MW_STORE).read_text().splitlines())
    with (checkout / MW_STORE).open("a") as file:
        file.write("def broken(:\n")
    done = python(checkout, "scripts.run_module", "scripts.monitor_actors")
    assert done.returncode == EXIT_BROKEN
    assert f"cannot be used: {MW_STORE}, line {lines + 1}: invalid syntax. Nothing was changed" in done.stdout
    assert "Traceback" not in done.stdout


IMPORT = "from seedcore import Singleton\n"
OWN = f"{IMPORT}\nclass Own:\n    pass\n\n"


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("actors", f"{IMPORT}SINGLETONS = [\n", "app/actors.py, line 2: '[' was never closed"),
        (
            "actors",
            "import nothing\n",
            "ModuleNotFoundError: No module named 'nothing' (app/actors.py, line 1). If it is a package: a line",
        ),
        ("actors", "from app.nothing import x\n", "No module named 'app.nothing' (app/actors.py, line 1). Nothing"),
        (
            "actors",
            "",
            "app/actors.py has no `SINGLETONS`: add `SINGLETONS = [Singleton(...)]`, or delete it. Nothing",
        ),
        (
            "actors",
            "SINGLETONS = 1\n",
            "SINGLETONS in app/actors.py (line 1) must be as in `SINGLETONS = [Singleton(...)]`, not of type int",
        ),
        ("actors", "SINGLETONS = {}\n", "not of type dict. Nothing"),
        (
            "actors",
            f"{IMPORT}SINGLETONS = [1]\n",
            "SINGLETONS in app/actors.py (line 2) must have Singleton(...) in it, not 1. Nothing",
        ),
        (
            "actors",
            "from app.rows import SINGLETONS\n",
            "SINGLETONS in app/actors.py must have Singleton(...) in it, not 1. Nothing",
        ),
        (
            "actors",
            f"{OWN}SINGLETONS = [Singleton('own', Own, {{'size': 1}})]\n",
            "InvalidSingletonError: the singleton 'own' is refused: Own does not take {'size': 1}: ",
        ),
        (
            "actors",
            f"{OWN}SINGLETONS = [Singleton('own', Own, options={{'num_cpu': 1}})]\n",
            "Ray does not take its options: Invalid option keyword num_cpu for actors (app/actors.py, line",
        ),
        ("actors", f"{IMPORT}SINGLETONS = [Singleton('own')]\n", "'actor_class' (app/actors.py, line 2). Nothing"),
        (
            "actors",
            f"{OWN}SINGLETONS = [Singleton('mw', Own)]\n",
            "the same name: mw. Rename the one of SINGLETONS in app/actors.py (line 6); the template's own",
        ),
        ("routes", "router = no_router\n", "NameError: name 'no_router' is not defined (app/routes.py, line 1)"),
        ("routes", "", "app/routes.py has no `router`: add `router = APIRouter()`, or delete it. Nothing"),
        ("values", "VALUES = [1]\n", "VALUES in app/values.py (line 1) must have ValueType(...) in it, not 1. Nothing"),
    ],
)
def test_what_is_wrong_in_the_application_is_named_in_one_line(
    checkout: Path, file: str, content: str, said: str
) -> None:
    (checkout / "app").mkdir()
    (checkout / "app/rows.py").write_text("SINGLETONS = [1]\n")
    (checkout / f"app/{file}.py").write_text(content)
    done = python(checkout, "scripts.run_module", "scripts.monitor_actors")
    assert done.returncode == EXIT_BROKEN
    assert done.stdout.startswith("the code on the disk cannot be used: ")
    assert said in done.stdout
    assert "Traceback" not in done.stdout


def test_a_program_that_lacks_a_package_is_told_where_it_goes(checkout: Path) -> None:
    (checkout / "app/jobs").mkdir(parents=True)
    (checkout / "app/jobs/own.py").write_text("import nothing\n")
    done = python(checkout, "scripts.run_module", "app.jobs.own")
    assert done.returncode == 1
    *_, error, remedy = done.stdout.splitlines()
    assert error == "ModuleNotFoundError: No module named 'nothing'"
    assert remedy.startswith("If it is a package: a line in app/requirements.txt")


def test_a_module_gets_its_arguments_and_its_exit_code_counts(checkout: Path) -> None:
    done = python(checkout, "scripts.run_module", "scripts.monitor_actors", "--help")
    assert done.returncode == 0
    assert "usage: python -m scripts.monitor_actors" in done.stdout
    assert python(checkout, "scripts.run_module", "scripts.monitor_actors", "--wrong").returncode == 2


def test_who_gives_a_file_is_told_the_module(checkout: Path) -> None:
    done = python(checkout, "scripts.run_module", "app/jobs/nothing.py")
    assert "M=app.jobs.nothing would be the file app/jobs/nothing.py" in done.stdout


@pytest.mark.parametrize("module", ["app.jobs.nothing", "scripts.nothing"])
def test_a_module_that_is_not_there_is_named(checkout: Path, module: str) -> None:
    done = python(checkout, "scripts.run_module", module)
    assert (done.returncode, done.stdout.partition(". ")[0]) == (1, f"there is no module {module}")


def trial(checkout: Path, name: str = "mw") -> tuple[int, str]:
    folder = checkout / "state/trial"
    folder.mkdir(parents=True, exist_ok=True)
    done = python(checkout, "scripts.actor_trial", name, str(folder))
    return done.returncode, done.stdout.strip()


def test_an_actor_is_tried_on_a_copy_of_its_store(checkout: Path) -> None:
    path = checkout / f"state/{NAMESPACE}/mw.sqlite3"
    store = ItemStore(path, Synchronous.NORMAL)
    with store.database.transaction() as connection:
        store.set_many(connection, "organ", {"item": b"kept"}, None)
    change(checkout, CONSTRUCTOR, f"{CONSTRUCTOR}        print('born')\n")  # which is no method
    code, _ = trial(checkout)
    assert code == 0
    methods = json.loads((checkout / "state/trial" / actor_trial.METHODS).read_text())
    assert methods == list(methods_of(MwStore))
    assert (checkout / f"state/trial/{NAMESPACE}/mw.sqlite3").stat().st_size > 0
    with store.database.transaction() as connection:  # which a second writer of it would have fenced off
        store.set_many(connection, "organ", {"later": b"kept"}, None)
    assert store.get_many("organ", ["item", "later"]) == {"item": b"kept", "later": b"kept"}


def test_an_actor_that_cannot_be_born_says_why_and_where(checkout: Path) -> None:
    change(checkout, CONSTRUCTOR, f"{CONSTRUCTOR}        raise ValueError('not today')\n")
    code, reason = trial(checkout)
    assert code == 1
    assert "ValueError: not today (seedcore/actors/mw_store.py, line " in reason
    assert "Traceback" not in reason
    assert trial(checkout, "miss_tracker")[0] == 0


def test_an_actor_whose_constructor_takes_other_arguments_than_its_row_gives_is_refused(checkout: Path) -> None:
    change(checkout, "def __init__(self, store: str)", "def __init__(self, store: str, size: int)")
    code, reason = trial(checkout)
    assert code == 1
    assert "MwStore does not take {'store': 'seedcore-dev/mw.sqlite3'}: missing a required argument: 'size'" in reason


def test_an_actor_without_a_row_is_not_tried(checkout: Path) -> None:
    assert trial(checkout, "nobody") == (
        1,
        "LookupError: it has no row any more; it lives on until `make down`",
    )


def test_a_trial_leaves_nothing_behind(tmp_path: Path) -> None:
    assert actor_trial.try_actor("mw", tmp_path) == actor_trial.Trial(methods=methods_of(MwStore))
    assert list(tmp_path.iterdir()) == []


class Base:
    def inherited(self, number: int) -> int:
        return number


class Actor(Base):
    def own(self) -> None:
        pass


class Overriding(Base):
    def own(self) -> None:
        pass

    def inherited(self, number: int) -> int:
        return number + 1


def test_methods_tell_where_they_are_defined_and_what_they_take() -> None:
    here = "tests.unit.test_run_module"
    assert methods_of(Actor) == (
        f"inherited: {here}.Base.inherited(self, number: int)",
        f"own: {here}.Actor.own(self)",
    )
    assert methods_of(Overriding)[0] == f"inherited: {here}.Overriding.inherited(self, number: int)"
    as_ray_has_it: Any = ray.remote(Actor)
    assert methods_of(as_ray_has_it.__ray_metadata__.modified_class) == methods_of(Actor)
