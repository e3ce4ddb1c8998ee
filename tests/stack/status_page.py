"""The status page of a stack in a real Chromium."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect, sync_playwright

from tests.stack.project import Project

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")  # commands of one and the same engine
DEADLINE_MS: Final = 60_000.0
WELL: Final = "Everything works"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium; without one the tests are skipped, or fail where SEEDCORE_REQUIRE_BROWSER=1."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        missing = f"there is no browser: none of {', '.join(BROWSERS)}"
        if os.environ.get("SEEDCORE_REQUIRE_BROWSER") == "1":
            pytest.fail(f"SEEDCORE_REQUIRE_BROWSER=1, but {missing}")
        pytest.skip(missing)
    expect.set_options(timeout=DEADLINE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, stack: Project, folder: Path, **options: Any) -> Iterator[Page]:
    """The page, in a context of its own.

    Whatever happens to it meanwhile, it must have asked nobody but the API and broken none of its own rules.

    Args:
        browser: to open it in.
        stack: whose page.
        folder: where a picture of how it ended is left.
        options: of the browser's context.
    """
    complaints: list[str] = []
    asked: list[str] = []

    def note(message: ConsoleMessage) -> None:
        # Of an answer that is an error, or is lost, the browser says so by itself.
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            complaints.append(message.text)

    context: BrowserContext = browser.new_context(base_url=str(stack.api.base_url), **options)
    context.set_default_timeout(DEADLINE_MS)
    page = context.new_page()
    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/")
    expect(state(page)).to_have_text(WELL)
    yield page
    page.screenshot(path=folder / "page.png", full_page=True)
    context.close()
    assert complaints == []
    origin = str(stack.api.base_url).rstrip("/")
    assert [url for url in asked if not url.startswith((f"{origin}/", "data:,"))] == []


def state(page: Page) -> Locator:
    """What the page says of everything, to a screen reader as well."""
    return page.get_by_role("region", name="State").get_by_role("status")


def row(page: Page, table: str, name: str) -> Locator:
    """A row of a table by the name in its first cell."""
    header = page.get_by_role("rowheader", name=name, exact=True)
    return page.get_by_role("table", name=table).get_by_role("row").filter(has=header)


def actor_row(page: Page, actor: dict[str, Any]) -> Locator:
    return row(page, "Singletons", f"{actor['name']} ({actor['class_name']})")


def cell(page: Page, actor: dict[str, Any], column: str) -> Locator:
    """A cell in the row of a singleton."""
    columns = page.get_by_role("table", name="Singletons").get_by_role("columnheader").all_inner_texts()
    return (
        actor_row(page, actor)
        .get_by_role("rowheader")
        .or_(actor_row(page, actor).get_by_role("cell"))
        .nth(columns.index(column))
    )


def actors(stack: Project) -> dict[str, dict[str, Any]]:
    """What `/actors` says of each singleton."""
    return {actor["name"]: actor for actor in stack.api.get("/actors").json()["actors"]}


def look_up(page: Page, organ: str, item: str) -> Locator:
    """Look an item up; what is said of it."""
    page.get_by_role("textbox", name="Organ").fill(organ)
    page.get_by_role("textbox", name="Item").fill(item)
    page.get_by_role("button", name="Look up").click()
    return page.get_by_role("region", name="Look up an item").get_by_role("status")
