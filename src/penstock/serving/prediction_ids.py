"""Ids of predictions, which say whose they are: HASH-TAGTOKEN, in hexadecimal digits.

HASH is that of the unit (16 digits; zeros where no unit chose the arm), so that what is told of a
prediction later finds its unit and arm without a search. TAG (4) stands for the salt of the routing
table, TOKEN for the request; a request that is a unit of its own is hashed as TAGTOKEN.

>>> parsed("91deaff26d923113-9c4f00112233445566770000002a").unit
'91deaff26d923113'
>>> parsed("42") is None
True
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple

from penstock.serving.routing.buckets import hash_of

FORM = re.compile(r"([0-9a-f]{16})-(([0-9a-f]{4})[0-9a-f]{24,32})")
NO_UNIT = "0" * 16


class PredictionId(NamedTuple):
    """What an id says."""

    unit: str  # its hash; empty: none chose the arm
    own: str  # the text that was hashed, where the request is a unit of its own
    tag: str  # of the salt


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
    return PredictionId("" if unit == NO_UNIT else unit, own, tag)


def is_alone(salt: str, given: PredictionId) -> bool:
    """Whether the request was a unit of its own, by a table of this salt."""
    return f"{hash_of(salt, given.own):016x}" == given.unit
