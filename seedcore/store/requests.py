"""What tells a repeated request from a new one."""

from collections.abc import Sequence
from typing import NamedTuple


class RequestId(NamedTuple):
    """The id of one write, by which a store does it once however often it comes.

    Args:
        client_id: unique to one client, such as 16 random bytes.
        number: of the request; a client counts up from 1.
        first_incomplete: the lowest number whose answer the client waits for; up to this one's.
        abandoned: numbers from there on that it gave up on. They are kept from being applied once this request is
            answered, so a client tells of them until then.
    """

    client_id: bytes
    number: int
    first_incomplete: int
    abandoned: Sequence[int] = ()
