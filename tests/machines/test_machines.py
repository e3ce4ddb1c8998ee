"""Two machines with a firewall between them, without Docker."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines.machine import HEAD_PORTS, WORKER_PORTS, Machine
from tests.waiting import wait_until

SPREAD = """
import json
import tarfile
import numpy as np
import ray
from seedcore import MwManager
from app.word import WORD


@ray.remote(num_cpus=1)
def there(address):
    memory = MwManager("spread")
    array = np.arange(1_000_000.0)
    memory.set_item("array", array)
    memory.set_item("small", {"from": address})
    same = bool((memory.get_item("array") == array).all())
    return [ray.util.get_node_ip_address(), memory.get_item("before"), same, WORD]


def main():
    ray.init(logging_level="ERROR")
    memory = MwManager("spread")
    memory.set_item("before", [1, 2])
    (node,) = [node for node in ray.nodes() if node["Alive"] and node["NodeManagerAddress"] == ADDRESS]
    where = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    seen = ray.get(there.options(scheduling_strategy=where).remote(ADDRESS))
    print(json.dumps([*seen, memory.get_item("small"), float(memory.get_item("array").sum())]))


if __name__ == "__main__":
    main()
"""


def spread(head: Machine, address: str, word: str) -> list[object]:
    """What a task on another machine sees, and what the driver sees of what that wrote."""
    (head.folder / "app/word.py").write_text(f"WORD = {word!r}\n")
    printed = head.python(f"ADDRESS = {address!r}\n{SPREAD}")
    found: list[object] = json.loads(next(line for line in printed.splitlines() if line.startswith("[")))
    return found


def addresses(head: Machine) -> set[str]:
    """Of the nodes that live, as the head knows them."""
    return {node["address"] for node in head.status()["nodes"] if node["alive"]}


def nodes_at(head: Machine, address: str) -> int:
    """How many live there, as the head knows them."""
    return sum(node["alive"] and node["address"] == address for node in head.status()["nodes"])


@pytest.fixture
def firewalls(head: Machine, second: Machine) -> None:
    """Nothing but the documented ports."""
    head.let_in(*HEAD_PORTS)
    second.let_in(WORKER_PORTS)


@pytest.mark.usefixtures("firewalls")
def test_a_task_on_another_machine_has_the_memory_and_the_code(head: Machine, second: Machine) -> None:
    assert addresses(head) == {head.address, second.address}
    for word in ("first", "saved meanwhile"):
        seen = spread(head, second.address, word)
        assert seen == [second.address, [1, 2], True, word, {"from": second.address}, sum(range(1_000_000))]
    assert not (second.folder / "app/word.py").exists()


@pytest.mark.usefixtures("firewalls")
def test_both_sides_see_both_machines(head: Machine, second: Machine) -> None:
    assert "❌" not in head.make("verify")
    assert f"💻 {second.address}" in head.make("monitor")
    for machine, other in ((head, second), (second, head)):
        said = machine.make("doctor")
        assert f"✅ this machine reaches the others: {machine.address}" in said
        assert f"✅ they reach one another: {other.address}" in said
        assert f"✅ address for other machines: {machine.address} of eth0" in said


def test_doctor_on_either_side_names_the_ports_that_are_closed(head: Machine, second: Machine, firewalls: None) -> None:
    second.let_in("21200:21249", "21260:21299")
    said = [machine.run("make", "doctor", RUNTIME="local").stdout for machine in (head, second)]
    second.let_in(WORKER_PORTS)
    for each in said:
        assert f"{head.address} does not reach {second.address} at 21250-21259" in each


def test_the_support_bundle_has_the_logs_of_all_machines(head: Machine, second: Machine) -> None:
    head.make("support-bundle")
    (bundle,) = (head.folder / ".local/support").iterdir()
    with tarfile.open(bundle) as archive:
        names = archive.getnames()
    assert any(f"/machines/{second.address}/" in name and name.endswith("raylet.out") for name in names), names


@pytest.mark.usefixtures("firewalls")
def test_it_comes_back_after_a_power_cut(head: Machine, second: Machine) -> None:
    second.cut_power()
    wait_until(lambda: addresses(head) == {head.address}, timeout_s=120)
    assert f"❌ every machine is heard of: {second.address}" in head.run("make", "doctor", RUNTIME="local").stdout
    assert f"💻 {second.address}" in (said := head.make("monitor"))
    assert "❌ missed" in said
    come_back(head, second)
    assert spread(head, second.address, "again")[3] == "again"
    second.cut_power()
    come_back(head, second)  # before the head has noticed that it was away
    assert spread(head, second.address, "at once")[3] == "at once"


def come_back(head: Machine, second: Machine) -> None:
    second.boot()
    second.let_in(WORKER_PORTS)
    # As cron does it, with the line of docs/cluster.md.
    cron = ["env", "-i", "HOME=/root", "PATH=/usr/bin:/bin", "RUNTIME=local", "sh", "-c"]
    joined = second.run(*cron, f"cd {second.folder} && make join HEAD={head.address}", folder=Path("/"))
    assert joined.returncode == 0, joined.stdout
    wait_until(lambda: nodes_at(head, second.address) == 1, timeout_s=120)  # without that of before


def test_what_a_machine_that_has_joined_is_not_for(head: Machine, second: Machine) -> None:
    for verb in ("up", "verify", "backup"):
        done = second.run("make", verb, RUNTIME="local")
        assert done.returncode != 0
        assert f"this machine works for the stack of {head.address}: do this there" in done.stdout
    assert "ray-worker" in second.make("ps")


def test_who_joins_again_does_so_with_the_knobs_of_now(head: Machine, second: Machine) -> None:
    assert "with 3 CPUs" in second.make("join", f"HEAD={head.address}", "RAY_WORKER_CPUS=3")
    wait_until(lambda: cpus_at(head, second.address) == [3.0])


def cpus_at(head: Machine, address: str) -> list[float]:
    """Of each node that lives there, as the head knows them."""
    return [node["resources"]["CPU"] for node in head.status()["nodes"] if node["alive"] and node["address"] == address]


def refused(machine: Machine, head: Machine, *knobs: str, stdin: str = "") -> str:
    done = machine.run("make", "join", f"HEAD={head.address}", *knobs, stdin=stdin, RUNTIME="local")
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    assert "nothing was started" in done.stdout
    return done.stdout


@pytest.fixture
def third(head: Machine, disks: Path) -> Iterator[Machine]:
    """A machine that has not joined."""
    machine = Machine(3, disks / "third")
    machine.boot()
    yield machine
    machine.remove()


def test_what_keeps_a_machine_out(head: Machine, third: Machine) -> None:
    assert "the head does not accept it" in refused(third, head, stdin="f" * 64)

    third.let_in("21200:21250")
    said = refused(third, head, stdin=head.token)
    assert f"{head.address} does not reach {third.address} at 21251-21299" in said
    third.let_in(WORKER_PORTS)

    late = third.run("faketime", "-f", "+1h", "make", "join", f"HEAD={head.address}", RUNTIME="local")
    assert "this machine's clock is 3600 s ahead of the head's" in late.stdout
    assert "nothing was started" in late.stdout

    said = refused(third, head, "MEMORY_URL=valkey://elsewhere")
    assert "same memory: MEMORY_URL valkey://elsewhere here, (empty) there" in said

    (third.folder / "seedcore/errors.py").open("a").write("# of another version\n")
    assert "same code: it differs in seedcore.errors" in refused(third, head)


def test_who_leaves_is_waited_for_and_may_come_back(head: Machine, second: Machine) -> None:
    assert "leaves when what runs there is done" in second.make("leave")
    wait_until(lambda: addresses(head) == {head.address})
    assert "missed" not in head.make("monitor")  # though it lost its power before
    second.make("join", f"HEAD={head.address}")
    wait_until(lambda: addresses(head) == {head.address, second.address})
