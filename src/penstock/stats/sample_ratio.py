"""Sample ratio mismatch: do units come to the arms in the shares that were set?

An experiment that loses units in one arm compares different people; its results mean nothing.
(Fabijan et al. 2019, Diagnosing sample ratio mismatch in online controlled experiments, KDD.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

# Prior weights in all, as units: 2 is uniform over two arms and finds gross faults within some
# hundred units; 10,000 lies within about a percentage point of the set shares and finds small
# ones with a third fewer units than the uniform prior takes.
CONCENTRATIONS = (2.0, 10_000.0)


def chi_square_p(counts: Sequence[int], shares: Sequence[float]) -> float:
    """The p-value of one look at the end (Pearson). Not valid for repeated looks.

    >>> f"{chi_square_p([821588, 815482], [0.5, 0.5]):.3g}"
    '1.82e-06'
    """
    from scipy.special import chdtrc

    total = sum(counts)
    if total == 0:
        return 1.0
    expected = [total * share for share in shares]
    square = sum((n - e) ** 2 / e for n, e in zip(counts, expected, strict=True))
    return float(chdtrc(len(counts) - 1, square))


def log_e_mismatch(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Evidence, at any time, against "the arms get these shares" (natural log).

    The mean of two Dirichlet mixtures (`CONCENTRATIONS`), itself a martingale of mean 1 under the
    set shares: it ever reaches log(1/α) with probability at most α.
    """
    parts = [
        log_e_multinomial(counts, shares, [size * share for share in shares])
        for size in CONCENTRATIONS
    ]
    peak = max(parts)
    return peak + math.log(sum(math.exp(part - peak) for part in parts) / len(parts))


def log_e_multinomial(
    counts: Sequence[int], shares: Sequence[float], prior: Sequence[float]
) -> float:
    """The log of the Bayes factor of Dirichlet(`prior`) shares against the set ones.

    Lindon and Malek 2022, "Anytime-valid inference for multinomial count data" (arXiv 2011.03567),
    eq. 8. Units must be counted once, when they are exposed.

    >>> round(math.exp(log_e_multinomial([15, 5], [0.5, 0.5], [1, 1])), 4)
    3.2206
    """
    expected = sum(n * math.log(share) for n, share in zip(counts, shares, strict=True) if n)
    posterior = [n + a for n, a in zip(counts, prior, strict=True)]
    return _log_beta(posterior) - _log_beta(prior) - expected


def _log_beta(weights: Sequence[float]) -> float:
    return sum(map(math.lgamma, weights)) - math.lgamma(sum(weights))
