"""What the servers say of themselves, and what of their settings breaks a promise of the memory."""

from typing import Any, Final

from seedcore.store.engine import EngineState
from seedcore.store.valkey.client import ValkeyClient

LOSES_ITEMS: Final = (
    "appendonly is off at {0}, so its death takes what was acknowledged: `CONFIG SET appendonly yes`, and in its "
    "configuration file; of a managed service in its parameters"
)
EVICTS: Final = (
    "maxmemory-policy is {1} at {0}, so it drops items that were acknowledged: `CONFIG SET maxmemory-policy "
    "noeviction`, and in its configuration file; of a managed service in its parameters"
)
IS_OLD: Final = "{0} is {1}, and the memory needs Valkey 7.2 or Redis 7.0"
OLDEST: Final = {"Valkey": (7, 2), "Redis": (7, 0)}
TOO_FEW: Final = (
    "{0} has {1} replicas, and writes wait for {2}: start one, or ask for fewer with ?replicas=N in MEMORY_URL"
)
FULL: Final = "{0} uses {1:.0%} of its maxmemory: raise it, or delete items; when it is full, writes are refused"
NEARLY_FULL: Final = 0.9


def state_of(client: ValkeyClient) -> EngineState:
    """Asks them.

    Raises:
        SeedCoreError: one does not answer.
    """
    address = client.address
    servers = {node: _parsed(info) for node, info in client.ask_each(("INFO",)).items()}
    facts, problems = [], []
    for (host, port), server in servers.items():
        product = "Valkey" if "valkey_version" in server else "Redis"
        name = f"{product} {_version(server)}"
        place = f"{host}:{port}" if len(servers) > 1 else str(address)
        memory, most = _number(server, "used_memory"), _number(server, "maxmemory")
        replicas = int(_number(server, "connected_slaves"))
        is_kept = server.get("aof_enabled") == "1"
        facts.append(
            f"{name} at {place}, primary with {replicas} replica(s), {memory / 1e6:.1f} MB, "
            f"append-only file {'on' if is_kept else 'off'}"
        )
        is_old = tuple(map(int, _version(server).split(".")[:2])) < OLDEST[product]
        problems += [IS_OLD.format(place, name)] if is_old else []
        # With replicas that have each write it is they who keep it, as services without a file have it.
        problems += [] if is_kept or address.replicas else [LOSES_ITEMS.format(place)]
        policy = server.get("maxmemory_policy", "noeviction")
        problems += [] if policy == "noeviction" or not most else [EVICTS.format(place, policy)]
        problems += [TOO_FEW.format(place, replicas, address.replicas)] if replicas < address.replicas else []
        problems += [FULL.format(place, memory / most)] if most and memory > NEARLY_FULL * most else []
    return EngineState(
        facts=facts,
        numbers={
            "engine_memory_bytes": sum(_number(server, "used_memory") for server in servers.values()),
            "engine_max_memory_bytes": sum(_number(server, "maxmemory") for server in servers.values()),
            "engine_clients": sum(_number(server, "connected_clients") for server in servers.values()),
            "engine_replicas": min(_number(server, "connected_slaves") for server in servers.values()),
            "engine_servers": float(len(servers)),
            "engine_problems": float(len(problems)),
            "engine_commands_total": sum(_number(server, "total_commands_processed") for server in servers.values()),
        },
        problems=problems,
    )


def _parsed(info: Any) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode().splitlines() if ":" in line)
    return {name: value for name, _, value in lines}


def _number(server: dict[str, str], name: str) -> float:
    """0 of what a service does not tell."""
    return float(server.get(name, 0))


def _version(server: dict[str, str]) -> str:
    return server.get("valkey_version") or server["redis_version"]
