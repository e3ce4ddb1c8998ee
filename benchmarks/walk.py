"""How far a request walks from HTTP to disk and back: calls of functions of seedcore/, and the modules they are in.

python -m benchmarks.walk [--list]

In one process: the real application, its real actors, which are called directly in place of through Ray. A function
counts each time that it is called, a coroutine once however often it is resumed; comprehensions do not count.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, Final

import seedcore
from seedcore import testing
from seedcore.settings import load_settings

PACKAGE: Final = str(Path(seedcore.__file__).parent)
BODY: Final = b'{"value": {"step": 1}}'
TARGETS: Final = {"PUT": (110, 16), "GET that hits": (30, 12), "GET that misses": (50, 14)}


class Walk:
    """Counts, from `with` to its end, on each thread that was started after `watch_threads`."""

    present: "Walk | None" = None

    def __init__(self) -> None:
        self._frames: dict[int, FrameType] = {}
        self.calls: Counter[str] = Counter()
        self.modules: set[str] = set()

    def note(self, frame: FrameType, event: str) -> None:
        """Count it, if it is a call of ours."""
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(PACKAGE) or id(frame) in self._frames:
            return
        if code.co_filename == testing.__file__:  # which stands in for Ray here
            return
        if code.co_name.startswith("<") and code.co_name != "<lambda>":
            return
        self._frames[id(frame)] = frame  # kept, so that a coroutine that goes on is known again
        module = str(Path(code.co_filename).relative_to(PACKAGE).with_suffix(""))
        self.calls[f"{module}: {code.co_qualname}"] += 1
        self.modules.add(module)

    def __enter__(self) -> "Walk":
        """Begin to count."""
        Walk.present = self
        sys.setprofile(_note)
        return self

    def __exit__(self, *_: object) -> None:
        """Count no more."""
        sys.setprofile(None)
        Walk.present = None


def watch_threads() -> None:
    """Before the actors start the threads that answer calls."""
    threading.setprofile(_note)


def _note(frame: FrameType, event: str, argument: Any) -> None:
    if Walk.present is not None:
        Walk.present.note(frame, event)


async def _request(app: Any, method: str, path: str, body: bytes) -> int:
    """The status of one request, as a server hands it on."""
    headers = [(b"host", b"localhost")]
    if body:
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000),
    }  # fmt: skip
    unread = [{"type": "http.request", "body": body, "more_body": False}]
    status = 0

    async def receive() -> Any:
        return unread.pop() if unread else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)

    await app(scope, receive, send)
    return status


async def _walks() -> dict[str, Walk]:
    from seedcore.api.app import create_app  # late, since it makes its managers with the clients of then

    app = create_app()
    item, missing = "/organs/agent/items/plan", "/organs/agent/items/nothing"
    requests: dict[str, tuple[tuple[str, str, bytes], int]] = {
        "PUT": (("PUT", item, BODY), 200),
        "GET that hits": (("GET", item, b""), 200),
        "GET that misses": (("GET", missing, b""), 404),
    }
    found = {}
    for name, (request, wanted) in requests.items():
        for _ in range(3):  # what is done once, as to open a file, is not the walk
            status = await _request(app, *request)
            if status != wanted:
                raise SystemExit(f"{name} answered {status}, not {wanted}")
        await asyncio.sleep(1)  # the report of what was read before goes its own way
        with Walk() as found[name]:
            await _request(app, *request)
    return found


def main(argv: list[str]) -> int:
    """Print the walks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.walk", description=__doc__.partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="print each function as well")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(STATE_DIR=folder, LOG_LEVEL="ERROR")
        load_settings.cache_clear()
        watch_threads()
        with testing.singletons_in_process(load_settings()):
            walks = asyncio.run(_walks())
    for name, walk in walks.items():
        calls, modules = TARGETS[name]
        print(f"{name}: {walk.calls.total()} calls (of {calls}) in {len(walk.modules)} modules (of {modules})")
        if arguments.list:
            print("".join(f"  {times} {function}\n" for function, times in sorted(walk.calls.items())), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
