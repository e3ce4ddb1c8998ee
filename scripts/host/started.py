"""What a stack was last started with: where, and with which knobs. The verbs go by that as long as it is up."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from scripts.host.runtime import LOCAL_DIR, StackError, relative
from scripts.host.settings import HostSettings, env_files, load_host_settings


@dataclass(frozen=True)
class Started:
    """The last `make up` of a stack from this folder.

    Args:
        runtime: docker or local.
        engine: where the Docker Engine answered, or "".
        engine_id: which one it was, or "".
        knobs: those that were set then.
    """

    runtime: str
    engine: str = ""
    engine_id: str = ""
    knobs: dict[str, str] = field(default_factory=dict)

    def write(self, stack: str) -> None:
        """Remember it.

        Args:
            stack: its name.
        """
        LOCAL_DIR.mkdir(exist_ok=True)
        unfinished = _file(stack).with_suffix(".unfinished")  # a full disk leaves what was remembered before
        unfinished.write_text(json.dumps(asdict(self)))
        unfinished.replace(_file(stack))

    def settings(self, given: Mapping[str, str]) -> HostSettings:
        """Every knob as it was then.

        Args:
            given: knobs that count all the same.
        """
        return load_host_settings({**self.knobs, **given})


def last_start(stack: str) -> Started | None:
    """How the stack of this name was last started from this folder; None if it never was.

    Args:
        stack: its name.

    Raises:
        StackError: what was remembered is damaged.
    """
    file = _file(stack)
    try:
        return Started(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise StackError(f"{relative(file)} is damaged: delete it, then `make up`.") from error


def other_stacks(stack: str) -> list[str]:
    """The names of the other stacks that were started from this folder.

    Args:
        stack: the name of this one.
    """
    begin, _, end = _file("*").name.partition("*")
    names = (path.name.removeprefix(begin).removesuffix(end) for path in LOCAL_DIR.glob(f"{begin}*{end}"))
    return sorted(name for name in names if name != stack)


def forget(stack: str) -> None:
    """It has no items any more, so it may start anywhere."""
    _file(stack).unlink(missing_ok=True)


def stack_name() -> str:
    """The name that the environment says, be the other knobs right or wrong."""
    name = "COMPOSE_PROJECT_NAME"
    default = HostSettings.model_fields[name.lower()].default
    return os.environ.get(name) or env_files().get(name) or str(default)


def _file(stack: str) -> Path:
    return LOCAL_DIR / f"started.{stack}.json"
