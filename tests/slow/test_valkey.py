"""The memory on Valkey in both runtimes: there with all items, used, killed, and back."""

import re
from pathlib import Path

import docker
import pytest
from playwright.sync_api import Browser, expect

from scripts.host.ports import free_port
from seedcore.settings import PROJECT_ROOT
from tests.engines import PROGRAM
from tests.stack.containers import only
from tests.stack.local_processes import session_of, supervisord
from tests.stack.project import Project
from tests.stack.status_page import opened
from tests.waiting import wait_until

COMMANDS = re.findall(
    r"(?m)^make .*$",
    (PROJECT_ROOT / "docs/valkey.md").read_text().partition("## Move there, and back")[2].partition("## Your")[0],
)
COUNT = 200


def run_all(project: Project, commands: list[str]) -> str:
    return "".join(project.make(*command.split()[1:]) for command in commands)


@pytest.fixture
def there(project: Project, request: pytest.FixtureRequest) -> Project:
    if project.runtime == "local":
        if PROGRAM is None:
            pytest.skip("neither valkey-server nor redis-server is installed")
        project.environment["VALKEY_PORT"] = str(free_port())
    project.as_found()
    return project


def kill_server(project: Project, engine: docker.DockerClient) -> None:
    if project.runtime == "docker":
        only(engine, project, "valkey").kill()
        only(engine, project, "valkey").start()
        return
    (server,) = [
        process
        for process in session_of(supervisord(project))
        if Path(process.exe()).name == Path(str(PROGRAM)).resolve().name
    ]
    server.kill()


def test_there_and_back_with_all_items(
    there: Project, engine: docker.DockerClient, browser: Browser, tmp_path: Path
) -> None:
    for number in range(COUNT):
        there.put("valkey", f"item-{number}", number)
    middle = COMMANDS.index("make verify") + 1
    said = run_all(there, COMMANDS[:middle])
    assert "the memory is in valkey://valkey now; what was in SQLite files is still there" in said
    try:
        assert [there.get("valkey", f"item-{number}") for number in range(COUNT)] == list(range(COUNT))
        there.put("valkey", "on valkey", "kept")
        knobs = dict(word.split("=", 1) for word in COMMANDS[1].split()[2:])
        assert there.doctor(**knobs) == {}
        assert re.search(r"✅ the engine at MEMORY_URL keeps its promises: (Valkey|Redis) \S+ at", there.make("verify"))
        wait_until(lambda: "engine_memory_bytes" in there.make("monitor"))
        assert "seedcore_actor_engine_memory_bytes" in there.api.get("/metrics").text
        with opened(browser, there, tmp_path) as page:
            memory = page.get_by_role("region", name="Memory")
            expect(memory).to_contain_text("Kept by the engine at ")
            expect(memory).to_contain_text("append-only file on")
        kill_server(there, engine)
        assert there.get("valkey", "on valkey") == "kept"
        there.put("valkey", "on valkey", "kept again")
    finally:
        run_all(there, COMMANDS[middle:])
    assert there.get("valkey", "on valkey") == "kept again"
    assert [there.get("valkey", f"item-{number}") for number in range(COUNT)] == list(range(COUNT))
