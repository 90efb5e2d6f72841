"""Pagers that take events as PagerDuty does (Events API v2): an incident is opened, and closed.

`events+https://HOST/v2/enqueue?routing_key=KEY`. Apprise 1 opens incidents at PagerDuty, but cannot
say which one is over.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from urllib.parse import parse_qs, urlsplit, urlunsplit

SCHEME = "events+"  # and http or https
TIMEOUT = 10  # seconds
SUMMARY = 1024  # characters that are taken


def post(url: str, title: str, body: str, thread: str, *, over: bool) -> bool:
    """Whether it was taken."""
    place = urlsplit(url.removeprefix(SCHEME))
    event = {
        "routing_key": parse_qs(place.query).get("routing_key", [""])[0],
        "event_action": "resolve" if over else "trigger",
        "dedup_key": thread,
        "payload": {
            "summary": title[:SUMMARY],
            "source": "penstock",
            "severity": "critical",
            "custom_details": {"message": body},
        },
    }
    request = urllib.request.Request(
        urlunsplit((place.scheme, place.netloc, place.path, "", "")),
        json.dumps(event).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return bool(200 <= answer.status < 300)
    except (OSError, ValueError, urllib.error.URLError, http.client.HTTPException):
        return False
