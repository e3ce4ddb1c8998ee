"""`MEMORY_URL`: where the engine is, and how to talk to it.

    valkey://HOST:PORT/N                                  one server; N is its database, 0 without one
    valkey+sentinel://HOST:PORT,HOST:PORT/NAME/N          the primary that the sentinels know under this name
    valkey+cluster://HOST:PORT,HOST:PORT                  a cluster, by some of its nodes

`valkeys` in place of `valkey` is TLS, `redis` and `rediss` say the same. `USER@` before the hosts names a user, and
`?replicas=N` behind all how many replicas must have a write before it is acknowledged.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl, unquote

DEFAULT_PORT: Final = 6379
DEFAULT_SENTINEL_PORT: Final = 26379
MAX_PORT: Final = 65535
MAX_REPLICAS: Final = 16
URL: Final = re.compile(
    r"(?P<protocol>valkeys?|rediss?)(\+(?P<kind>sentinel|cluster))?://(?P<places>[^/?#]*)(?P<path>/[^?#]*)?(\?(?P<query>[^#]*))?"
)
FORM: Final = (
    "valkey://HOST:PORT/N, valkey+sentinel://HOST:PORT,HOST:PORT/NAME/N or valkey+cluster://HOST:PORT,HOST:PORT"
)


class Kind(StrEnum):
    """Who is at the hosts of an address."""

    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


# An answer of one server is durable when its file has it; the others have replicas, and lose a machine without loss.
DEFAULT_REPLICAS: Final = {Kind.SERVER: 0, Kind.SENTINEL: 1, Kind.CLUSTER: 1}


@dataclass(frozen=True)
class Address:
    """Where the engine is.

    Args:
        kind: who is at the hosts.
        hosts: each with its port.
        is_tls: whether to talk TLS, to the sentinels as well.
        user: whom to log in as; "" is the default one.
        database: number of the database.
        primary: its name, for sentinels.
        replicas: how many must have a write before it is acknowledged.
    """

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    is_tls: bool = False
    user: str = ""
    database: int = 0
    primary: str = ""
    replicas: int = 0

    def __str__(self) -> str:
        """For people."""
        where = ", ".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return where if self.kind is Kind.SERVER else f"the {self.kind} at {where}"


def parse_address(url: str) -> Address:
    """The address that a URL names.

    Raises:
        ValueError: it names none; the message does not repeat the URL, since a password may be in it.
    """
    found = URL.fullmatch(url)  # urlsplit knows one host only
    if found is None:
        raise ValueError(f"must be {FORM}")
    login, _, places = found["places"].rpartition("@")
    if ":" in login:
        raise ValueError("must have no password in it, since it is shown: MEMORY_PASSWORD in .env.local is for that")
    kind = Kind(found["kind"] or Kind.SERVER)
    hosts = tuple(_host(place, kind) for place in places.split(","))
    if kind is Kind.SERVER and len(hosts) > 1:
        raise ValueError("must name one server; more than one are valkey+sentinel:// or valkey+cluster://")
    path = [unquote(part) for part in (found["path"] or "").strip("/").split("/") if part]
    primary = ""
    if kind is Kind.SENTINEL:
        if not path:
            raise ValueError("must name the primary that the sentinels watch: valkey+sentinel://HOST:PORT/NAME/N")
        primary = path.pop(0)
    if len(path) > 1 or (path and not path[0].isdecimal()):
        raise ValueError(f"must end with the number of a database: {FORM}")
    database = int(path[0]) if path else 0
    if kind is Kind.CLUSTER and database:
        raise ValueError("must name no database: a cluster has one only")
    replicas = _replicas(found["query"] or "", DEFAULT_REPLICAS[kind])
    return Address(kind, hosts, found["protocol"] in ("valkeys", "rediss"), unquote(login), database, primary, replicas)


def _host(place: str, kind: Kind) -> tuple[str, int]:
    found = re.fullmatch(r"(\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\s:\[\]]+))(:(?P<port>[0-9]{1,5}))?", place)
    default = DEFAULT_SENTINEL_PORT if kind is Kind.SENTINEL else DEFAULT_PORT
    port = int(found["port"] or default) if found else 0
    if found is None or not 0 < port <= MAX_PORT:
        raise ValueError(f"must name hosts and ports: {FORM}")
    return found["ipv6"] or found["name"], port


def _replicas(query: str, default: int) -> int:
    asked = dict(parse_qsl(query, keep_blank_values=True))
    number = asked.pop("replicas", str(default))
    if asked:
        raise ValueError("has more behind the question mark than replicas=N")
    if not number.isdecimal() or int(number) > MAX_REPLICAS:
        raise ValueError(f"must wait for 0 to {MAX_REPLICAS} replicas")
    return int(number)
