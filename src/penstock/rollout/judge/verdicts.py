"""What the judge says of a rollout: one verdict a metric, with the numbers behind it."""

import math
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from penstock.records import Record


class Judgement(StrEnum):
    """How a metric of the candidate stands; there is no neutral answer where data lack."""

    PASS = "pass"  # evidence enough that the candidate is not worse than tolerated
    FAIL = "fail"  # evidence enough that the candidate is worse: the verdict's action follows
    INSUFFICIENT = "insufficient"  # the evidence says neither yet; time or traffic may
    ERROR = "error"  # there is no evidence where there should be some: the source is at fault


def _finite(numbers: object) -> object:
    """Without those that are not known, such as the ratio to nothing: JSON has no such numbers."""
    if not isinstance(numbers, dict):
        return numbers
    return {
        name: value
        for name, value in numbers.items()
        if not isinstance(value, float) or math.isfinite(value)
    }


class Verdict(Record):
    """One metric's judgement: `reason` is a sentence for people, `numbers` are for machines."""

    metric: str
    judgement: Judgement
    reason: str
    numbers: Annotated[dict[str, float], BeforeValidator(_finite)] = Field(default_factory=dict)
    # What a FAIL leads to; other judgements do not use it.
    action: Literal["rollback", "hold"] = "rollback"
