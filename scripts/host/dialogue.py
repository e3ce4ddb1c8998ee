"""What verbs have in common when they talk to the user."""

import sys
from argparse import Namespace

from scripts.host.runtime import StackError


class NotConfirmedError(Exception):
    """Raised when the user is asked and does not say yes."""


def confirm(question: str, nobody_to_ask: str, arguments: Namespace) -> None:
    """Go on only if the user says yes, now or by YES=1.

    Raises:
        NotConfirmedError: the user does not.
        StackError: there is no terminal to ask on; says `nobody_to_ask`.
    """
    if arguments.yes:
        return
    if not sys.stdin.isatty():
        raise StackError(nobody_to_ask)
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:  # Ctrl-D
        answer = ""
        print()
    if answer.strip().lower() not in ("y", "yes"):
        raise NotConfirmedError


def next_step(text: str) -> int:
    """Say what to do next; the exit code of success."""
    print(f"\nNext: {text}")
    return 0
