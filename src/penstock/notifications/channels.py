"""Where people are told: e-mail and webhooks by setting, sent by Apprise."""

from __future__ import annotations

import hashlib
import logging
from typing import NamedTuple
from urllib.parse import quote

from penstock.notifications import incidents
from penstock.settings import NotifySettings

LOG = "log"  # a file, which is always told
INFO, SUCCESS, WARNING, FAILURE, RESOLVED = "info", "success", "warning", "failure", "resolved"
# They wake people, and are told of what must be looked at at once only.
PAGERS = frozenset({"opsgenie", "pagerduty", "pagertree", "signl4", "splunk", "victorops"})


class Channel(NamedTuple):
    """One address."""

    kind: str  # email, slack, json; an address never leaves this package
    url: str  # Apprise's
    name: str  # its kind and a hash of its address: the same when the mail server moves

    def wants(self, level: str) -> bool:
        if self.kind.startswith(incidents.SCHEME):
            return level in (FAILURE, RESOLVED)
        return level == FAILURE or self.kind not in PAGERS


class Message(NamedTuple):
    """What people are told."""

    title: str
    body: str
    level: str = INFO
    key: str = ""  # the same message has the same key, however often it is sent
    thread: str = ""  # what it is about: an incident of a pager, a thread of mails


def channels_of(settings: NotifySettings) -> list[Channel]:
    """In the order of the settings."""
    found = [_channel("email", _mail_url(settings, one), one) for one in settings.emails]
    for secret in settings.urls:
        url = secret.get_secret_value()
        kind, scheme, _ = url.partition("://")
        found.append(_channel(kind if scheme else "a URL without a scheme", url, url))
    return found


def send(channel: Channel, message: Message) -> bool:
    """Whether the channel took it."""
    if channel.kind.startswith(incidents.SCHEME):
        over = message.level == RESOLVED
        return incidents.post(channel.url, message.title, message.body, message.thread, over=over)
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its messages name addresses
    sender = apprise.Apprise()
    if not sender.add(_addressed(channel, message)):
        return False
    kind = {
        SUCCESS: apprise.NotifyType.SUCCESS,
        RESOLVED: apprise.NotifyType.SUCCESS,
        WARNING: apprise.NotifyType.WARNING,
        FAILURE: apprise.NotifyType.FAILURE,
    }.get(message.level, apprise.NotifyType.INFO)
    return bool(sender.notify(title=message.title, body=message.body, notify_type=kind))


def _channel(kind: str, url: str, address: str) -> Channel:
    return Channel(kind, url, f"{kind[:32]}-{hashlib.sha256(address.encode()).hexdigest()[:12]}")


def _addressed(channel: Channel, message: Message) -> str:
    """The URL; a mail's with what makes it known again where it arrives.

    Apprise writes a Message-ID of its own at each attempt, and a mail may have one only.
    """
    if channel.kind != "email" or not message.key:
        return channel.url
    key, thread = quote(message.key, safe=""), quote(f"<{message.thread}@penstock>", safe="")
    return f"{channel.url}&+X-Penstock-Message={key}&+References={thread}"


def _mail_url(settings: NotifySettings, address: str) -> str:
    scheme = "mailtos" if settings.smtp_tls else "mailto"
    password = settings.smtp_password.get_secret_value()
    login = f"{quote(settings.smtp_user)}:{quote(password)}@" if settings.smtp_user else ""
    options = (
        f"smtp={quote(settings.smtp_host)}&from={quote(settings.email_from)}&to={quote(address)}"
    )
    return f"{scheme}://{login}{settings.smtp_host}:{settings.smtp_port}/?{options}&format=text"
