"""What a change of the declarations does to features that are already there. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from penstock.features.definition import Transformation, ViewDefinition

ASPECTS = {  # of a view: a change of one changes every feature of it
    "keys": "the keys",
    "source": "the source",
    "transformation": "the transformation",
    "ttl": "the ttl",
    "resolution": "the resolution",
}


@dataclass(frozen=True)
class Computed:
    """A view whose features are computed when they are asked for."""

    features: Mapping[str, str]  # their types
    mode: str  # of the function: pandas, python, …
    code: str  # the digest of the function's source
    inputs: tuple[str, ...]  # features of other views, and what the request brings


Described = ViewDefinition | Computed


@dataclass(frozen=True)
class Change:
    """One feature that is new, gone, or means something else than before."""

    view: str
    feature: str
    kind: Literal["added", "removed", "changed"]
    what: str = ""  # of a changed feature: what about it, before and after
    services: tuple[str, ...] = ()  # that serve it

    @property
    def breaks(self) -> bool:
        """Whether a served model would see other values under the same name, or none."""
        return self.kind != "added" and bool(self.services)

    def __str__(self) -> str:
        what = f": {self.what}" if self.what else ""
        served = f"; served by {', '.join(self.services)}" if self.services else ""
        return f"{self.view}.{self.feature} is {self.kind}{what}{served}"


def changes(
    before: Mapping[str, Described],
    after: Mapping[str, Described],
    services: Mapping[str, Sequence[tuple[str, str]]],
) -> list[Change]:
    """From what is registered to what is declared; `services` lists (view, feature) by name."""
    found: list[Change] = []
    for view in sorted({*before, *after}):
        old, new = _meanings(before.get(view)), _meanings(after.get(view))
        for feature in [*old, *(name for name in new if name not in old)]:
            serving = tuple(s for s, listed in services.items() if (view, feature) in listed)
            if feature not in new:
                found.append(Change(view, feature, "removed", services=serving))
            elif feature not in old:
                found.append(Change(view, feature, "added", services=serving))
            elif different := _difference(old[feature], new[feature]):
                found.append(Change(view, feature, "changed", different, serving))
    return found


def _meanings(view: Described | None) -> dict[str, dict[str, str]]:
    """Of each feature, all that decides its values, as words."""
    if view is None:
        return {}
    if isinstance(view, Computed):
        computed = {
            "the function": f"{view.mode} of digest {view.code[:12]}",
            "the inputs": ", ".join(view.inputs),
        }
        return {name: computed | {"the type": kind} for name, kind in view.features.items()}
    shared = {words: _words(getattr(view, name)) for name, words in ASPECTS.items()}
    shared["the source"] = f"{view.source.location} by {view.source.timestamp}" + (
        f" and {view.source.created}" if view.source.created else ""
    )
    own: dict[str, dict[str, str]] = {}
    for aggregate in view.aggregates:
        own[aggregate.name] = {
            "the function": aggregate.function + (f"({aggregate.n})" if aggregate.n else ""),
            "the column": aggregate.column or "*",
            "the window": str(aggregate.window or "lifetime"),
            "the offset": str(aggregate.offset),
            "the type": aggregate.type,
        }
    for field in () if view.aggregates else view.fields:
        own[field.name] = {"the type": field.type}
    return {name: shared | meaning for name, meaning in own.items()}


def _words(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{column.name}: {column.type}" for column in value)
    if isinstance(value, Transformation):
        is_query = value.mode == "sql"
        return value.text if is_query else f"{value.text} of digest {value.digest[:12]}"
    return str(value or "none")


def _difference(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    names = dict.fromkeys((*old, *new))
    return "; ".join(
        f"{name} from {old.get(name, 'none')} to {new.get(name, 'none')}"
        for name in names
        if old.get(name) != new.get(name)
    )
