"""Verbs of Ray's token."""

import sys
import time
from argparse import Namespace

from scripts.host.choose_runtime import runtime_in_use
from scripts.host.dialogue import next_step
from scripts.host.runtime import StackError, relative, require_good_code
from scripts.host.settings import HostSettings
from scripts.host.token_file import ensure_token, replace_token
from seedcore.settings import AuthMode


def token(settings: HostSettings, arguments: Namespace) -> int:
    """Show the token that the dashboard asks for."""
    ensure_token(settings.ray_auth_token_path)
    print(settings.ray_auth_token_path.read_text().strip())
    print(f"Next: paste it at http://127.0.0.1:{settings.dashboard_port}; keep it to yourself", file=sys.stderr)
    return 0


def rotate_token(settings: HostSettings, arguments: Namespace) -> int:
    """Replace Ray's token, and bring a running stack back with it."""
    if settings.ray_auth_mode is not AuthMode.TOKEN:
        raise StackError(f"RAY_AUTH_MODE={settings.ray_auth_mode.value}: there is no token in use. See .env.")
    runtime = runtime_in_use(settings)
    was_up = runtime.is_up()
    if was_up:
        require_good_code(runtime)  # with which nothing would come up again
    replace_token(settings.ray_auth_token_path)
    print(f"there is a new token in {relative(settings.ray_auth_token_path)}")
    if not was_up:
        return next_step("the stack is down: `make up` starts it with the new token")
    began = time.monotonic()
    runtime.up()  # sees that the services have another token, and starts afresh
    print(f"\nThe stack is up with it after {time.monotonic() - began:.1f} s, and the old token is refused")
    return next_step("the items are kept; the dashboard asks for the new token, which `make token` shows")
