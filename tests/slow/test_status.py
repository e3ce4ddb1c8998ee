"""What is told of nodes while the head is silent."""

from tests.cluster.cluster import Cluster

NODES_WHILE_THE_HEAD_IS_SILENT = """
import threading
import psutil
from seedcore.cluster.connection import connect
from seedcore.errors import ClusterUnreachableError
from seedcore.settings import load_settings
from seedcore.cluster.status import node_statuses

connect(quiet=True)
settings = load_settings()
before = sorted(node.alive for node in node_statuses(settings))
port = settings.ray_address.rpartition(":")[2]
(head,) = [p for p in psutil.process_iter(["name", "cmdline"])
           if p.info["name"] == "gcs_server" and f"--gcs_server_port={port}" in p.info["cmdline"]]
threads = threading.active_count()
head.suspend()
try:
    silent = 0
    for _ in range(5):
        try:
            node_statuses(settings, timeout_s=0.2)
        except ClusterUnreachableError:
            silent += 1
    more = threading.active_count() - threads
finally:
    head.resume()
after = sorted(node.alive for node in node_statuses(settings, timeout_s=30))
print("found", before, silent, more <= 1, after == before)
"""


def test_to_ask_for_the_nodes_while_the_head_is_silent_leaves_no_threads_behind(another_cluster: Cluster) -> None:
    another_cluster.start_head()
    done = another_cluster.run("-c", NODES_WHILE_THE_HEAD_IS_SILENT)
    assert "found [True] 5 True True" in done.stdout, done.stdout
