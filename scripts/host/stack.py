"""The verbs of the stack, in both runtimes; `make VERB` calls `python -m scripts.host.stack VERB`."""

import os
import signal
import sys
from argparse import REMAINDER, ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

from scripts.host.alone import alone
from scripts.host.choose_runtime import settings_in_use, works_for_another
from scripts.host.dialogue import NotConfirmedError
from scripts.host.runtime import StackError, relative
from scripts.host.settings import HostSettings, load_host_settings, require_no_misspelt_knob
from scripts.host.verbs import backups, debugging, inspection, lifecycle, machines, new_code, programs, tokens
from seedcore.settings import PROJECT_ROOT, SettingsError

EXIT_FAILED: Final = 1
EXIT_BAD_SETTINGS: Final = 2
EXIT_INTERRUPTED: Final = 130

Options = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Verb:
    """What a user types.

    Args:
        run: does it, and returns the exit code; its docstring is the help.
        alone: whether it starts or stops something, so that it waits for others that do.
        starts: whether it starts the stack, so that the knobs of now count, not those of the last start.
        options: what it takes, by name, as `add_argument` wants it.
        passes_on: whether what else is typed goes to the module that it runs.
        when_joined: whether it is of use on a machine that has joined the stack of another one.
    """

    run: Callable[[HostSettings, Namespace], int]
    alone: bool = False
    starts: bool = False
    options: Options = field(default_factory=dict)
    passes_on: bool = False
    when_joined: bool = False


_YES: Final[Options] = {"--yes": {"action": "store_true", "help": "do not ask"}}
_FILE: Final[Options] = {"file": {"nargs": "?", "help": f"the tar file; by default below {relative(backups.BACKUPS)}"}}
_LOGS: Final[Options] = {
    "service": {"nargs": "?", "metavar": "SERVICE", "help": "only of this one"},
    "--actor": {"metavar": "NAME", "help": "only what this actor said"},
    "--follow": {"choices": ("0", "1"), "help": "1 goes on showing what comes, 0 does not"},
}
_HEAD: Final[Options] = {"head": {"help": "address of the head's machine"}}
_MODULE: Final[Options] = {
    "module": {"help": "as for `python -m`, such as app.jobs.primes"},
    "arguments": {"nargs": REMAINDER, "help": "its arguments"},
}

VERBS: Final = {
    "up": Verb(lifecycle.up, alone=True, starts=True),
    "down": Verb(lifecycle.down, alone=True, when_joined=True),
    "clean": Verb(lifecycle.clean, alone=True, options=_YES),
    "scale": Verb(lifecycle.scale, alone=True, options={"workers": {"help": "number of ray-worker nodes"}}),
    "restart": Verb(new_code.restart, alone=True),
    "reload-actors": Verb(new_code.reload_actors, alone=True, passes_on=True),
    "bootstrap": Verb(new_code.bootstrap),
    "debug": Verb(debugging.debug, alone=True, options={"--off": {"action": "store_true", "help": "end the debugger"}}),
    "debug-ray": Verb(debugging.debug_ray),
    "verify": Verb(inspection.verify),
    "monitor": Verb(inspection.monitor, passes_on=True),
    "doctor": Verb(
        inspection.doctor,
        options={"--json": {"action": "store_true", "help": "a JSON object for each line"}},
        when_joined=True,
    ),
    "support-bundle": Verb(inspection.support_bundle, when_joined=True),
    "logs": Verb(inspection.logs, options=_LOGS, when_joined=True),
    "ps": Verb(inspection.ps, when_joined=True),
    "run": Verb(programs.run, options=_MODULE),
    "shell": Verb(programs.shell),
    "backup": Verb(backups.backup, alone=True, options=_FILE),
    "restore": Verb(backups.restore, alone=True, options=_FILE | _YES),
    "cluster-ports": Verb(machines.cluster_ports, when_joined=True),
    "invite": Verb(machines.invite),
    "join": Verb(machines.join, alone=True, starts=True, options=_HEAD, when_joined=True),
    "leave": Verb(machines.leave, alone=True, when_joined=True),
    "token": Verb(tokens.token, when_joined=True),
    "rotate-token": Verb(tokens.rotate_token, alone=True),
}


def parse(argv: list[str]) -> Namespace:
    """The verb and its arguments; `rest` is what it passes on."""
    parser = ArgumentParser(prog="python -m scripts.host.stack", description=__doc__)
    commands = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        command = commands.add_parser(name, help=verb.run.__doc__)
        for option, how in verb.options.items():
            command.add_argument(option, **how)
    arguments, rest = parser.parse_known_args(argv)
    if rest and not VERBS[arguments.verb].passes_on:
        parser.error(f"unknown arguments for {arguments.verb}: {' '.join(rest)}")
    arguments.rest = rest
    return arguments


def require_env_file() -> None:
    """Refuse to go on unless `.env` is there; Compose could not start without it."""
    if not (PROJECT_ROOT / ".env").is_file():
        raise SettingsError(
            f"{PROJECT_ROOT / '.env'} is missing, with the knobs. `git checkout .env` restores it, or copy the one of "
            "the template."
        )


def main(argv: list[str]) -> int:
    """Run one verb; whatever a user can cause ends with one message and no traceback."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `timeout 60 make run` ends it as Ctrl-C does
    arguments = parse(argv)
    verb = VERBS[arguments.verb]
    try:
        require_env_file()
        require_no_misspelt_knob()
        load = load_host_settings if verb.starts else settings_in_use
        settings = load()
        with alone(settings.compose_project_name) if verb.alone else nullcontext() as has_waited:
            if has_waited:
                settings = load()  # another verb may have changed them
            if settings.cluster_head and not verb.when_joined:
                raise works_for_another(settings.cluster_head)
            return verb.run(settings, arguments)
    except SettingsError as error:
        print(f"\n{arguments.verb}: {error}", file=sys.stderr)
        return EXIT_BAD_SETTINGS
    except StackError as error:
        print(f"\n{arguments.verb} failed: {error}", file=sys.stderr)
        return EXIT_FAILED
    except NotConfirmedError:
        print("nothing was changed")
        return 0
    except BrokenPipeError:  # of `make ps | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush at the end
        return EXIT_FAILED
    except OSError as error:  # a full disk, or an engine that went away meanwhile
        print(f"\n{arguments.verb} failed: {error}. `make doctor` looks for the cause.", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        if verb.alone:  # of the others it is the way out
            print(
                f"\n{arguments.verb}: interrupted halfway. The same command again finishes it; `make down` stops what "
                "runs.",
                file=sys.stderr,
            )
        return EXIT_INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
