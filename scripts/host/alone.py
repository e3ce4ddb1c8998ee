"""One verb at a time starts or stops something of a stack."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from scripts.host.runtime import LOCAL_DIR, StackError


@contextmanager
def alone(stack: str) -> Iterator[bool]:
    """Wait until no other verb is at work on this stack, and keep others waiting.

    Args:
        stack: its name.

    Yields:
        whether another verb was waited for.

    Raises:
        StackError: the file of the lock cannot be written.
    """
    lock = FileLock(LOCAL_DIR / f"lock.{stack}")
    has_waited = False
    try:
        LOCAL_DIR.mkdir(exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            print(f"waiting for another verb that is at work on the stack '{stack}'; Ctrl-C gives up", flush=True)
            lock.acquire()
            has_waited = True
    except OSError as error:
        raise StackError(
            f"cannot write {lock.lock_file}: {error.strerror}. The checkout must be yours; see `ls -ld`."
        ) from error
    try:
        yield has_waited
    finally:
        lock.release()
