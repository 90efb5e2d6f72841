"""Messages to the team: a log file always, e-mail and webhooks by setting, sent by Apprise."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from penstock.errors import PenstockError, ResourceError
from penstock.settings import NotifySettings

LOG = "log"


class DeliveryError(ResourceError):
    """A message reached its log but not every channel."""


def deliver(
    title: str, body: str, settings: NotifySettings, log: Path, *, failure: bool = False
) -> tuple[str, ...]:
    """Sends a message to every channel and returns their names (kinds, never addresses).

    Raises `DeliveryError` naming the kinds of channel that refused it; the others have it.
    """
    _write(log, title, body)
    delivered, refused = [LOG], list[str]()
    for kind, url in _channels(settings):
        (delivered if _send(url, title, body, failure) else refused).append(kind)
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


def _write(log: Path, title: str, body: str) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stream:
        stream.write(f"--- {datetime.now(UTC).isoformat(timespec='seconds')} {title}\n{body}\n\n")


def _channels(settings: NotifySettings) -> list[tuple[str, str]]:
    """Each channel's kind and its Apprise URL."""
    found = [("email", _mail_url(settings, address)) for address in settings.emails]
    for secret in settings.urls:
        url = secret.get_secret_value()
        kind, scheme, _ = url.partition("://")
        found.append((kind if scheme else "a URL without a scheme", url))
    return found


def _mail_url(settings: NotifySettings, address: str) -> str:
    scheme = "mailtos" if settings.smtp_tls else "mailto"
    password = settings.smtp_password.get_secret_value()
    login = f"{quote(settings.smtp_user)}:{quote(password)}@" if settings.smtp_user else ""
    options = (
        f"smtp={quote(settings.smtp_host)}&from={quote(settings.email_from)}&to={quote(address)}"
    )
    return f"{scheme}://{login}{settings.smtp_host}:{settings.smtp_port}/?{options}&format=text"


def _send(url: str, title: str, body: str, failure: bool) -> bool:
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its messages name addresses
    sender = apprise.Apprise()
    if not sender.add(url):
        return False
    kind = apprise.NotifyType.FAILURE if failure else apprise.NotifyType.SUCCESS
    return bool(sender.notify(title=title, body=body, notify_type=kind))
