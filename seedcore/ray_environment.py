"""What Ray itself reads from the environment, so that every process of ours tells it the same."""

import os
from io import StringIO
from typing import Final

from dotenv import dotenv_values

from seedcore.settings import PROJECT_ROOT, AuthMode, Settings

FILE: Final = PROJECT_ROOT / "images" / "ray.env"
STARTUP: Final = PROJECT_ROOT / "images" / "startup"  # on the PYTHONPATH of every process of the stack


def ray_environment(settings: Settings) -> dict[str, str]:
    """The variables of `images/ray.env`, and who may talk to Ray."""
    # What the file makes use of stands above it, as if it were a part of it.
    text = f"GCS_RECONNECT_TIMEOUT_S={settings.gcs_reconnect_timeout_s}\n{FILE.read_text()}"
    environment = {name: value or "" for name, value in dotenv_values(stream=StringIO(text)).items()}
    environment["RAY_AUTH_MODE"] = settings.ray_auth_mode.value
    if settings.ray_auth_mode is AuthMode.TOKEN:
        environment["RAY_AUTH_TOKEN_PATH"] = str(settings.ray_auth_token_path)
    return environment


def export_ray_environment(settings: Settings) -> None:
    """Put `ray_environment` into this process's environment; call before `ray.init`."""
    os.environ.update(ray_environment(settings))
