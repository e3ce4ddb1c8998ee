"""The judge of the fault tests can tell good from bad."""

from pathlib import Path

from tests.faults.journal import Journal, Operation, Record, judge, read_ends, read_journals

SET, DELETE, GET, MISS = Operation.SET, Operation.DELETE, Operation.GET, Operation.MISS


def record(
    started: float, ended: float, operation: Operation, number: int | None, error: str = "", item: str = "item"
) -> Record:
    return Record(started, ended, "client", operation, item, number, error)


def found(number: int | None, at: float = 100.0) -> Record:
    return record(at, at + 1, GET, number)


WRITES = [record(1, 2, SET, 1), record(3, 4, SET, 2), record(5, 6, SET, 3, "timeout")]


def test_the_last_acknowledged_value_or_a_later_one_in_doubt_is_right() -> None:
    assert judge(WRITES, [found(2)]).lost == []
    assert judge(WRITES, [found(3)]).lost == []


def test_an_older_value_or_none_or_a_foreign_one_is_lost() -> None:
    for number in (1, None, -1, 4):
        assert len(judge(WRITES, [found(number)]).lost) == 1, number


def test_an_error_at_the_end_is_lost() -> None:
    assert len(judge(WRITES, [record(100, 101, GET, None, "no answer")]).lost) == 1


def test_a_write_in_doubt_must_not_land_over_a_later_acknowledged_one() -> None:
    writes = [record(1, 2, SET, 1), record(3, 4, SET, 2, "timeout"), record(5, 6, SET, 3)]
    assert judge(writes, [found(3)]).lost == []
    assert len(judge(writes, [found(2)]).lost) == 1


def test_deleted_items() -> None:
    writes = [record(1, 2, SET, 1), record(3, 4, DELETE, 2)]
    assert judge(writes, [found(None)]).lost == []
    assert len(judge(writes, [found(1)]).lost) == 1
    in_doubt = [record(1, 2, SET, 1), record(3, 4, DELETE, 2, "timeout")]
    assert judge(in_doubt, [found(1)]).lost == []
    assert judge(in_doubt, [found(None)]).lost == []
    assert len(judge([record(1, 2, SET, 1)], [found(None)]).lost) == 1


def test_reads_while_a_write_is_under_way_may_find_either() -> None:
    writes = [record(1, 2, SET, 1), record(3, 6, SET, 2)]
    for number in (1, 2):
        assert judge([*writes, record(4, 5, GET, number)], []).stale == []
    assert len(judge([*writes, record(7, 8, GET, 1)], []).stale) == 1
    assert len(judge([record(3, 6, SET, 1), record(1, 2, GET, 1)], []).stale) == 1  # read before it was written


def test_reads_must_not_go_back() -> None:
    writes = [record(1, 2, SET, 1), record(3, 9, SET, 2)]
    reads = [record(4, 5, GET, 2), record(6, 7, GET, 1)]
    assert judge([*writes, *reads], []).stale == [reads[1]]


def test_misses_are_counted_once() -> None:
    asked = [record(1, 2, MISS, None), record(3, 4, MISS, None), record(5, 6, MISS, None, "timeout")]
    assert len(judge(asked, [record(9, 9, MISS, 1)]).lost) == 1
    for right in (2, 3):
        verdict = judge(asked, [record(9, 9, MISS, right)])
        assert (verdict.lost, verdict.stale) == ([], [])
    assert len(judge(asked, [record(9, 9, MISS, 4)]).stale) == 1


def test_counts_and_the_longest_stall() -> None:
    verdict = judge([*WRITES, record(10, 11, SET, 4), record(11, 11.5, GET, 4)], [])
    assert (verdict.acknowledged, verdict.reads, verdict.failed) == (3, 1, 1)
    assert verdict.longest_stall_s == 11 - 4  # the failed request is no good answer
    assert verdict.errors == {"timeout": 1}


def test_a_journal_comes_back_without_the_line_that_was_not_finished(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.journal") as journal:
        for one in WRITES:
            journal.write(one)
    with (tmp_path / "b.journal").open("w") as half:
        half.write('[7.0, 8.0, "client", "se')
    assert read_journals(tmp_path) == WRITES
    assert list(read_ends(tmp_path)) == WRITES


def test_a_miss_is_lost_unless_its_process_may_have_died_before_it_told() -> None:
    misses = [record(1, 2, MISS, None), record(3, 4, MISS, None)]
    counted_once = [record(100, 100, MISS, 1)]
    assert len(judge(misses, counted_once).lost) == 1
    assert len(judge([*misses, record(6, 7, SET, 1, "refused")], counted_once).lost) == 1
    assert judge([*misses, record(4.1, 4.5, SET, 1, "refused")], counted_once).lost == []
