"""One metric of an A/B test, at a look or between looks. Pure."""

from __future__ import annotations

import math
from typing import Literal

from penstock.rollout.judge.ab import AbEvidence, AbGuard, AbLook, AbPlan
from penstock.rollout.judge.verdicts import Judgement, Verdict
from penstock.stats.confidence_sequences import asymptotic_interval
from penstock.stats.group_sequential import obrien_fleming_spending, spending_bounds
from penstock.stats.lift import Lift, Undefined, lift, share_interval, value

Action = Literal["rollback", "hold"]
Looks = tuple[AbLook, ...]  # those taken before, and the present one last


def primary(evidence: AbEvidence, plan: AbPlan, looks: Looks) -> Verdict:
    """PASS: significantly better, by the stated lift at least; FAIL: significantly worse."""
    found = _lift(evidence, plan, plan.primary)
    if isinstance(found, Undefined):
        return _insufficient(plan.primary, found.reason)
    now, bound = looks[-1], _bound(looks, plan.two_sided_alpha)
    says = (
        f"{_in_words(found, plan.relative)}, z {found.z:.2f} against {bound:.2f} "
        f"at {now.fraction:.0%} of the plan"
    )
    judgement = Judgement.INSUFFICIENT
    if found.z <= -bound:
        judgement, says = Judgement.FAIL, f"worse: {says}"
    elif found.z < bound:
        says = f"no difference shown: {says}"
    elif found.estimate < plan.lift:
        says = f"better, but by less than the {_amount(plan.lift, plan.relative)} asked: {says}"
    elif now.units < plan.min_units:
        says = f"better, but {now.units:,} units are less than {plan.min_units:,}: {says}"
    else:
        judgement, says = Judgement.PASS, f"better: {says}"
    numbers = _numbers(evidence, plan, found, bound)
    return Verdict(metric=plan.primary, judgement=judgement, reason=says, numbers=numbers)


def secondaries(evidence: AbEvidence, plan: AbPlan, looks: Looks) -> tuple[Verdict, ...]:
    """PASS: significantly better; FAIL: worse. They share an alpha of their own by Holm's rule.

    Group-sequential Holm (Ye, Li, Liu and Yao 2013, Statistics in Medicine 32): the largest |z|
    must cross the bound at α/m, the next that at α/(m−1), until one does not. Metrics without
    data are counted in m.
    """
    found = {name: _lift(evidence, plan, name) for name in plan.secondaries}
    known = {name: one for name, one in found.items() if isinstance(one, Lift)}
    judged, still = dict[str, Verdict](), True
    for rank, name in enumerate(sorted(known, key=lambda name: -abs(known[name].z))):
        bound = _bound(looks, plan.two_sided_alpha / (len(found) - rank))
        still = still and abs(known[name].z) >= bound
        judged[name] = _secondary(evidence, plan, name, known[name], bound, crossed=still)
    return tuple(
        _insufficient(name, one.reason, "hold") if isinstance(one, Undefined) else judged[name]
        for name, one in found.items()
    )


def guard(evidence: AbEvidence, plan: AbPlan, limit: AbGuard, looks: Looks) -> Verdict:
    """PASS: the treatment's share is below the limit by its whole interval.

    FAIL: above by the whole interval, and worse than the control, as an outage of both is not.
    The guards share an alpha of their own.
    """
    metric = evidence.metrics[limit.metric]
    found = lift(metric.control, metric.treatment, relative=False)
    bound = _bound(looks, plan.alpha / len(plan.guards))
    (low, high), z = share_interval(metric.treatment, bound), _z(found)
    says = (
        f"{value(metric.treatment):.4g} in the treatment ({low:.4g} to {high:.4g}), "
        f"{value(metric.control):.4g} in the control; the limit is {limit.limit:.4g}"
    )
    judgement = Judgement.INSUFFICIENT
    if high <= limit.limit:
        judgement = Judgement.PASS
    elif low > limit.limit and z >= bound:
        judgement, says = Judgement.FAIL, f"above the limit and worse than the control: {says}"
    elif low > limit.limit:
        says = f"above the limit, but not shown to be worse than the control: {says}"
    numbers = {"limit": limit.limit, "treatment_low": low, "treatment_high": high, "z": z}
    numbers |= {"control": value(metric.control), "treatment": value(metric.treatment)}
    return Verdict(
        metric=limit.metric,
        judgement=judgement,
        reason=says,
        numbers=_finite({**numbers, "bound": bound}),
    )


def between_looks(evidence: AbEvidence, plan: AbPlan, name: str) -> Verdict:
    """Decides nothing; tells what the always-valid interval says so far."""
    action: Action = "hold" if name in plan.secondaries else "rollback"
    found = _lift(evidence, plan, name)
    if isinstance(found, Undefined):
        return _insufficient(name, found.reason, action)
    numbers = _numbers(evidence, plan, found, math.inf)
    reason = f"no look is due: {_in_words(found, _is_relative(plan, name))} so far"
    return _insufficient(name, reason, action, numbers)


def _secondary(
    evidence: AbEvidence, plan: AbPlan, name: str, found: Lift, bound: float, *, crossed: bool
) -> Verdict:
    judgement, word = Judgement.INSUFFICIENT, "no difference shown"
    if crossed:
        better = found.z > 0
        judgement, word = (Judgement.PASS, "better") if better else (Judgement.FAIL, "worse")
    return Verdict(
        metric=name,
        judgement=judgement,
        reason=f"{word}: {_in_words(found, plan.relative)}, "
        f"z {found.z:.2f} against {bound:.2f} (Holm)",
        numbers=_numbers(evidence, plan, found, bound),
        action="hold",
    )


def _insufficient(
    name: str,
    reason: str,
    action: Action = "rollback",
    numbers: dict[str, float] | None = None,
) -> Verdict:
    return Verdict(
        metric=name,
        judgement=Judgement.INSUFFICIENT,
        reason=reason,
        numbers=numbers or {},
        action=action,
    )


def _lift(evidence: AbEvidence, plan: AbPlan, name: str) -> Lift | Undefined:
    metric = evidence.metrics.get(name)
    if metric is None:
        return Undefined(f"nothing was observed of {name} yet")
    return lift(metric.control, metric.treatment, relative=_is_relative(plan, name))


def _is_relative(plan: AbPlan, name: str) -> bool:
    """Shares with a limit of their own are compared as they stand."""
    return plan.relative and all(name != one.metric for one in plan.guards)


def _bound(looks: Looks, alpha: float) -> float:
    """The |z| that rejects at the last of these looks."""
    spent = [obrien_fleming_spending(look.fraction, alpha) for look in looks]
    return spending_bounds([look.information for look in looks], spent)[-1]


def _numbers(evidence: AbEvidence, plan: AbPlan, found: Lift, bound: float) -> dict[str, float]:
    """`low` and `high` hold over all looks, `always_low` and `always_high` at every moment."""
    units = evidence.control_units + evidence.treatment_units
    always = asymptotic_interval(
        found.estimate,
        found.error,
        units,
        alpha=plan.two_sided_alpha,
        tightest_at=plan.min_units,
    )
    half = bound * found.error
    numbers = {"control": found.control, "treatment": found.treatment, "lift": found.estimate}
    numbers |= {"error": found.error, "z": found.z, "bound": bound, "units": float(units)}
    numbers |= {"low": found.estimate - half, "high": found.estimate + half}
    numbers |= {"always_low": always.low, "always_high": always.high, "slope": found.slope}
    return _finite(numbers)


def _finite(numbers: dict[str, float]) -> dict[str, float]:
    """Without what has no number yet, such as the bound of a look with nothing to spend."""
    return {name: number for name, number in numbers.items() if math.isfinite(number)}


def _z(found: Lift | Undefined) -> float:
    """0 where it has none: then nothing is shown against the control."""
    return found.z if isinstance(found, Lift) else 0.0


def _in_words(found: Lift, relative: bool) -> str:
    return (
        f"{found.treatment:.4g} in the treatment, {found.control:.4g} in the control, "
        f"lift {_amount(found.estimate, relative)}"
    )


def _amount(amount: float, relative: bool) -> str:
    return f"{amount:+.2%}" if relative else f"{amount:+.4g}"
