"""Repeated, reordered and abandoned requests over crashes, against a model of what each effect must be."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from seedcore.errors import RequestAbandonedError
from seedcore.settings import Synchronous
from seedcore.store.files.tables import store_schema
from seedcore.store.requests import RequestId
from seedcore.store.sqlite.database import Database
from seedcore.store.sqlite.request_log import CLIENT_LIFETIME_S, TIDY_EVERY, RequestLog

SCHEMA = store_schema(("CREATE TABLE effects (client_id BLOB, number INTEGER)",))


def ask(database: Database, log: RequestLog, request: RequestId | None, result: Any = None) -> Any:
    """Send a request whose effect is one row."""

    with database.transaction() as connection:

        def apply() -> Any:
            who = (request.client_id, request.number) if request else (b"", 0)
            connection.execute("INSERT INTO effects VALUES (?, ?)", who)
            return result

        return log.once(connection, request, apply)


def effects(database: Database) -> list[tuple[bytes, int]]:
    with database.reading() as connection:
        return connection.execute("SELECT client_id, number FROM effects ORDER BY client_id, number").fetchall()


def count(database: Database, table: str) -> int:
    with database.reading() as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608


@dataclass
class Client:
    """What a client knows, and every message that it ever sent: the network may deliver each again."""

    client_id: bytes
    next_number: int = 1
    waiting: set[int] = field(default_factory=set)
    given_up: set[int] = field(default_factory=set)  # and not told yet by a request that was answered
    told: set[int] = field(default_factory=set)
    applied: set[int] = field(default_factory=set)
    answered: set[int] = field(default_factory=set)
    sent: list[RequestId] = field(default_factory=list)

    def message(self, number: int) -> RequestId:
        open_numbers = self.waiting | self.given_up | {number}
        message = RequestId(self.client_id, number, min(open_numbers), tuple(self.given_up - {number}))
        self.sent.append(message)
        return message


class Requests(RuleBasedStateMachine):
    """Several clients over a network that loses, repeats and reorders, and a store that crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "effects.sqlite3"
        self.open()
        self.clients = [Client(bytes([number]) * 16) for number in range(3)]

    def open(self) -> None:
        self.database = Database(self.path, SCHEMA, Synchronous.NORMAL)
        self.log = RequestLog()

    def teardown(self) -> None:
        self.database.close()
        self.folder.cleanup()

    clients_drawn = st.integers(0, 2)

    def deliver(self, client: Client, message: RequestId, answer_arrives: bool) -> None:
        result = [f"result {message.number}"]
        try:
            answer = ask(self.database, self.log, message, result)
        except RequestAbandonedError:
            assert message.number not in client.waiting, "the client still waits for this one"
            return
        assert answer == result
        assert message.number in client.applied or message.number not in client.told, "applied though it was told of"
        client.applied.add(message.number)
        if answer_arrives and message.number in client.waiting:
            client.waiting.remove(message.number)
            client.answered.add(message.number)
            client.told |= set(message.abandoned)
            client.given_up -= set(message.abandoned)

    @rule(which=clients_drawn, is_lost=st.booleans(), answer_arrives=st.booleans())
    def send_a_new_one(self, which: int, is_lost: bool, answer_arrives: bool) -> None:
        client = self.clients[which]
        number = client.next_number
        client.next_number += 1
        client.waiting.add(number)
        message = client.message(number)
        if not is_lost:
            self.deliver(client, message, answer_arrives)

    @rule(which=clients_drawn, data=st.data(), answer_arrives=st.booleans())
    def ask_again(self, which: int, data: st.DataObject, answer_arrives: bool) -> None:
        client = self.clients[which]
        if client.waiting:
            number = data.draw(st.sampled_from(sorted(client.waiting)))
            self.deliver(client, client.message(number), answer_arrives)

    @rule(which=clients_drawn, data=st.data())
    def give_up(self, which: int, data: st.DataObject) -> None:
        client = self.clients[which]
        if client.waiting:
            number = data.draw(st.sampled_from(sorted(client.waiting)))
            client.waiting.remove(number)
            client.given_up.add(number)

    @precondition(lambda self: any(client.sent for client in self.clients))
    @rule(data=st.data())
    def deliver_an_old_message_late(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from([client for client in self.clients if client.sent]))
        self.deliver(client, data.draw(st.sampled_from(client.sent)), answer_arrives=False)

    @rule()
    def crash_and_reopen(self) -> None:
        dead = self.database  # never closed, as a killed process leaves it
        self.open()
        dead.close()

    @rule(which=clients_drawn)
    def fail_in_the_transaction(self, which: int) -> None:
        client = self.clients[which]
        number = client.next_number
        message = RequestId(client.client_id, number, min(client.waiting | client.given_up | {number}))

        def fail() -> None:
            with self.database.transaction() as connection:
                self.log.once(connection, message, lambda: None)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()

    @invariant()
    def each_effect_is_there_once(self) -> None:
        assert effects(self.database) == sorted(
            (client.client_id, number) for client in self.clients for number in client.applied
        )
        assert all(client.answered <= client.applied for client in self.clients)


TestRequests = Requests.TestCase
TestRequests.settings = settings(max_examples=60, stateful_step_count=40)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "effects.sqlite3", SCHEMA, Synchronous.NORMAL)
    yield database
    database.close()


@pytest.fixture
def log() -> RequestLog:
    return RequestLog()


@pytest.mark.parametrize("result", [None, [], ["a", "ä"], {"a": 1}, b"bytes", 1.5])
def test_a_repeated_request_gets_the_first_result_and_has_no_second_effect(
    database: Database, log: RequestLog, result: Any
) -> None:
    request = RequestId(b"client", 1, 1)
    assert ask(database, log, request, result) == result
    assert ask(database, log, request, "another") == result
    assert effects(database) == [(b"client", 1)]


def test_without_a_request_id_each_repetition_is_done(database: Database, log: RequestLog) -> None:
    assert [ask(database, log, None, number) for number in range(3)] == [0, 1, 2]
    assert len(effects(database)) == 3
    assert count(database, "clients") == count(database, "requests") == 0


def test_records_that_nobody_waits_for_are_deleted_and_stragglers_refused(database: Database, log: RequestLog) -> None:
    for number in range(1, 101):
        ask(database, log, RequestId(b"client", number, max(1, number - 4)))
    assert count(database, "requests") <= 4 + TIDY_EVERY
    with pytest.raises(RequestAbandonedError, match=r"request 95 of client 636c69656e74"):
        ask(database, log, RequestId(b"client", 95, 90))  # an old message, with an older first_incomplete
    ask(database, log, RequestId(b"client", 96, 90))  # still recorded
    assert len(effects(database)) == 100


def test_what_was_told_as_abandoned_never_comes_through_afterwards(database: Database, log: RequestLog) -> None:
    ask(database, log, RequestId(b"client", 3, 1, abandoned=(2,)))
    with pytest.raises(RequestAbandonedError):
        ask(database, log, RequestId(b"client", 2, 1))
    assert effects(database) == [(b"client", 3)]
    ask(database, log, RequestId(b"another", 2, 1))
    assert effects(database) == [(b"another", 2), (b"client", 3)]


def test_what_was_applied_before_it_was_abandoned_keeps_its_result(database: Database, log: RequestLog) -> None:
    ask(database, log, RequestId(b"client", 2, 1), "applied")
    ask(database, log, RequestId(b"client", 3, 1, abandoned=(2,)))
    assert ask(database, log, RequestId(b"client", 2, 1)) == "applied"


def test_clients_that_were_not_seen_for_a_week_are_forgotten_when_the_store_opens(tmp_path: Path) -> None:
    path = tmp_path / "effects.sqlite3"
    with closing(Database(path, SCHEMA, Synchronous.NORMAL)) as database:
        ask(database, RequestLog(clock=lambda: time.time() - CLIENT_LIFETIME_S - 1), RequestId(b"dead", 1, 1))
        ask(database, RequestLog(), RequestId(b"alive", 1, 1))
    with closing(Database(path, SCHEMA, Synchronous.NORMAL)) as database, database.reading() as connection:
        assert connection.execute("SELECT client_id FROM clients").fetchall() == [(b"alive",)]
        assert connection.execute("SELECT client_id FROM requests").fetchall() == [(b"alive",)]


def test_and_while_it_stays_open(database: Database) -> None:
    now = time.time()
    log = RequestLog(clock=lambda: now)
    ask(database, log, RequestId(b"of a key", 1, 1))
    now += CLIENT_LIFETIME_S / 2
    ask(database, log, RequestId(b"another", 1, 1))
    now += CLIENT_LIFETIME_S / 2 + 1
    ask(database, log, RequestId(b"another", 2, 2))
    assert (count(database, "requests"), count(database, "clients")) == (1, 1)


def test_what_another_writer_has_done_meanwhile_is_not_done_again(tmp_path: Path) -> None:
    path, request = tmp_path / "effects.sqlite3", RequestId(b"client", 2, 1)
    with closing(Database(path, SCHEMA, Synchronous.NORMAL)) as first:
        log = RequestLog(lambda: first.epoch)
        ask(first, log, RequestId(b"client", 1, 1))
        with closing(Database(path, SCHEMA, Synchronous.NORMAL)) as second:
            ask(second, RequestLog(lambda: second.epoch), request, "done by the second")
        first._writer = None  # as after a time in which the file could not be written
        assert ask(first, log, request, "done again") == "done by the second"
        assert effects(first) == [(b"client", 1), (b"client", 2)]
