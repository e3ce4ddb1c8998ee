"""One verb at a time starts or stops something of a stack."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from scripts.host.runtime import LOCAL_DIR, StackError


@contextmanager
def alone(stack: str) -> Iterator[None]:
    """Wait until no other verb is at work on this stack, and keep others waiting.

    Args:
        stack: its name.

    Raises:
        StackError: the file of the lock cannot be written.
    """
    lock = FileLock(LOCAL_DIR / f"lock.{stack}")
    try:
        LOCAL_DIR.mkdir(exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            print(f"waiting for another verb that is at work on the stack '{stack}'; Ctrl-C gives up", flush=True)
            lock.acquire()
    except OSError as error:
        raise StackError(
            f"cannot write {lock.lock_file}: {error.strerror}. The checkout must be yours; see `ls -ld`."
        ) from error
    try:
        yield
    finally:
        lock.release()
