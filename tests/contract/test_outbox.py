"""Messages on their way: queued while a channel is down, delivered later, and once."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mailboxes import closed_port, mail_server, subject, text, web_hook
from sqlalchemy import Engine

from penstock.notifications import outbox
from penstock.notifications.channels import FAILURE, RESOLVED, WARNING, Channel, Message
from penstock.notifications.delivery import DeliveryError
from penstock.project import Project, open_project
from penstock.settings import NotifySettings
from penstock.state import outbox as rows

pytestmark = pytest.mark.slow  # importing Apprise takes a second

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FAR = timedelta(days=365)


class Post:
    """A queue with a clock of its own."""

    def __init__(self, engine: Engine, folder: Path, **settings: Any) -> None:
        self.engine, self.log, self.now = engine, folder / "notices.log", NOON
        self.settings = NotifySettings.model_validate(settings)

    def queue(self, *messages: Message) -> None:
        with self.engine.begin() as connection:
            outbox.queue(connection, self.settings, messages, self.now)

    def flush(self, after: timedelta = timedelta(0)) -> int:
        self.now += after
        return outbox.flush(self.engine, self.settings, self.log, lambda: self.now)


def mail(port: int) -> dict[str, Any]:
    return {"emails": ["ml@example.com"], "smtp_host": "127.0.0.1", "smtp_port": port}


def message(number: int = 0, level: str = WARNING) -> Message:
    return Message(f"drift {number} ✓", f"PSI 0.3\nline {number}", level, f"k{number}", "incident")


@pytest.fixture
def port() -> int:
    return closed_port()


def test_a_mail_server_that_is_down_gets_each_message_once_when_it_is_back(
    database: Engine, tmp_path: Path, port: int
) -> None:
    post = Post(database, tmp_path, **mail(port))
    post.queue(*map(message, range(9)))
    post.queue(*map(message, range(9)))  # the same ones again
    assert post.flush() == 9  # the log has them
    (waits,) = rows.waiting(database)
    assert (waits.messages, waits.oldest, waits.error) == (9, NOON, "email did not take it")
    assert post.flush(timedelta(seconds=29)) == 0
    with mail_server(port) as (box, _):
        assert post.flush(timedelta(hours=1)) == 9
        assert post.flush(FAR) == 0
    assert [subject(one) for one in box.received] == [f"drift {n} ✓" for n in range(9)]
    first = box.received[0]
    assert text(first).splitlines() == ["PSI 0.3", "line 0"]
    assert (first["X-Penstock-Message"], first["References"]) == ("k0", "<incident@penstock>")
    assert post.log.read_text().count("drift 7 ") == 1


def test_a_storm_costs_a_mail_server_that_is_down_one_attempt_ever_less_often(
    database: Engine, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float] = []
    post = Post(database, tmp_path, **mail(port))
    post.queue(*map(message, range(9)))
    taken = outbox.send

    def send(channel: Channel, one: Message) -> bool:
        tried.append((post.now - NOON).total_seconds())
        return taken(channel, one)

    monkeypatch.setattr(outbox, "send", send)
    for _ in range(22):
        post.flush(timedelta(seconds=10))
    assert tried == [10, 40, 100, 220]


def test_many_who_send_at_once_send_each_message_once(database: Engine, tmp_path: Path) -> None:
    with mail_server() as (box, port):
        post = Post(database, tmp_path, **mail(port))
        post.queue(*map(message, range(12)))
        senders = [threading.Thread(target=post.flush) for _ in range(4)]
        for one in senders:
            one.start()
        for one in senders:
            one.join()
        assert sorted(one["X-Penstock-Message"] for one in box.received) == sorted(
            f"k{n}" for n in range(12)
        )
    assert rows.waiting(database) == []


def test_what_a_killed_process_held_is_sent_by_another(database: Engine, tmp_path: Path) -> None:
    with mail_server() as (box, port):
        post = Post(database, tmp_path, **mail(port))
        post.queue(message())
        names = [one.channel for one in rows.waiting(database)]
        for _ in names:  # killed after it took them, before it sent or said anything
            assert rows.claim(database, "killed", NOON, NOON + outbox.HOLD, names)
        assert post.flush() == 0
        assert post.flush(outbox.HOLD - timedelta(seconds=1)) == 0
        assert post.flush(timedelta(seconds=1)) == 2
        assert len(box.received) == 1


def test_a_step_says_that_a_channel_is_down_and_its_next_attempt_tells_nobody_twice(
    project: Project, tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web_hook() as (hooked, address):
        given = mail(port) | {"urls": f"json://{address}/hook"}
        for name, value in given.items():
            monkeypatch.setenv(f"PENSTOCK_NOTIFY_{name.upper()}", str(value).strip("[]'"))
        told = open_project(tmp_path, "dev")
        for _ in range(2):
            with pytest.raises(DeliveryError) as caught:
                outbox.tell(told, "title", "body", key="run/shop@3")
            assert "by email yet; it is queued" in caught.value.message
            assert caught.value.transient
        with mail_server(port) as (box, _):
            kinds = outbox.tell(told, "title", "body", key="run/shop@3")
        assert kinds == ("log", "email", "json")
        assert [one["title"] for one in hooked] == ["title"]
        assert len(box.received) == 1
    assert (project.folder / "notices.log").read_text().count("title") == 1


def test_without_a_state_database_people_are_told_all_the_same(
    make_project: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PENSTOCK_STATE_URL", f"sqlite:////{tmp_path}/nowhere/state.db")
    project = make_project()
    assert outbox.tell(project, "title", "body", key="k", failure=True) == ("log",)
    assert "title" in (project.folder / "notices.log").read_text()


def test_chats_hear_all_and_pagers_what_wakes_people_and_that_it_is_over(
    database: Engine, tmp_path: Path
) -> None:
    with web_hook() as (chat, chat_at), web_hook() as (pager, pager_at):
        urls = (f"mmost://{chat_at}/token", f"events+http://{pager_at}/v2/enqueue?routing_key=R")
        post = Post(database, tmp_path, urls=urls)
        post.queue(message(1, WARNING), message(2, FAILURE), message(3, RESOLVED))
        assert post.flush() == 3 + 3 + 2
    assert ["drift 1" in one["text"] for one in chat] == [True, False, False]
    assert [(one["event_action"], one["dedup_key"], one["routing_key"]) for one in pager] == [
        ("trigger", "incident", "R"),
        ("resolve", "incident", "R"),
    ]
    assert pager[0]["payload"]["summary"] == "drift 2 ✓"
