"""Paths that are split before they are decoded (RFC 3986, 2.4), so that a slash may be part of an id."""

from urllib.parse import unquote

from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope


class RawPathRoute(APIRoute):
    """A route that is found by the path as it was sent, and whose parameters are decoded one by one.

    What is not UTF-8 becomes lone surrogates, which no parameter of type str takes.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether it is the route of a request, and with which parameters."""
        raw_path: bytes = scope.get("raw_path") or b""
        if b"%" not in raw_path:
            return super().matches(scope)
        match, found = super().matches({**scope, "path": raw_path.decode("latin-1")})
        if match != Match.NONE:
            parameters = found["path_params"]
            parameters |= {name: unquote(parameters[name], errors="surrogateescape") for name in self.param_convertors}
        return match, found
