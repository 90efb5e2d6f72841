"""What a model's features looked like when it was trained: bins that are stored beside the model.

The gateway counts what it is asked in the same bins, so that what is served can be compared with
what was learnt, for as long as the model lives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.errors import ModelError

if TYPE_CHECKING:
    import pandas

FILE = "reference.json"  # in the model's folder, and so part of its digest
BINS = 10  # of equal share, where a feature has so many values


def write_reference(frame: pandas.DataFrame, folder: Path) -> None:
    """Bins of every feature that is a number, from the rows that the model was fitted to."""
    document = {str(name): binned(frame[name]) for name in frame.columns if _numeric(frame[name])}
    text = json.dumps({"features": document}, sort_keys=True, indent=1)
    (folder / FILE).write_text(text)


def binned(values: pandas.Series[Any]) -> dict[str, Any]:
    """Inner edges (ascending) and the rows in each bin, between them and outside; and missing ones.

    A value on an edge lies above it. Few distinct values have a bin each.
    """
    import numpy

    there = values.dropna().to_numpy(dtype=float)
    distinct = numpy.unique(there)
    if len(distinct) <= BINS:
        edges = distinct[1:]
    else:
        edges = numpy.unique(numpy.quantile(there, numpy.linspace(0, 1, BINS + 1)[1:-1]))
    places = numpy.searchsorted(edges, there, side="right")
    counts = numpy.bincount(places, minlength=len(edges) + 1)
    return {
        "edges": edges.tolist(),
        "counts": counts.tolist(),
        "missing": int(values.isna().sum()),
    }


def read_reference(folder: Path) -> Mapping[str, Any]:
    """By feature, what `binned` gave; empty for a model that has none.

    Raises `ModelError` when the file is damaged.
    """
    file = folder / FILE
    if not file.is_file():
        return {}
    try:
        document = json.loads(file.read_bytes())
        return {str(name): dict(one) for name, one in document["features"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{file} is not what a reference looks like: {error}") from error


def _numeric(values: pandas.Series[Any]) -> bool:
    from pandas.api import types

    return bool(types.is_numeric_dtype(values.dtype))
