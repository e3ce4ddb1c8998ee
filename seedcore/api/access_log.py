"""One record for each request: which item, in which namespace, and how long it took."""

import logging
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.types import Scope

from seedcore.settings import load_settings

logger = logging.getLogger(__name__)

SLOW_S: Final = 1.0  # from which on a request is worth a warning
ITEM_FIELDS: Final = {"organ_id": "organ", "item_id": "item"}  # by the names in the routes
PROBLEM: Final = "seedcore.problem"  # key of the ASGI scope


def note_problem(request: Request, reason: str) -> None:
    """Keep why a request failed, for its record."""
    request.scope[PROBLEM] = reason


def log_request(scope: Scope, status: int, seconds: float, *, is_watcher: bool) -> None:
    """Log an answered request: quietly, unless it failed or was slow.

    Args:
        scope: of the request (ASGI), after its route was found.
        status: of the answer; 0 if the client went away before there was one.
        seconds: that it took.
        is_watcher: whether it only asks how the stack is, as health checks do again and again.
    """
    level = logging.DEBUG if is_watcher else _level(status, seconds)
    if not logger.isEnabledFor(level):
        return
    reason = f": {scope[PROBLEM]}" if PROBLEM in scope else ""
    fields = {
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "duration_s": round(seconds, 6),
        "namespace": load_settings().ray_namespace,
        **_item(scope.get("path_params", {})),
    }
    path = quote(scope["path"])  # an item id may have a line break in it
    logger.log(level, "%s %s %d in %.1f ms%s", scope["method"], path, status, seconds * 1000, reason, extra=fields)


def _level(status: int, seconds: float) -> int:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return logging.ERROR
    return logging.WARNING if seconds >= SLOW_S else logging.DEBUG


def _item(path_params: dict[str, Any]) -> dict[str, Any]:
    return {field: path_params[name] for name, field in ITEM_FIELDS.items() if name in path_params}
