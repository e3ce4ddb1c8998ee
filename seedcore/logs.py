"""Sets up logging once for a process of ours."""

import logging
import sys
from typing import Final

from pythonjsonlogger.json import JsonFormatter

from seedcore.settings import LogFormat, Settings

TEXT_FORMAT: Final = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
JSON_FIELDS: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"


def configure_logging(settings: Settings) -> None:
    """Send all log records to standard error, in `LOG_FORMAT` and from `LOG_LEVEL` on.

    uvicorn's loggers lose their own handlers, so that a container's log has one format. Its access log is left alone:
    the entrypoint turns it off, since a health check asks every second.
    """
    handler = logging.StreamHandler(sys.stderr)
    is_json = settings.log_format is LogFormat.JSON
    handler.setFormatter(
        JsonFormatter(JSON_FIELDS, json_ensure_ascii=False) if is_json else logging.Formatter(TEXT_FORMAT)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.value)
    for name in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
