"""What differs between two releases, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.releases.manifest import Manifest

SHORT = 12  # digits of a digest
NOT_THERE = "none"


@dataclass(frozen=True)
class Difference:
    """One thing that is not the same."""

    area: str  # model, data, features, expectations, code, environment, params, settings, metrics
    what: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.what}: {self.before} → {self.after}"


def differences(before: Manifest, after: Manifest) -> tuple[Difference, ...]:
    """All differences, in the order in which a release comes to be."""
    return tuple(_all(before, after))


def _all(one: Manifest, two: Manifest) -> Iterator[Difference]:
    a, b = one.data, two.data
    yield from _digest("data", f"dataset {b.name or a.name}".strip(), a.digest, b.digest)
    yield from _count("data", "rows of the dataset", a.rows, b.rows)
    yield from _digest("data", "training set", a.training_set, b.training_set)
    yield from _count("data", "rows of the training set", a.training_rows, b.training_rows)
    yield from _text("features", "feature service", one.features.service, two.features.service)
    definitions = (one.features.definitions, two.features.definitions)
    yield from _digest("features", "feature definitions", *definitions)
    yield from _names("features", "features", one.features.columns, two.features.columns)
    suites = (one.expectations.digest, two.expectations.digest)
    yield from _digest("expectations", "suites", *suites)
    yield from _code(one, two)
    installed = (one.training.environment, two.training.environment)
    yield from _digest("environment", "installed packages", *installed)
    yield from _leaves("params", one.training.params, two.training.params)
    yield from _text("params", "seed", one.training.seed, two.training.seed)
    yield from _leaves("settings", one.settings, two.settings)
    yield from _digest("model", "model files", one.digest_of_model, two.digest_of_model)
    yield from _text("model", "format", one.flavor, two.flavor)
    yield from _leaves("metrics", one.training.metrics, two.training.metrics)


def _code(one: Manifest, two: Manifest) -> Iterator[Difference]:
    a, b = one.code, two.code
    yield from _text("code", "commit", _commit(one), _commit(two))
    yield from _digest("code", "code behind train()", a.train, b.train)
    yield from _digest("code", "the project's files", a.bundle, b.bundle)


def _commit(one: Manifest) -> str:
    changed = " with changes" if one.code.dirty and one.code.commit else ""
    return one.code.commit[:SHORT] + changed


def _digest(area: str, what: str, before: str, after: str) -> Iterator[Difference]:
    if before != after:
        yield Difference(area, what, before[:SHORT] or NOT_THERE, after[:SHORT] or NOT_THERE)


def _count(area: str, what: str, before: int, after: int) -> Iterator[Difference]:
    if before != after:
        yield Difference(area, what, f"{before:,}", f"{after:,} ({after - before:+,})")


def _text(area: str, what: str, before: Any, after: Any) -> Iterator[Difference]:
    if before != after:
        yield Difference(area, what, _shown(before), _shown(after))


def _names(
    area: str, what: str, before: tuple[str, ...], after: tuple[str, ...]
) -> Iterator[Difference]:
    gone = [name for name in before if name not in after]
    new = [name for name in after if name not in before]
    if gone or new:
        yield Difference(area, what, f"without {_listed(gone)}", f"with {_listed(new)}")
    elif before != after:
        yield Difference(area, what, "the same names", "in another order")


def _listed(names: list[str]) -> str:
    return ", ".join(names) or NOT_THERE


def _leaves(area: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Difference]:
    old, new = dict(_flat(before)), dict(_flat(after))
    for name in sorted({*old, *new}):
        yield from _text(area, name, old.get(name), new.get(name))


def _flat(table: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        path = f"{above}.{name}" if above else str(name)
        if isinstance(value, Mapping) and value:
            yield from _flat(value, path)
        else:
            yield path, value


def _shown(value: Any) -> str:
    if value is None or value == "":
        return NOT_THERE
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
