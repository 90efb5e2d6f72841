"""The first half of a verdict's reason: what was observed, in both arms."""

from __future__ import annotations

from penstock.rollout.judge.counts import ArmCount, Counts
from penstock.rollout_settings import GuardrailSettings


def percent(rate: float) -> str:
    """A share as people read it, with two digits that count.

    >>> percent(0.021), percent(0.00042), percent(0.0), percent(1.0)
    ('2.1 %', '0.042 %', '0 %', '100 %')
    """
    return f"{float(f'{100 * rate:.2g}'):g} %"


def observed(rail: GuardrailSettings, counts: Counts) -> str:
    """ "errors 2.1 % of 1,310 requests against 1 % of 11,800", of the present stage."""
    present = counts.present
    says = f"{_bad(rail)} {_of(present.candidate)} requests"
    if present.baseline.requests:
        return f"{says} against {_of(present.baseline)}"
    return says


def _of(arm: ArmCount) -> str:
    return f"{percent(arm.rate)} of {arm.requests:,}"


def _bad(rail: GuardrailSettings) -> str:
    if rail.kind == "error_rate":
        return "errors"
    if rail.kind == "latency":
        return f"answers slower than {rail.limit_ms:g} ms"
    return rail.metric.removeprefix("event:")
