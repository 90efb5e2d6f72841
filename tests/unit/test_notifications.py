"""Messages to the team, delivered for real to a mail server and a webhook on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mailboxes import Mailbox, closed_port, mail_server, subject, text, web_hook

from penstock.errors import UserCodeError
from penstock.notifications.delivery import DeliveryError, deliver, failure_message
from penstock.settings import NotifySettings

pytestmark = pytest.mark.slow  # importing Apprise takes a second

TITLE, BODY = "[shop] shop@3 waits for approval", "Model: shop@3\nNext: penstock models approve ✓"
PASSWORD = "hunter2"


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    with mail_server() as (box, port):
        yield box, port


@pytest.fixture
def hook() -> Iterator[tuple[list[dict[str, Any]], str]]:
    with web_hook() as (received, address):
        yield received, f"json://{address}/hook"


def settings(**fields: Any) -> NotifySettings:
    return NotifySettings.model_validate(fields)


def mail_to(*addresses: str, port: int, **more: Any) -> NotifySettings:
    return settings(emails=addresses, smtp_host="127.0.0.1", smtp_port=port, **more)


def test_a_mail_arrives_with_title_and_body_at_every_address(
    mailbox: tuple[Mailbox, int], tmp_path: Path
) -> None:
    box, port = mailbox
    team = mail_to("ml@example.com", "ops+x@example.com", port=port, email_from="p@example.com")
    assert deliver(TITLE, BODY, team, tmp_path / "log") == ("log", "email", "email")
    assert [message["X-RcptTo"] for message in box.received] == [
        "ml@example.com",
        "ops+x@example.com",
    ]
    for message in box.received:
        assert subject(message) == TITLE
        assert "p@example.com" in message["From"]
        assert text(message).splitlines() == BODY.splitlines()


def test_a_webhook_is_told_title_body_and_whether_it_is_a_failure(
    hook: tuple[list[dict[str, Any]], str], tmp_path: Path
) -> None:
    received, url = hook
    for failure in (False, True):
        told = deliver(TITLE, BODY, settings(urls=[url]), tmp_path / "log", failure=failure)
        assert told == ("log", "json")
    assert [(m["title"], m["message"], m["type"]) for m in received] == [
        (TITLE, BODY, "success"),
        (TITLE, BODY, "failure"),
    ]


def test_without_channels_the_log_has_it(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "notices.log"
    assert deliver(TITLE, BODY, settings(), log) == ("log",)
    deliver("second", "body", settings(), log)
    assert f" {TITLE}\n{BODY}\n" in log.read_text(encoding="utf-8")
    assert log.read_text(encoding="utf-8").index(TITLE) < log.read_text(encoding="utf-8").index(
        "second"
    )


def test_a_channel_that_is_down_is_named_by_kind_and_the_others_have_it(
    hook: tuple[list[dict[str, Any]], str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    received, url = hook
    team = mail_to(
        "secret.person@example.com",
        port=closed_port(),
        smtp_user="user",
        smtp_password=PASSWORD,
        urls=[url, f"json://user:{PASSWORD}@127.0.0.1:{closed_port()}/"],
    )
    with pytest.raises(DeliveryError) as caught:
        deliver(TITLE, BODY, team, tmp_path / "log")
    assert "by email, json;" in caught.value.message
    assert len(received) == 1
    assert TITLE in (tmp_path / "log").read_text(encoding="utf-8")
    shown = f"{caught.value!r} {caught.value.as_dict()} {capfd.readouterr()}"
    assert PASSWORD not in shown
    assert "secret.person" not in shown
    assert caught.value.transient  # worth another try


@pytest.mark.parametrize("url", [f"nosuch://{PASSWORD}", PASSWORD, f"hooks.example.com/{PASSWORD}"])
def test_an_address_that_is_none_is_refused_without_being_shown(url: str, tmp_path: Path) -> None:
    with pytest.raises(DeliveryError) as caught:
        deliver(TITLE, BODY, settings(urls=[url]), tmp_path / "log")
    assert PASSWORD not in str(caught.value.as_dict())
    assert "PENSTOCK_NOTIFY_URLS" in caught.value.hint


def test_a_failed_step_is_told_with_its_remedy_and_the_next_command() -> None:
    error = UserCodeError("KeyError: 'depth' (pipeline.py:12)", hint="see the log")
    title, body = failure_message("shop", "20260101T020000-abc", "train_model", error)
    assert title == "[shop] train_model failed"
    assert body.splitlines() == [
        "Pipeline: shop",
        "Run: 20260101T020000-abc",
        "Failed step: train_model",
        "What happened: KeyError: 'depth' (pipeline.py:12)",
        "What to do: see the log",
        "Next: penstock runs show 20260101T020000-abc",
    ]
