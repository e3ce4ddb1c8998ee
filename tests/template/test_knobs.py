"""`.env` and docs/reference.md say what the settings say."""

import itertools
import re

import pytest
from dotenv import dotenv_values

from scripts.host.settings import HostSettings
from seedcore.settings import PROJECT_ROOT
from tests.unit.test_knobs import Knob, of_a_person, of_a_specialist

ENV_FILE = PROJECT_ROOT / ".env"
REFERENCE = (PROJECT_ROOT / "docs/reference.md").read_text()
SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "PASSPHRASE", "CREDENTIAL", "PRIVATE", "API_KEY")


def knobs_of_env_file() -> dict[str, Knob]:
    """Each assignment with the comment line above it."""
    lines = ENV_FILE.read_text().splitlines()
    knobs: dict[str, Knob] = {}
    for above, line in itertools.pairwise(lines):
        if line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            assert equals, f"{line!r} is no assignment"
            assert name not in knobs, f"{name} stands there twice"
            knobs[name] = Knob(value, above.removeprefix("# "))
    return knobs


def knobs_of_tables() -> list[dict[str, Knob]]:
    """The rows of each table below the heading `Knobs`."""
    section = REFERENCE.partition("\n## Knobs\n")[2].partition("\n## ")[0]
    tables = section.split("| knob | default | meaning |\n")[1:]
    return [knobs_of_table([line for line in table.splitlines() if line.startswith("| `")]) for table in tables]


def knobs_of_table(rows: list[str]) -> dict[str, Knob]:
    knobs = {}
    for row in rows:
        name, default, meaning = (cell.strip() for cell in row.strip("|").split(" | "))
        knobs[name.strip("`")] = Knob("" if default == "(empty)" else default.strip("`"), meaning)
    assert len(knobs) == len(rows)
    return knobs


def test_env_file_has_each_knob_that_a_person_changes_with_its_default_and_meaning() -> None:
    assert knobs_of_env_file() == of_a_person()
    assert len(knobs_of_env_file()) <= 32  # all of them are read by whoever opens the file


def test_the_reference_has_every_knob_with_its_default_and_meaning() -> None:
    assert knobs_of_tables() == [of_a_person(), of_a_specialist()]


@pytest.mark.usefixtures("knobs")
def test_env_file_read_as_a_program_reads_it_changes_no_default() -> None:
    assert HostSettings(_env_file=ENV_FILE) == HostSettings(_env_file=None)
    assert dotenv_values(ENV_FILE) == {name: knob.default for name, knob in knobs_of_env_file().items()}


def test_env_file_has_no_secret() -> None:
    for name, knob in knobs_of_env_file().items():
        if any(word in name for word in SECRET_WORDS):
            assert name.endswith(("_PATH", "_MODE")), f"{name} seems to be a secret itself"
        assert not re.search(r"[0-9a-fA-F]{32}|[A-Za-z0-9+/=_-]{40}|BEGIN ", knob.default), f"{name} looks like one"
