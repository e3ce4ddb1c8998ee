"""docs/reference.md says what Python is offered."""

import re
from http import HTTPStatus

import seedcore
from seedcore import MwManager
from seedcore.api.problems import STATUSES
from seedcore.settings import PROJECT_ROOT

SECTION = (PROJECT_ROOT / "docs/reference.md").read_text().partition("\n## Python\n")[2].partition("\n## ")[0]


def test_all_that_is_public_is_there() -> None:
    named = set(re.findall(r"`(\w+)(?:\([^`]*\))?`", SECTION))
    methods = {name for name in vars(MwManager) if not name.startswith("_") and not name.endswith("_async")}
    assert methods | set(seedcore.__all__) <= named
    assert all(hasattr(MwManager, f"{name}_async") for name in methods)


def test_each_error_has_the_status_that_the_api_answers_with() -> None:
    table = SECTION.partition("| error | when | HTTP |")[2]
    statuses = {
        name: cells[2].strip()
        for cells in (row.strip("|").split(" | ") for row in table.splitlines() if row.startswith("| `"))
        for name in re.findall(r"`(\w+)`", cells[0])
    }
    assert set(statuses) == {name for name in seedcore.__all__ if name.endswith("Error")} - {"SeedCoreError"}
    for name, status in statuses.items():
        answered = STATUSES.get(getattr(seedcore, name), HTTPStatus.INTERNAL_SERVER_ERROR)
        assert status in ("", str(answered.value)), name
