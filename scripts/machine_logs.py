"""Writes Ray's logs of the other machines to standard output, as a tar file."""

import io
import os
import sys
import tarfile
from pathlib import Path
from typing import Final

from scripts.cluster_session import join_cluster
from scripts.machines import living_nodes, on_nodes, own_address
from scripts.ray_logs import write_logs
from seedcore.errors import SeedCoreError
from seedcore.settings import SettingsError

TIMEOUT_S: Final = 60.0


def packed_logs() -> bytes:
    """Those of the node that this runs on."""
    packed = io.BytesIO()
    write_logs(Path(os.environ["RAY_TMPDIR"]) / "ray", packed)
    return packed.getvalue()


def main() -> int:
    """Write them."""
    try:
        join_cluster()
    except (SeedCoreError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1
    others = {
        node["NodeID"]: address
        for address, nodes in living_nodes().items()
        if address != own_address()
        for node in nodes
    }
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
        for node_id, packed in on_nodes(dict.fromkeys(others, packed_logs), TIMEOUT_S).items():
            with tarfile.open(fileobj=io.BytesIO(packed)) as logs:
                for entry in logs:
                    content = logs.extractfile(entry)
                    entry.name = f"{others[node_id]}/{node_id[:8]}/{entry.name}"
                    archive.addfile(entry, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
