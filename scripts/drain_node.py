"""Takes the Ray node that this runs on out of the cluster, when what runs there is done; for `make leave`.

python -m scripts.drain_node
"""

import sys
import time
from typing import Any, Final

import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.core.generated import autoscaler_pb2

from scripts.cluster_session import join_cluster
from seedcore.errors import SeedCoreError
from seedcore.settings import SettingsError

DEADLINE_S: Final = 600  # for what runs; a node that is drained takes nothing new
POLL_S: Final = 0.5


def main() -> int:
    """Drain it, and wait until it has left."""
    try:
        settings = join_cluster()
    except (SeedCoreError, SettingsError) as error:
        print(f"❌ {error}")
        return 1
    node_id = ray.get_runtime_context().get_node_id()
    ray.shutdown()
    gcs = GcsClient(address=settings.ray_address)
    until = time.time() + DEADLINE_S
    reasons: Any = autoscaler_pb2
    reason = reasons.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, why = gcs.drain_node(node_id, reason, "make leave", round(until * 1000))
    if not accepted:
        print(f"❌ the head does not let node {node_id[:8]} go: {why}")
        return 1
    print(
        f"node {node_id[:8]} takes nothing new, and leaves when what runs there is done, after "
        f"{DEADLINE_S // 60} minutes at the latest; Ctrl-C does not wait",
        flush=True,
    )
    while time.time() < until and all(gcs.check_alive([ray.NodeID.from_hex(node_id)])):
        time.sleep(POLL_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
