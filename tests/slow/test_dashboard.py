"""Ray's dashboard in a real browser, as docs/ray.md says that it works, in both runtimes."""

import os
import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.stack.project import Project

pytestmark = [pytest.mark.usefixtures("browser"), pytest.mark.timeout(900)]  # `make up` builds an image

TABS = {
    "overview": ("Recent jobs", "Cluster status"),
    "jobs": ("Job List", "seedcore.bootstrap"),
    "cluster": ("Node List", "ALIVE", "/1000.0 state"),
    "actors": ("MwStore", "ALIVE", "CPU Flame Graph"),
    "logs": ("Select a node to view logs", "Node ID"),
}
KNOBS = {"PROFILING": "1", "APT_PACKAGES": "gdb-minimal"}
PROFILES = {
    "worker/traceback?native=0": "Worker.main_loop",
    "worker/cpu_profile?native=0&format=flamegraph&duration=2": "<svg",
    "memory_profile?format=flamegraph&leaks=0&native=0&trace_python_allocators=0&duration=2": "memray - flamegraph",
}


@pytest.fixture
def dashboard(browser: Browser, project: Project) -> Iterator[Page]:
    """Open, after the token was typed."""
    context = browser.new_context(base_url=f"http://127.0.0.1:{project.dashboard_port}")
    page = context.new_page()
    page.goto("/")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox").fill(project.token)
    dialog.get_by_role("textbox").press("Enter")
    expect(dialog).to_be_hidden()
    yield page
    context.close()


def test_each_tab_shows_the_stack(dashboard: Page) -> None:
    for tab, shows in TABS.items():
        dashboard.goto(f"/#/{tab}")
        for text in shows:
            expect(dashboard.locator("body")).to_contain_text(re.compile(re.escape(text).replace(r"\ ", r"\s*")))
    expect(dashboard.get_by_role("link", name="Metrics")).to_be_hidden()


@pytest.fixture
def profiled(project: Project) -> Iterator[Project]:
    """Its stack with what docs/ray.md says that profiles need."""
    before = dict(project.environment)
    project.environment |= KNOBS
    project.make("up")
    yield project
    project.environment.clear()
    project.environment |= before
    project.make("up")


def profile(project: Project, question: str) -> httpx.Response:
    node, pid = project.actors()["mw"]
    return httpx.get(
        f"http://127.0.0.1:{project.dashboard_port}/{question}&node_id={node}&pid={pid}",
        headers={"Authorization": f"Bearer {project.token}"},
        timeout=120,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="py-spy needs the right to trace, which embedded only root surely has")
def test_an_actor_is_profiled_if_the_knob_says_so(project: Project, request: pytest.FixtureRequest) -> None:
    for question in PROFILES:
        assert profile(project, question).status_code == 403
    profiled = request.getfixturevalue("profiled")
    before = profiled.actors()
    for question, shows in PROFILES.items():
        answer = profile(profiled, question)
        assert answer.status_code == 200, answer.text
        assert shows in answer.text
    assert profiled.actors() == before
    assert "PROFILING=1" in profiled.run("make", "doctor").stdout
