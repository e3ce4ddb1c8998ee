"""The processes of an embedded stack."""

import os
from pathlib import Path

import psutil

from tests.stack.project import Project


def supervisord(stack: Project) -> psutil.Process:
    """The process that all others of this stack come from."""
    (found,) = [process for process in psutil.process_iter() if is_supervisord(process, stack)]
    return found


def is_supervisord(process: psutil.Process, stack: Project) -> bool:
    try:
        return "supervisor.supervisord" in process.cmdline() and Path(process.cwd()) == stack.folder
    except psutil.Error:  # it has ended
        return False


def session_of(leader: psutil.Process) -> list[psutil.Process]:
    """All processes of the stack."""
    return [process for process in psutil.process_iter() if is_in_session(process, leader.pid)]


def is_in_session(process: psutil.Process, session: int) -> bool:
    try:
        return os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.Error):  # it has ended
        return False
