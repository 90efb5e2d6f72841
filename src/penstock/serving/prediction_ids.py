"""Ids of predictions, which say whose they are, and when: HASH-TAGSECONDTOKEN, hexadecimal.

HASH is that of the unit (16 digits; zeros where no unit chose the arm), so that what is told of a
prediction later finds its unit and arm without a search. TAG (4) stands for the salt of the routing
table, SECOND (8) for when the request was taken up, since 1970, so that its row is found without
reading the whole log. TOKEN (24) is the request's own: 16 digits of chance, of the process, and 8
that count. A request that is a unit of its own is hashed as all that follows the dash.

Ids without a second, which older gateways gave, are ids still.

>>> parsed("91deaff26d923113-9c4f69a42a4000112233445566770000002a").unit
'91deaff26d923113'
>>> parsed("91deaff26d923113-9c4f69a42a4000112233445566770000002a").made
datetime.datetime(2026, 3, 1, 12, 0, tzinfo=datetime.timezone.utc)
>>> parsed("91deaff26d923113-9c4f00112233445566770000002a").made is None
True
>>> parsed("42") is None
True
"""

from __future__ import annotations

import itertools
import re
import secrets
import time
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

from penstock.serving.routing.buckets import hash_of

FORM = re.compile(r"([0-9a-f]{16})-(([0-9a-f]{4})[0-9a-f]{24,32})")
NO_UNIT = "0" * 16
TAG, SECOND, TOKEN = 4, 8, 24  # digits


class PredictionId(NamedTuple):
    """What an id says."""

    unit: str  # its hash; empty: none chose the arm
    own: str  # the text that was hashed, where the request is a unit of its own
    tag: str  # of the salt
    made: datetime | None  # UTC, to the second; None: an older gateway's, which does not say


class Tokens:
    """What a gateway process gives its requests: no two are alike, and none can be guessed."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(8)
        self._numbers = itertools.count()

    def next(self, tag: str) -> str:
        """All of an id that follows the dash."""
        number = next(self._numbers) & 0xFFFFFFFF
        return f"{tag}{int(time.time()):08x}{self._prefix}{number:08x}"


def salt_tag(salt: str) -> str:
    """By chance, one of 65,536 other salts has the same."""
    return sha256(salt.encode()).hexdigest()[:4]


def written(unit: str, token: str) -> str:
    """`token` begins with the tag."""
    return f"{unit or NO_UNIT}-{token}"


def parsed(text: str) -> PredictionId | None:
    """None for what is none of our ids."""
    found = FORM.fullmatch(text)
    if found is None:
        return None
    unit, own, tag = found.groups()
    return PredictionId("" if unit == NO_UNIT else unit, own, tag, _made(own))


def _made(own: str) -> datetime | None:
    if len(own) != TAG + SECOND + TOKEN:
        return None
    return datetime.fromtimestamp(int(own[TAG : TAG + SECOND], 16), UTC)


def is_alone(salt: str, given: PredictionId) -> bool:
    """Whether the request was a unit of its own, by a table of this salt."""
    return f"{hash_of(salt, given.own):016x}" == given.unit
