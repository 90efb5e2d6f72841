"""The judge of a shadow: the same requests put to both models, answer against answer.

Requests that the candidate failed or did not answer in time are disagreements, and those that were
dropped because it did not keep up are counted against it: what is missing is never left out. All
tests may be asked at any moment. Pairs are taken as independent: state the limits with some room
where a few users send most of the traffic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pydantic import Field

from penstock.records import Record
from penstock.rollout.judge.verdicts import Judgement, Verdict
from penstock.stats.confidence_sequences import asymptotic_interval
from penstock.stats.histograms import quantile
from penstock.stats.paired import (
    PairedSums,
    equivalence,
    log_e_discordant,
    log_e_rate_above,
    log_e_rate_below,
    log_e_worse,
    mean_interval,
    rate_interval,
)

# Differences are kept in bins of `stats.histograms`, in millionths.
MILLIONTHS = 1_000_000
# Pairs at which the intervals are tightest.
TIGHTEST_AT = 10_000


class ShadowEvidence(Record):
    """What was observed of both models; sums that add over gateways and seconds."""

    seconds: float = 0.0  # since requests are mirrored
    pairs: int = 0  # requests that both answered
    disagreements: int = 0  # of them: predictions further apart than the endpoint's tolerance
    failed: int = 0  # mirrored requests that the candidate answered with an error, or too late
    dropped: int = 0  # requests that should have been mirrored, and the candidate was not free
    log_latency: PairedSums = PairedSums()  # ln(candidate / baseline) of pairs
    difference: float = 0.0  # Σ|candidate − baseline| of the predictions of pairs
    differences: dict[int, int] = Field(default_factory=dict)  # |difference| in millionths, binned
    labelled: int = 0  # pairs whose true answer has come
    baseline_alone_right: int = 0  # of them
    candidate_alone_right: int = 0
    baseline_requests: int = 0  # answered; what the resources below were used for
    candidate_requests: int = 0
    baseline_cpu_us: int = 0
    candidate_cpu_us: int = 0
    baseline_memory_bytes: int = 0  # of all processes of the release, at most
    candidate_memory_bytes: int = 0


@dataclass(frozen=True)
class ShadowLimits:
    """What the candidate may differ by; None: not judged."""

    max_disagreement: float = 0.01  # share of pairs
    max_dropped: float = 0.01  # share of the requests to be mirrored
    max_latency_ratio: float = 1.2  # candidate / baseline, geometric mean
    max_cpu_ratio: float | None = 2.0  # CPU seconds a request
    max_memory_ratio: float | None = 2.0
    max_accuracy_loss: float | None = None  # share of labelled pairs, baseline − candidate
    alpha: float = 0.05  # of all FAILs together
    beta: float = 0.05  # of each PASS
    least_pairs: int = 1_000  # before resources are compared


def judge_shadow(evidence: ShadowEvidence, limits: ShadowLimits) -> tuple[Verdict, ...]:
    """One verdict a question; `ERROR` as long as no request was mirrored at all."""
    if not evidence.pairs + evidence.failed + evidence.dropped:
        reason = f"no request was mirrored in {evidence.seconds:.0f} s"
        return (Verdict(metric="disagreement", judgement=Judgement.ERROR, reason=reason),)
    tests: list[Callable[[ShadowEvidence, ShadowLimits, float], Verdict]] = [
        _disagreement,
        _dropped,
        _latency,
    ]
    if limits.max_accuracy_loss is not None:
        tests.append(partial(_accuracy, most=limits.max_accuracy_loss))
    verdicts = [test(evidence, limits, limits.alpha / len(tests)) for test in tests]
    return (*verdicts, *_resources(evidence, limits))


def _disagreement(evidence: ShadowEvidence, limits: ShadowLimits, alpha: float) -> Verdict:
    hits, trials = evidence.disagreements + evidence.failed, evidence.pairs + evidence.failed
    verdict = _rate("disagreement", hits, trials, limits.max_disagreement, alpha, limits.beta)
    mean = evidence.difference / evidence.pairs if evidence.pairs else 0.0
    far = (quantile(evidence.differences, 0.99) or 0.0) / MILLIONTHS
    numbers = {"failed": evidence.failed, "mean_difference": mean, "p99_difference": far}
    reason = f"{verdict.reason}; {evidence.failed:,} of them were failures"
    return verdict.model_copy(update={"reason": reason, "numbers": verdict.numbers | numbers})


def _dropped(evidence: ShadowEvidence, limits: ShadowLimits, alpha: float) -> Verdict:
    trials = evidence.pairs + evidence.failed + evidence.dropped
    return _rate("dropped", evidence.dropped, trials, limits.max_dropped, alpha, limits.beta)


def _rate(metric: str, hits: int, trials: int, limit: float, alpha: float, beta: float) -> Verdict:
    """A share against its limit, by one-sided e-processes both ways. None is above a limit of 1."""
    near = min(max(limit, 1e-6), 1 - 1e-6)  # no odds are formed of 0 and 1
    above, below = log_e_rate_above(hits, trials, near), log_e_rate_below(hits, trials, near)
    low, high = rate_interval(hits, trials, near=near, alpha=alpha)
    judgement = Judgement.INSUFFICIENT
    if above >= math.log(1 / alpha):
        judgement = Judgement.FAIL
    elif below >= math.log(1 / beta) or limit >= 1:
        judgement = Judgement.PASS
    share = hits / trials if trials else 0.0
    return Verdict(
        metric=metric,
        judgement=judgement,
        reason=f"{hits:,} of {trials:,} ({share:.3%}; {low:.3%} to {high:.3%}), "
        f"the limit is {limit:.3%}",
        numbers={
            "rate": share,
            "low": low,
            "high": high,
            "limit": limit,
            "requests": trials,
            "log_e": above,
            "log_e_bound": math.log(1 / alpha),
            "log_e_certificate": below,
            "log_e_certificate_bound": math.log(1 / beta),
        },
    )


def _latency(evidence: ShadowEvidence, limits: ShadowLimits, alpha: float) -> Verdict:
    """Requests that were failed or dropped have no latency; their share has limits of its own."""
    sums, most = evidence.log_latency, math.log(limits.max_latency_ratio)
    intervals = [
        mean_interval(sums, alpha=level, tightest_at=TIGHTEST_AT)
        for level in (alpha, 2 * limits.beta)  # two-sided; FAIL and PASS each need one end
    ]
    if not math.isfinite(intervals[0].low):
        reason = f"{sums.n:,} pairs with both latencies are too few"
        return Verdict(metric="latency_ratio", judgement=Judgement.INSUFFICIENT, reason=reason)
    ratio, low, high = (math.exp(v) for v in (sums.mean, *intervals[0]))
    judgement = Judgement.INSUFFICIENT
    if equivalence(intervals[0], high=most) == "beyond":
        judgement = Judgement.FAIL
    elif equivalence(intervals[1], high=most) == "within":
        judgement = Judgement.PASS
    return Verdict(
        metric="latency_ratio",
        judgement=judgement,
        reason=f"the candidate takes {ratio:.3f} times as long ({low:.3f} to {high:.3f}, "
        f"{sums.n:,} pairs), the limit is {limits.max_latency_ratio:g}",
        numbers={
            "ratio": ratio,
            "low": low,
            "high": high,
            "limit": limits.max_latency_ratio,
            "pairs": float(sums.n),
        },
    )


def _accuracy(
    evidence: ShadowEvidence, limits: ShadowLimits, alpha: float, *, most: float
) -> Verdict:
    """FAIL: worse by sequential McNemar, and by more than the margin; PASS: surely within it."""
    n, b, c = (
        evidence.labelled,
        evidence.baseline_alone_right,
        evidence.candidate_alone_right,
    )
    worse = log_e_worse(b, c)
    # One more discordant pair each way (Agresti and Min 2005): none seen is not none to come.
    sums = PairedSums(n, float(c - b), float(b + c + 2))
    gain = asymptotic_interval(
        sums.mean, sums.error, n, alpha=2 * limits.beta, tightest_at=TIGHTEST_AT
    )
    judgement = Judgement.INSUFFICIENT
    if worse >= math.log(1 / alpha) and b - c > most * n:
        judgement = Judgement.FAIL
    elif equivalence(gain, low=-most) == "within":
        judgement = Judgement.PASS
    numbers = {"labelled": float(n), "baseline_alone_right": float(b), "log_e": worse}
    numbers |= {"candidate_alone_right": float(c), "log_e_two_sided": log_e_discordant(b, c)}
    numbers |= {"low": gain.low, "high": gain.high} if math.isfinite(gain.low) else {}
    return Verdict(
        metric="accuracy",
        judgement=judgement,
        reason=f"of {n:,} labelled pairs the baseline alone was right in {b:,}, "
        f"the candidate alone in {c:,}; it may lose {most:.2%}",
        numbers=numbers,
    )


def _resources(evidence: ShadowEvidence, limits: ShadowLimits) -> list[Verdict]:
    cpu = (
        _quotient(evidence.candidate_cpu_us, evidence.candidate_requests),
        _quotient(evidence.baseline_cpu_us, evidence.baseline_requests),
    )
    memory = (float(evidence.candidate_memory_bytes), float(evidence.baseline_memory_bytes))
    asked = (
        ("cpu_ratio", "µs of CPU a request", 1, cpu, limits.max_cpu_ratio),
        ("memory_ratio", "MB", 1e6, memory, limits.max_memory_ratio),
    )
    return [
        _resource(metric, unit, size, used, most, evidence.pairs, limits.least_pairs)
        for metric, unit, size, used, most in asked
        if most is not None
    ]


def _resource(
    metric: str,
    unit: str,
    size: float,
    used: tuple[float, float],
    most: float,
    pairs: int,
    least_pairs: int,
) -> Verdict:
    """Both sides are totals and not samples; the ratio is compared as it stands."""
    candidate, baseline = used
    action: Literal["hold"] = "hold"
    if pairs < least_pairs or min(used) <= 0:
        reason = (
            f"{candidate / size:.4g} against {baseline / size:.4g} {unit} after {pairs:,} pairs, "
            f"of {least_pairs:,} needed"
        )
        return Verdict(
            metric=metric, judgement=Judgement.INSUFFICIENT, reason=reason, action=action
        )
    ratio = candidate / baseline
    return Verdict(
        metric=metric,
        judgement=Judgement.PASS if ratio <= most else Judgement.FAIL,
        reason=f"{candidate / size:.4g} against {baseline / size:.4g} {unit}, "
        f"{ratio:.3f} times as much, the limit is {most:g}",
        numbers={"ratio": ratio, "limit": most, "candidate": candidate, "baseline": baseline},
        action=action,
    )


def _quotient(total: float, count: int) -> float:
    return total / count if count else 0.0
