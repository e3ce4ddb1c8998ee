"""Writes what the tasks and actors of this node print and log to its log, each line with who said it; and that the
kernel has ended one of them for want of memory, which it tells nobody else.

Ray writes it into files, two for each worker process, and says in them who speaks from there on: `:actor_name:Counter`,
`:task_name:square`. images/startup/sitecustomize.py adds the name of a named actor. Imports neither Ray nor the
settings, since one runs on each node.

python -m scripts.worker_logs RAY_DIR text|json [KNOB]

KNOB is the one with the container's limit of memory.
"""

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from watchfiles import watch

ACTOR: Final = ":actor_name:"  # ray_constants.LOG_PREFIX_ACTOR_NAME
TASK: Final = ":task_name:"
JOB: Final = ":job_id:"
NAMED: Final = f"{ACTOR}name="  # ours; see sitecustomize.py
FILE: Final = re.compile(r"worker-[0-9a-f]+-[0-9a-f]+-(\d+)\.(?:out|err)")
MAX_LINE: Final = 2**20  # bytes; what has no end by then is written as it is
GATHER_MS: Final = 50  # how long changes are gathered
LOOK_MS: Final = 1000  # between two looks at files that nobody told of
WAIT_S: Final = 0.1  # between two looks for the first session
# Where the kernel counts them, of cgroup v2 and v1; Docker shows a container its own there.
KILLS: Final = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))


@dataclass
class Speaker:
    """Who writes a file at present.

    Args:
        pid: of its process.
        actor: the actor's name, or its class if it has none.
        task: the task's function.
    """

    pid: int
    actor: str = ""
    is_named: bool = False
    task: str = ""

    def hear(self, line: str) -> bool:
        """Whether the line is no output, but says who speaks from here on."""
        if line.startswith(NAMED):
            self.actor, self.is_named = line.removeprefix(NAMED), True
        elif line.startswith(ACTOR):
            if not self.is_named:
                self.actor = line.removeprefix(ACTOR)
        elif line.startswith(TASK):
            self.task = line.removeprefix(TASK)
        else:
            return line.startswith(JOB)
        return True

    def fields(self) -> dict[str, str | int]:
        """For a record."""
        kind, name = ("actor", self.actor) if self.actor else ("task", self.task)
        return {kind: name, "pid": self.pid} if name else {"pid": self.pid}

    def as_text(self, line: str) -> str:
        """The line with who said it, as Ray shows it to a driver."""
        return f"({self.actor or self.task or 'worker'} pid={self.pid}) {line}"

    def as_json(self, line: str) -> str:
        """The line as a record; one that is a record already gets who said it."""
        record: object = None
        if line.startswith("{"):
            try:
                record = json.loads(line)
            except ValueError:
                record = None
        if not isinstance(record, dict):
            record = new_record(line)
        return json.dumps({**record, **self.fields()}, ensure_ascii=False)


def new_record(message: str) -> dict[str, str]:
    """With the time of now."""
    return {"asctime": f"{datetime.now():%Y-%m-%d %H:%M:%S,%f}"[:-3], "message": message}


@dataclass
class Followed:
    """A file that is read as it grows.

    Args:
        path: of the file.
        speaker: who writes it.
    """

    path: Path
    speaker: Speaker
    _file: BinaryIO | None = None
    _rest: bytes = field(default=b"", repr=False)

    def lines(self) -> Iterator[str]:
        """What is new, by whole lines; of a file that Ray has rotated the end of the old one first."""
        yield from self._read()
        if self._was_replaced():
            yield from self._read()  # what came in between
            self.close()
            yield from self._read()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _was_replaced(self) -> bool:
        try:
            return self._file is not None and self.path.stat().st_ino != os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return False

    def _read(self) -> Iterator[str]:
        if self._file is None:
            try:
                self._file = self.path.open("rb")
            except FileNotFoundError:
                return
        while chunk := self._file.read(MAX_LINE):
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            if len(self._rest) > MAX_LINE:
                whole, self._rest = [*whole, self._rest], b""
            for line in whole:
                yield line.decode(errors="replace").rstrip("\r")


class WorkerLogs:
    """The files of one node's workers.

    Args:
        folder: of the logs of a session.
        is_json: whether a line becomes a record, as LOG_FORMAT=json asks.
    """

    def __init__(self, folder: Path, *, is_json: bool) -> None:
        self._folder = folder
        self._is_json = is_json
        self._followed: dict[Path, Followed] = {}
        self._ended: set[Path] = set()  # those whose process has ended, read to the end

    def new_lines(self) -> Iterator[str]:
        """What they got since the last time, with who said it."""
        for path in sorted(self._folder.iterdir()):
            if path not in self._followed and path not in self._ended and (found := FILE.fullmatch(path.name)):
                self._followed[path] = Followed(path, Speaker(int(found[1])))
        for path, followed in list(self._followed.items()):
            speaker = followed.speaker
            has_ended = not Path(f"/proc/{speaker.pid}").exists()
            for line in followed.lines():
                if not speaker.hear(line):
                    yield speaker.as_json(line) if self._is_json else speaker.as_text(line)
            if has_ended:
                followed.close()
                del self._followed[path]
                self._ended.add(path)


class MemoryKills:
    """The processes of this container that the kernel ended as it had reached its limit.

    Args:
        knob: that has the limit.
        files: where the kernel counts them; one that is not there counts none.
        is_json: as of `WorkerLogs`.
    """

    def __init__(self, knob: str, *, is_json: bool, files: tuple[Path, ...] = KILLS) -> None:
        self._knob = knob
        self._is_json = is_json
        self._files = files
        self._told = 0

    def new_lines(self) -> Iterator[str]:
        """A line, if there are more than the last time."""
        number = sum(self._count(file) for file in self._files)
        if number > self._told:
            line = (
                f"out of memory: this container reached its limit, and the kernel ended {number - self._told} of its "
                f"processes; {self._knob} in .env is the limit"
            )
            yield json.dumps(new_record(line)) if self._is_json else line
        self._told = number

    @staticmethod
    def _count(file: Path) -> int:
        if not file.exists():
            return 0
        return sum(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith("oom_kill "))


def follow(ray_dir: Path, *, is_json: bool) -> Iterator[str]:
    """The lines of this node's workers as they come, for ever; between two looks an empty one.

    Args:
        ray_dir: Ray's folder of this node.
        is_json: as of `WorkerLogs`.
    """
    latest = ray_dir / "session_latest" / "logs"
    while True:
        while not latest.exists():
            time.sleep(WAIT_S)
        folder = latest.resolve()
        logs = WorkerLogs(folder, is_json=is_json)
        for _ in watch(
            folder,
            watch_filter=None,
            step=GATHER_MS,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
            recursive=False,
            force_polling=False,
        ):
            yield from logs.new_lines()
            yield ""
            if latest.resolve() != folder:
                break  # the next session


def main(ray_dir: str, form: str, *knob: str) -> None:
    """Write all of it, for ever."""
    is_json = form == "json"
    kills = [MemoryKills(name, is_json=is_json) for name in knob]
    for line in follow(Path(ray_dir), is_json=is_json):
        if line:
            sys.stdout.write(f"{line}\n")
            continue
        for count in kills:
            sys.stdout.writelines(f"{told}\n" for told in count.new_lines())
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
