"""Messages to the team: a log file always, e-mail and webhooks by setting."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from penstock.errors import PenstockError, ResourceError
from penstock.notifications.channels import FAILURE, LOG, SUCCESS, Message, channels_of, send
from penstock.settings import NotifySettings


class DeliveryError(ResourceError):
    """A message reached its log but not every channel."""


def deliver(
    title: str, body: str, settings: NotifySettings, log: Path, *, failure: bool = False
) -> tuple[str, ...]:
    """Sends a message to every channel and returns their names (kinds, never addresses).

    For where the state database cannot be had; else `penstock.notifications.outbox.tell`, which
    sends again what was refused. Raises `DeliveryError` naming the kinds of channel that refused
    it; the others have it.
    """
    write_log(log, title, body)
    message = Message(title, body, FAILURE if failure else SUCCESS)
    delivered, refused = [LOG], list[str]()
    for channel in channels_of(settings):
        if channel.wants(message.level):
            (delivered if send(channel, message) else refused).append(channel.kind)
    if refused:
        raise DeliveryError(
            f"the message could not be sent by {', '.join(refused)}; it is in {log}",
            hint="check [notify] smtp_host and smtp_port, and PENSTOCK_NOTIFY_URLS",
        )
    return tuple(delivered)


def failure_message(pipeline: str, run_id: str, step: str, error: PenstockError) -> tuple[str, str]:
    """Title and body of what is said when a step fails."""
    lines = [
        f"Pipeline: {pipeline}",
        f"Run: {run_id}",
        f"Failed step: {step}",
        f"What happened: {error.message}",
        f"What to do: {error.hint}" if error.hint else "",
        f"Next: penstock runs show {run_id}",
    ]
    return f"[{pipeline}] {step} failed", "\n".join(filter(None, lines))


def no_better_message(
    pipeline: str, run_id: str, step: str, error: PenstockError
) -> tuple[str, str]:
    """The same where the run did all that it should, and the champion may as well stay."""
    lines = [
        f"Pipeline: {pipeline}",
        f"Run: {run_id}",
        f"Ended with: {step}",
        f"What happened: {error.message}",
        "What to do: nothing; no version was registered, and the champion goes on",
        f"Details: penstock runs show {run_id}",
    ]
    return f"[{pipeline}] retrained, and no better than the champion", "\n".join(lines)


def write_log(log: Path, title: str, body: str) -> None:
    """The file that has every message."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"--- {datetime.now(UTC).isoformat(timespec='seconds')} {title}\n{body}\n\n")
