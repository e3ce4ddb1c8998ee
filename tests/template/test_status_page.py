"""The status page in a real Chromium, on a running stack that things happen to."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import docker
import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.stack.containers import kill_for_good, only, run_in
from tests.stack.project import Project
from tests.stack.status_page import WELL, actors, cell, look_up, opened, row, state

pytestmark = pytest.mark.usefixtures("browser")  # the first of them, so that without it no stack is started

EVIL: Final = (
    "<img src=x onerror=\"document.body.textContent='owned'\"><script>document.body.textContent='owned'</script>"
)
ODD_ITEM_IDS: Final = ("a/b?c=d#e%20f", ".", "..", "  two  spaces ", "Grüße 🌱", "\u202eright to left", EVIL, "x" * 256)
PHONE: Final = {"width": 320, "height": 640}
MIN_CONTRAST: Final = 4.5  # WCAG 2.2, level AA, of text of any size

# Text that is seen whose contrast with what is behind it is too low, and what it is.
POOR_CONTRAST: Final = """
(least) => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [red, green, blue] = channels(colour).slice(0, 3).map((channel) => {
      const share = channel / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if ((channels(colour)[3] ?? 1) > 0) return colour;
    }
    throw new Error("nothing has a background");
  };
  const contrast = (one, other) => {
    const [darker, lighter] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (lighter + 0.05) / (darker + 0.05);
  };
  const found = [];
  let seen = 0;
  for (const element of document.body.querySelectorAll("*")) {
    const hasText = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
    if (!element.checkVisibility() || !(hasText || element.matches("input, svg path"))) continue;
    seen += 1;
    const styles = element.matches("input") ? [getComputedStyle(element), getComputedStyle(element, "::placeholder")]
      : [getComputedStyle(element)];
    for (const style of styles) {
      const colour = element.matches("path") ? style.stroke : style.color;
      const measured = contrast(colour, behind(element));
      if (measured < least) found.push([element.outerHTML.slice(0, 80), colour, measured]);
    }
  }
  if (seen < 40) throw new Error(`only ${seen} texts were looked at`);
  return found;
}
"""
OVERFLOW: Final = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
FOCUS: Final = """
() => {
  const element = document.activeElement, style = getComputedStyle(element);
  const name = element.ariaLabel ?? element.labels?.[0]?.textContent ?? element.textContent;
  const labelled = document.getElementById(element.getAttribute("aria-labelledby"));
  return [(labelled?.textContent ?? name).trim(), style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2];
}
"""


@pytest.fixture
def page(browser: Browser, docker_stack: Project, tmp_path: Path) -> Iterator[Page]:
    """The page of a stack on Docker where everything works."""
    with opened(browser, docker_stack, tmp_path) as page:
        yield page


def value(page: Page) -> Locator:
    return page.get_by_role("region", name="Value")


def put(stack: Project, organ: str, items: dict[str, Any]) -> None:
    stack.api.put(f"/organs/{organ}/items", json={"items": items}).raise_for_status()


def miss(stack: Project, *items: str, times: int = 1) -> None:
    """Ask for items in vain."""
    for _ in range(times):
        stack.api.post("/organs/nobody/items/query", json={"item_ids": items}).raise_for_status()


def assert_readable(page: Page) -> None:
    """The contrast is enough, in both colour schemes."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate(POOR_CONTRAST, MIN_CONTRAST) == []


def wait_for_polls(page: Page, count: int) -> None:
    for _ in range(count):
        with page.expect_response("**/status"):
            pass


def test_says_all_that_the_api_knows(page: Page, docker_stack: Project) -> None:
    status = docker_stack.api.get("/status").json()
    assert len(status["actors"]) == 3
    for actor in status["actors"]:
        for column, text in {
            "State": "running",
            "Node": f"{actor['node_ip']} ({actor['node_id'][:8]})",
            "PID": str(actor["pid"]),
            "Age": re.compile(r"^\d+ (s|min|h)$"),
            "Restarts": str(actor["restarts"]),
            "Code": actor["code"]["running"],
            "Items": str(actor["stats"]["items"]),
            "Bytes": str(actor["stats"].get("bytes", "")),
        }.items():
            expect(cell(page, actor, column)).to_have_text(text)
    alive = [node for node in status["nodes"] if node["alive"]]  # it lists those as well that other tests have ended
    assert len(alive) == 3
    expect(page.get_by_role("region", name="Memory")).to_contain_text("Kept by SQLite on the state volume")
    for node in alive:
        node_row = row(page, "Ray nodes", node["node_id"][:8])
        expect(node_row).to_contain_text(node["address"])
        expect(node_row).to_contain_text("alive")
    worker = next(actor["node_id"] for actor in status["actors"])
    expect(row(page, "Ray nodes", worker[:8])).to_contain_text("miss_tracker")
    expect(page.get_by_role("banner")).to_contain_text(
        f"Namespace {status['namespace']} at {status['ray_address']}, API code {status['code']['running']}"
    )


def test_its_links_lead_somewhere(page: Page, docker_stack: Project) -> None:
    links = {link.inner_text(): link.get_attribute("href") for link in page.get_by_role("link").all()}
    assert links == {
        "API docs": "/docs",
        "Ray dashboard": f"http://127.0.0.1:{docker_stack.dashboard_port}/",
        "Metrics": "/metrics",
    }
    for name, says in (
        ("API docs", "SeedCore - Swagger UI"),
        ("Ray dashboard", "Ray Dashboard"),
        ("Metrics", "# HELP"),
    ):
        answer = httpx.get(docker_stack.api.base_url.join(links[name] or ""))
        assert answer.status_code == 200
        assert says in answer.text


def test_brings_itself_up_to_date(page: Page, docker_stack: Project) -> None:
    page.evaluate("window.isTheSame = true")
    mw = actors(docker_stack)["mw"]
    items, stored = (mw["stats"][name] for name in ("items", "bytes"))
    docker_stack.put("live", "item", "x" * 1000)
    expect(cell(page, mw, "Items")).to_have_text(f"{items + 1:,}")
    expect(cell(page, mw, "Bytes")).not_to_have_text(f"{stored:,}")
    for _ in range(5):
        docker_stack.get("live", "item")
    miss(docker_stack, "asked in vain", times=5)
    expect(row(page, "Most missed items", "asked in vain").get_by_role("cell")).to_have_text("5")
    plots = page.get_by_role("region", name="Last five minutes")
    for name, says in (("Hit ratio", r"\d+ %"), ("HTTP requests", r"[\d.]+.s, highest [\d.]+.s"), ("Items", r"\d+")):
        expect(plots.get_by_role("figure", name=re.compile(f"^{name}: {says}$"))).to_be_visible()
    for name in ("Hit ratio", "HTTP requests a second", "Items", "Bytes"):
        drawn = plots.get_by_role("img", name=f"{name} over the last five minutes").locator("path")
        expect(drawn).to_have_attribute("d", re.compile(r"^M[\d.,]+h0"))
    expect(plots.get_by_role("img", name="Bytes over").locator("path")).to_have_attribute("d", re.compile("L.*L"))
    assert page.evaluate("window.isTheSame")


def test_leaves_alone_what_is_as_it_was(page: Page) -> None:
    """Else a screen reader would say it each time, and nobody could select anything."""
    expect(page.get_by_role("table", name="Ray nodes")).to_contain_text("miss_tracker")
    page.evaluate(
        """() => {
          window.changed = [];
          const observer = new MutationObserver((all) => changed.push(...all.map((one) => one.target.textContent)));
          const options = { childList: true, characterData: true, subtree: true };
          for (const region of document.querySelectorAll("[role=status], #nodes")) observer.observe(region, options);
          getSelection().selectAllChildren(document.querySelector("#actors td:nth-child(4)"));
        }"""
    )
    selected = page.evaluate("String(getSelection())")
    assert selected.strip().isdigit()
    wait_for_polls(page, 3)
    assert page.evaluate("window.changed") == []
    assert page.evaluate("String(getSelection())") == selected


def test_looks_an_item_up_with_the_keyboard_only(page: Page, docker_stack: Project) -> None:
    docker_stack.put("agent", "plan", {"step": 2**64, "share": 1.0})
    stops: list[str] = []
    while "Organ" not in stops:
        page.keyboard.press("Tab")
        name, is_visible = page.evaluate(FOCUS)
        assert is_visible, name
        stops.append(name)
    assert stops == ["API docs", "Ray dashboard", "Metrics", "Singletons", "Actor", "Ray nodes", "Organ"]
    page.keyboard.type("agent")
    page.keyboard.press("Tab")
    page.keyboard.type("plan")
    page.keyboard.press("Enter")
    said = page.get_by_role("region", name="Look up an item").get_by_role("status")
    expect(said).to_have_text('"plan" is an item of agent.')
    expect(value(page)).to_have_text(f'{{ "step": {2**64}, "share": 1.0 }}')

    page.keyboard.type("s")
    page.keyboard.press("Tab")
    assert page.evaluate(FOCUS) == ["Look up", True]
    page.keyboard.press("Space")
    expect(said).to_have_text('"plans" is neither an item of agent nor a shared one. The miss counts.')
    expect(value(page)).to_be_hidden()
    expect(row(page, "Most missed items", "plans").get_by_role("cell")).to_have_text("1")


def test_looks_up_whatever_item_id_there_may_be(page: Page, docker_stack: Project) -> None:
    put(docker_stack, "odd", dict.fromkeys(ODD_ITEM_IDS, EVIL))
    for item_id in ODD_ITEM_IDS:
        expect(look_up(page, "odd", item_id)).to_contain_text("is an item of odd.")
        assert value(page).inner_text() == json.dumps(EVIL)
        said = look_up(page, "", item_id)
        expect(said).to_contain_text("is not a shared item. The miss counts.")
        assert (said.text_content() or "").startswith(f'"{item_id}"')
    docker_stack.api.put("/shared-items", json={"items": dict.fromkeys(ODD_ITEM_IDS, 1)}).raise_for_status()
    for item_id in ODD_ITEM_IDS:
        expect(look_up(page, "nobody", item_id)).to_contain_text("is a shared item.")


def test_says_why_it_does_not_look_something_up(page: Page) -> None:
    expect(look_up(page, "odd", "x" * 257)).to_contain_text("Not looked up: item_id has 257 characters")
    expect(look_up(page, "x" * 257, "odd")).to_contain_text("Not looked up: organ_id has 257 characters")
    for organ in ("..", "a/b"):
        expect(look_up(page, organ, "odd")).to_contain_text(f'an organ "{organ}" can be asked for from Python only')
    page.get_by_role("textbox", name="Item").fill("")
    page.get_by_role("button", name="Look up").click()
    expect(page.get_by_role("textbox", name="Item")).to_be_focused()  # the browser says that it must be filled in


def test_shows_the_beginning_of_a_large_value(page: Page, docker_stack: Project) -> None:
    docker_stack.put("large", "text", "x" * 1_000_000)
    expect(look_up(page, "large", "text")).to_have_text(
        '"text" is an item of large. The first 100,000 of its 1,000,002 characters:'
    )
    assert len(value(page).inner_text()) == 100_000


def test_nothing_in_an_item_is_markup(page: Page, docker_stack: Project) -> None:
    missed = f"{EVIL} missed"
    miss(docker_stack, missed, times=10)
    put(docker_stack, "evil", {EVIL: {EVIL: EVIL}})
    expect(row(page, "Most missed items", missed)).to_be_visible()
    expect(look_up(page, "evil", EVIL)).to_have_text(f'"{EVIL}" is an item of evil.')
    expect(value(page)).to_contain_text(json.dumps(EVIL))
    expect(look_up(page, "evil", missed)).to_contain_text(f'"{missed}" is neither')
    assert page.locator("img, body script").count() == 0


def test_an_actor_that_crashes_comes_back_by_itself(
    engine: docker.DockerClient, page: Page, docker_stack: Project
) -> None:
    mw = actors(docker_stack)["mw"]
    run_in(only(engine, docker_stack, "ray-worker"), "python", "-c", f"import os; os.kill({mw['pid']}, 9)")
    expect(cell(page, mw, "Restarts")).to_have_text(str(mw["restarts"] + 1))
    expect(cell(page, mw, "PID")).not_to_have_text(str(mw["pid"]))
    expect(state(page)).to_have_text(WELL)


def test_says_that_actors_are_dead_until_they_are_back(
    engine: docker.DockerClient, page: Page, docker_stack: Project
) -> None:
    miss(docker_stack, "before", times=20)
    expect(row(page, "Most missed items", "before")).to_be_visible()
    before = actors(docker_stack)
    api = only(engine, docker_stack, "seedcore-api")
    kill_for_good(api, "mw")
    expect(state(page)).to_contain_text("1 thing is wrong")
    expect(state(page)).to_contain_text(
        "mw is not running: no actor 'mw' in namespace 'seedcore-dev'; run `make bootstrap`"
    )
    expect(page).to_have_title("1 thing is wrong – SeedCore")
    expect(cell(page, before["mw"], "State")).to_have_text("not running")
    expect(cell(page, before["mw"], "PID")).to_have_text("")
    expect(cell(page, before["shared_cache"], "State")).to_have_text("running")

    kill_for_good(api, "miss_tracker")
    expect(state(page)).to_contain_text("2 things are wrong")
    hot = page.get_by_role("region", name="Most missed items")
    expect(hot).to_contain_text("not known: no answer")
    assert_readable(page)
    expect(look_up(page, "organ", "in vain")).to_contain_text("is neither an item of organ")  # the files are read

    docker_stack.make("bootstrap")
    expect(state(page)).to_have_text(WELL)
    expect(page).to_have_title("SeedCore")
    after = actors(docker_stack)
    for name in ("mw", "miss_tracker"):
        expect(cell(page, after[name], "PID")).to_have_text(str(after[name]["pid"]))
    expect(row(page, "Most missed items", "before")).to_be_visible()


def test_says_that_a_worker_hangs_until_it_goes_on(
    engine: docker.DockerClient, page: Page, docker_stack: Project
) -> None:
    worker = only(engine, docker_stack, "ray-worker")
    worker.pause()
    try:
        expect(state(page)).to_contain_text(
            "miss_tracker, shared_cache, and mw are not running: did not answer; "
            "it is not busy with a call, so it is restarting, stopped or cut off"
        )
        expect(state(page)).to_contain_text("`make doctor` looks for the cause and says what to do.")
    finally:
        worker.unpause()
    expect(state(page)).to_have_text(WELL)


def test_says_that_it_has_lost_the_api_until_it_is_back(
    engine: docker.DockerClient, page: Page, docker_stack: Project
) -> None:
    mw = actors(docker_stack)["mw"]
    api = only(engine, docker_stack, "seedcore-api")
    api.pause()
    try:
        expect(state(page)).to_contain_text("Lost the API: no answer within 10 s")
        expect(state(page)).to_contain_text(re.compile(r"All below is from \d+:\d\d.*`make ps` shows whether it runs"))
        expect(page).to_have_title("Lost the API: no answer within 10 s – SeedCore")
        expect(cell(page, mw, "PID")).to_have_text(str(mw["pid"]))
        assert_readable(page)
    finally:
        api.unpause()
    expect(state(page)).to_have_text(WELL)
    docker_stack.put("lost", "item", 1)
    expect(look_up(page, "lost", "item")).to_have_text('"item" is an item of lost.')


def test_says_that_an_actor_runs_older_code(page: Page, docker_stack: Project) -> None:
    source = docker_stack.folder / "seedcore/actors/mw_store.py"
    good = source.read_text()
    source.write_text(f"{good}# changed\n")
    expect(state(page)).to_contain_text(
        "mw runs older code than is on the disk (seedcore.actors.mw_store): `make reload-actors`"
    )
    source.write_text(good)
    expect(state(page)).to_have_text(WELL)


def test_fits_on_a_phone(browser: Browser, docker_stack: Project, tmp_path: Path) -> None:
    miss(docker_stack, "m" * 256, times=10)
    put(docker_stack, "o" * 256, {"i" * 256: "v" * 1000})
    with opened(browser, docker_stack, tmp_path, viewport=PHONE, is_mobile=True, has_touch=True) as page:
        expect(row(page, "Most missed items", "m" * 256)).to_be_visible()
        expect(look_up(page, "o" * 256, "i" * 256)).to_contain_text("is an item of")
        assert page.evaluate(OVERFLOW) == 0
        singletons = page.get_by_role("region", name="Singletons")
        assert singletons.evaluate("(region) => region.scrollWidth > region.clientWidth")  # in itself, by touch


def test_is_readable_in_light_and_dark(page: Page, docker_stack: Project) -> None:
    miss(docker_stack, "contrast", times=20)
    expect(row(page, "Most missed items", "contrast")).to_be_visible()
    expect(look_up(page, "", "contrast")).to_contain_text("not a shared item")
    assert_readable(page)
    colours = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(set(colours)) == 2


def test_a_screen_reader_finds_its_way(page: Page, docker_stack: Project) -> None:
    docker_stack.put("reader", "item", [1])
    expect(look_up(page, "reader", "item")).to_contain_text("is an item of")
    assert page.locator("html").get_attribute("lang") == "en"
    expect(page).to_have_title("SeedCore")
    expect(page.locator("body")).to_match_aria_snapshot(
        """
        - banner:
          - heading "SeedCore" [level=1]
          - paragraph
          - navigation "More":
            - link "API docs"
            - link "Ray dashboard"
            - link "Metrics"
        - main:
          - region "State":
            - heading "State" [level=2]
            - status:
              - paragraph: Everything works
          - heading "Singletons" [level=2]
          - region "Singletons":
            - table "Singletons":
              - rowgroup:
                - row "Actor State Node PID Age Restarts Code Items Bytes"
              - rowgroup:
                - row /miss_tracker/:
                  - rowheader "miss_tracker (MissTracker)"
                  - cell "running"
                - row /shared_cache/
                - row /mw/
          - region "Latest errors of tasks and actors"
          - region "Log of an actor":
            - heading "Log of an actor" [level=2]
            - combobox "Actor"
            - paragraph
          - heading "Ray nodes" [level=2]
          - region "Ray nodes":
            - table "Ray nodes"
          - region "Last five minutes":
            - heading "Last five minutes" [level=2]
            - figure /Hit ratio/:
              - img "Hit ratio over the last five minutes"
            - figure /HTTP requests/:
              - img "HTTP requests a second over the last five minutes"
            - figure /Items/:
              - img "Items over the last five minutes"
            - figure /Bytes/:
              - img "Bytes over the last five minutes"
          - region "Most missed items":
            - heading "Most missed items" [level=2]
          - region "Look up an item":
            - heading "Look up an item" [level=2]
            - textbox "Organ"
            - textbox "Item"
            - button "Look up"
            - status: /is an item of reader/
            - region "Value"
        """
    )
    # What is said without being asked for: these two and nothing that changes all the time.
    expect(page.get_by_role("status")).to_have_count(2)
    expect(page.locator("[aria-live], [role=alert], [role=log], output")).to_have_count(0)


FAILING = """
import ray

ray.init()


@ray.remote
class Careless:
    def fail(self, why):
        raise ValueError(why)


careless = Careless.remote()
for why in ("first", %r):
    try:
        ray.get(careless.fail.remote(why))
    except ValueError:
        pass
"""


def test_the_latest_errors_are_shown_with_their_tracebacks(page: Page, docker_stack: Project) -> None:
    (docker_stack.folder / "app/jobs").mkdir(exist_ok=True)
    (docker_stack.folder / "app/jobs/failing.py").write_text(FAILING % EVIL)
    docker_stack.make("run", "M=app.jobs.failing")
    region = page.get_by_role("region", name="Latest errors of tasks and actors")
    errors = region.get_by_role("group").filter(has_text="Careless.fail")
    latest = errors.first
    expect(latest).to_contain_text("Careless.fail")
    expect(latest).to_contain_text(f"ValueError: {EVIL}")
    expect(errors.nth(1)).to_contain_text("ValueError: first")
    traceback = latest.get_by_text("failing.py")
    expect(traceback).to_be_hidden()
    latest.locator("summary").click()
    expect(traceback).to_contain_text("in fail")
    docker_stack.make("run", "M=app.jobs.failing")
    expect(errors).to_have_count(4)
    assert_readable(page)


SPEAKING = """
import logging
import ray

ray.init()


@ray.remote
class Speaker:
    def say(self, what):
        print("printed", what)
        logging.getLogger("speaker").error("logged %%s", what)


speaker = Speaker.options(name="speaker", get_if_exists=True, lifetime="detached", num_cpus=0).remote()
ray.get(speaker.say.remote(%r))
"""
NAPPING = """
import time
import ray
from seedcore import MwManager


def nap():
    while MwManager("nap").get_item("over") is None:
        time.sleep(0.1)


ray.init()
ray.get(ray.remote(num_cpus=0)(nap).options(name="a_long_nap").remote())
"""


def test_an_actor_is_heard_while_it_speaks(page: Page, docker_stack: Project) -> None:
    def speak(what: str) -> None:
        (docker_stack.folder / "app/jobs").mkdir(exist_ok=True)
        (docker_stack.folder / "app/jobs/speaking.py").write_text(SPEAKING % what)
        docker_stack.make("run", "M=app.jobs.speaking")

    speak(EVIL)
    page.get_by_role("combobox", name="Actor").select_option("speaker")
    log = page.get_by_role("region", name="Log", exact=True)
    expect(log).to_contain_text(f"printed {EVIL}")
    expect(log).to_contain_text(f"logged {EVIL}")
    expect(log).not_to_contain_text("actor_name")
    speak("again")
    expect(log).to_contain_text("printed again")
    assert_readable(page)
    page.get_by_role("combobox", name="Actor").select_option("mw")
    expect(log).not_to_contain_text("printed")
    expect(page.get_by_role("region", name="Log of an actor").get_by_role("paragraph")).to_have_text(
        re.compile("it has said nothing yet|Its last lines, as they come.")
    )


def test_what_a_node_does_is_shown_while_it_does_it(page: Page, docker_stack: Project) -> None:
    (docker_stack.folder / "app/jobs").mkdir(exist_ok=True)
    (docker_stack.folder / "app/jobs/napping.py").write_text(NAPPING)
    nodes = page.get_by_role("table", name="Ray nodes")
    expect(nodes).not_to_contain_text("a_long_nap")
    with ThreadPoolExecutor(1) as runner:
        done = runner.submit(docker_stack.make, "run", "M=app.jobs.napping")
        try:
            expect(nodes).to_contain_text("a_long_nap")
        finally:
            docker_stack.put("nap", "over", True)
        done.result()
    expect(nodes).not_to_contain_text("a_long_nap")


@pytest.mark.parametrize(("path", "shows"), [("/docs", "/hot-items"), ("/redoc", "/hot-items")])
def test_the_documentation_of_the_api_needs_nobody_else(
    browser: Browser, docker_stack: Project, path: str, shows: str
) -> None:
    context = browser.new_context(base_url=str(docker_stack.api.base_url))
    context.route(lambda url: not url.startswith(str(docker_stack.api.base_url)), lambda route: route.abort())
    page = context.new_page()
    page.goto(path)
    expect(page.get_by_text(shows).first).to_be_visible()
    context.close()
