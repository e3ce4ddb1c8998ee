"""What every script does first that talks to the cluster."""

import logging

from seedcore.cluster.connection import connect
from seedcore.logs import configure_logging
from seedcore.settings import Settings, load_settings


def join_cluster(log_level: int = logging.ERROR) -> Settings:
    """Become a driver of the cluster, quietly, since what a script prints says it all.

    Args:
        log_level: of `logging`; less than it is not shown.

    Returns:
        the settings.

    Raises:
        SettingsError: a knob has a value that is not allowed.
        SeedCoreError: as `seedcore.cluster.connection.connect`.
    """
    settings = load_settings()
    configure_logging(settings)
    logging.getLogger().setLevel(log_level)
    connect(settings, quiet=True)
    return settings
