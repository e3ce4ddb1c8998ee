"""Bootstrap where nodes are missing or lost."""

from pathlib import Path

from tests.cluster.cluster import Cluster
from tests.cluster.test_bootstrap import BOOTSTRAP, refused
from tests.waiting import wait_until


def test_no_worker_then_one_whose_state_folder_cannot_be_used(another_cluster: Cluster, tmp_path: Path) -> None:
    another_cluster.start_head()
    silence = refused(another_cluster, "No node offers the resource 'state'", "make logs", BOOTSTRAP_DEADLINE_S="3")
    for name in ("mw", "miss_tracker", "shared_cache"):
        assert f"{name}: did not answer within BOOTSTRAP_DEADLINE_S=3" in silence

    a_file = tmp_path / "a_file"
    a_file.touch()
    another_cluster.start_worker(STATE_DIR=str(a_file))
    failed = refused(another_cluster, "StoreUnavailableError", f"cannot open {a_file}")
    assert "3 of 3 singletons are not alive" in failed


def test_a_bootstrap_that_runs_before_the_head_waits_for_it(another_cluster: Cluster) -> None:
    waiting = another_cluster.popen(*BOOTSTRAP, LOOKUP_RETRIES="1000", LOOKUP_DEADLINE_S="60", LOG_LEVEL="DEBUG")
    assert waiting.stdout is not None
    assert any("try 2 of 1000 failed" in line for line in waiting.stdout)
    another_cluster.start_head()
    another_cluster.start_worker()
    output, _ = waiting.communicate()
    assert waiting.returncode == 0, output
    assert "miss_tracker=created, shared_cache=created, mw=created" in output


def test_a_lost_worker_comes_back_with_all_singletons(another_cluster: Cluster) -> None:
    another_cluster.start_head()
    another_cluster.start_worker(1)
    assert another_cluster.run(*BOOTSTRAP).returncode == 0
    write = "from seedcore.memory.working_memory import MwManager; MwManager('organ').set_item('item', 'kept')"
    assert another_cluster.run("-c", write).returncode == 0
    another_cluster.kill_last_node()
    another_cluster.start_worker(2)
    read = "from seedcore.memory.working_memory import MwManager; print('read', MwManager('organ').get_item('item'))"
    wait_until(lambda: "read kept" in another_cluster.run("-c", read).stdout)
