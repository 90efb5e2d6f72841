"""The judge of an A/B test: a few looks at a known total error, never on broken randomisation.

Looks fall due at even parts of the plan: the lesser of the time gone and of the units that came,
as shares of those asked for. The error spent at a look follows that share (Lan and DeMets 1989 on
calendar time), its correlation with earlier looks the units themselves; so a look that comes late,
or a day without traffic, costs nothing. Between looks only the always-valid interval is told.

Success is a primary metric that is significantly better at the look's bound *and* whose estimated
lift is at least the stated one, with at least `min_units`, and every guard within its limit.
Whoever's true lift just equals the stated one is estimated below it half of the time: state the
least lift worth having, not the one hoped for (`stats.power.success_probability` gives the odds).

The sums of a unit grow while it comes back; that successive looks are correlated as by independent
increments is the usual approximation, and holds when most of the information is in new units.
"""

from __future__ import annotations

import math

from penstock.rollout.judge.ab import AbEvidence, AbJudgement, AbLook, AbOutcome, AbPlan
from penstock.rollout.judge.ab_metrics import between_looks, guard, primary, secondaries
from penstock.rollout.judge.verdicts import Judgement, Verdict
from penstock.stats.sample_ratio import chi_square_p, log_e_mismatch

SAMPLE_RATIO = "sample_ratio"


def judge_ab(evidence: AbEvidence, plan: AbPlan) -> AbJudgement:
    """Judges the evidence; takes a look when one is due and nothing that it needs is missing."""
    ratio = _sample_ratio(evidence, plan)
    if ratio.judgement is Judgement.FAIL:
        invalid = ratio.model_copy(update={"judgement": Judgement.INSUFFICIENT})
        return AbJudgement(outcome=AbOutcome.INVALID, reason=ratio.reason, verdicts=(invalid,))
    missing, now = _missing(evidence, plan), _place(evidence, plan)
    if missing or not _is_due(now, evidence, plan):
        return _without_look(evidence, plan, ratio, missing)
    looks = (*evidence.looks, now)
    verdicts = (
        primary(evidence, plan, looks),
        *secondaries(evidence, plan, looks),
        *(guard(evidence, plan, limit, looks) for limit in plan.guards),
    )
    outcome, reason = _outcome(verdicts, plan, now)
    return AbJudgement(
        outcome=outcome,
        reason=reason,
        verdicts=(ratio, *verdicts),
        look=now,
        next_look=_next_look(now.fraction, plan) if outcome is AbOutcome.RUNNING else None,
    )


def _sample_ratio(evidence: AbEvidence, plan: AbPlan) -> Verdict:
    """FAIL where the shares are not those set; that says nothing of the candidate."""
    counts = (evidence.control_units, evidence.treatment_units)
    shares = (1 - plan.split, plan.split)
    if not sum(counts):
        return Verdict(
            metric=SAMPLE_RATIO, judgement=Judgement.INSUFFICIENT, reason="no unit came yet"
        )
    log_e, least = log_e_mismatch(counts, shares), math.log(1 / plan.sample_ratio_alpha)
    observed = counts[1] / sum(counts)
    came = f"{observed:.2%} of {sum(counts):,} units came to the treatment, {plan.split:.2%} set"
    broken = log_e >= least
    return Verdict(
        metric=SAMPLE_RATIO,
        judgement=Judgement.FAIL if broken else Judgement.PASS,
        reason=f"invalid: {came}; the arms do not compare the same people" if broken else came,
        numbers={
            "observed": observed,
            "expected": plan.split,
            "log_e": log_e,
            "log_e_bound": least,
            "p_fixed": chi_square_p(counts, shares),
        },
        action="hold",
    )


def _missing(evidence: AbEvidence, plan: AbPlan) -> tuple[Verdict, ...]:
    """Of what a decision cannot do without; secondaries may come late, as labels do."""
    found = list[Verdict]()
    for name in (plan.primary, *(limit.metric for limit in plan.guards)):
        metric = evidence.metrics.get(name)
        if metric is None or not (metric.control.n and metric.treatment.n):
            seen = (name for name, one in evidence.metrics.items() if one.control.n)
            there = ", ".join(sorted(seen)) or "none"
            reason = f"nothing was observed of {name} in both arms; there are {there}"
            found.append(Verdict(metric=name, judgement=Judgement.ERROR, reason=reason))
    before = evidence.looks[-1] if evidence.looks else None
    if before and (
        evidence.control_units < before.control_units
        or evidence.treatment_units < before.treatment_units
    ):
        units = evidence.control_units + evidence.treatment_units
        reason = f"{units:,} units are counted, fewer than the {before.units:,} of an earlier look"
        found = [Verdict(metric=plan.primary, judgement=Judgement.ERROR, reason=reason)]
    return tuple(found)


def _outcome(verdicts: tuple[Verdict, ...], plan: AbPlan, now: AbLook) -> tuple[AbOutcome, str]:
    failed = [verdict for verdict in verdicts if verdict.judgement is Judgement.FAIL]
    needed = {plan.primary, *(limit.metric for limit in plan.guards)}
    for verdict in sorted(failed, key=lambda one: one.action == "hold"):
        outcome = AbOutcome.HOLD if verdict.action == "hold" else AbOutcome.HARM
        return outcome, f"{verdict.metric}: {verdict.reason}"
    open_ones = [v for v in verdicts if v.metric in needed and v.judgement is not Judgement.PASS]
    if not open_ones:
        return AbOutcome.SUCCESS, f"{plan.primary}: {verdicts[0].reason}"
    reason = "; ".join(f"{v.metric}: {v.reason}" for v in open_ones)
    if now.fraction >= 1:
        return AbOutcome.INCONCLUSIVE, f"the last look is taken. {reason}"
    return AbOutcome.RUNNING, reason


def _place(evidence: AbEvidence, plan: AbPlan) -> AbLook:
    units = evidence.control_units + evidence.treatment_units
    return AbLook(
        fraction=max(0.0, min(evidence.seconds / plan.seconds, units / plan.min_units, 1.0)),
        control_units=evidence.control_units,
        treatment_units=evidence.treatment_units,
    )


def _is_due(now: AbLook, evidence: AbEvidence, plan: AbPlan) -> bool:
    last = evidence.looks[-1].fraction if evidence.looks else 0.0
    return now.information > 0 and _passed(now.fraction, plan) > _passed(last, plan)


def _passed(fraction: float, plan: AbPlan) -> int:
    """How many of the planned places lie at or before this share of the plan."""
    return math.floor(fraction * plan.looks + 1e-9)


def _next_look(fraction: float, plan: AbPlan) -> float | None:
    passed = _passed(fraction, plan)
    return (passed + 1) / plan.looks if passed < plan.looks else None


def _without_look(
    evidence: AbEvidence, plan: AbPlan, ratio: Verdict, missing: tuple[Verdict, ...]
) -> AbJudgement:
    erroneous = {verdict.metric for verdict in missing}
    names = (plan.primary, *plan.secondaries, *(limit.metric for limit in plan.guards))
    so_far = [between_looks(evidence, plan, name) for name in names if name not in erroneous]
    following = _next_look(evidence.looks[-1].fraction if evidence.looks else 0.0, plan)
    outcome, reason = AbOutcome.INCONCLUSIVE, "the last look was taken, and there was no success"
    if following is not None:
        outcome = AbOutcome.RUNNING
        reason = "; ".join(verdict.reason for verdict in missing) or (
            f"{_place(evidence, plan).fraction:.0%} of the plan is through; "
            f"the next look is at {following:.0%}"
        )
    return AbJudgement(
        outcome=outcome,
        reason=reason,
        verdicts=(ratio, *missing, *so_far),
        next_look=following,
    )
