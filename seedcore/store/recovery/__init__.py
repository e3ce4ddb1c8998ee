"""Looks whether a disk is right, and saves what is left of it: damaged files, damaged logs, backups."""

from seedcore.store.recovery.backups import backup, inspect_backup, restore
from seedcore.store.recovery.index_check import IndexCheck
from seedcore.store.recovery.salvage import inspect, open_unwritable, require_content, salvage, trim_log

__all__ = [
    "IndexCheck",
    "backup",
    "inspect",
    "inspect_backup",
    "open_unwritable",
    "require_content",
    "restore",
    "salvage",
    "trim_log",
]
