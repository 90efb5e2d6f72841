"""What a load test asks: rows or entities of the training set, of a file, or made up; and how."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from penstock.errors import DataError, ServingError, UsageError
from penstock.project import Project
from penstock.records import FeatureSet, TrainedModel

if TYPE_CHECKING:
    import pandas as pd

ProtocolName = Literal["predict", "invocations", "v2"]
MADE_UP = 64  # rows
MOST_ROWS = 10_000  # of a file
INFER = "/infer"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Questions:
    """The bodies of requests, one row or entity each, and the path they are posted to."""

    path: str
    bodies: tuple[bytes, ...]


@dataclass(frozen=True)
class Interface:
    """What an endpoint says in its `/openapi.json` that it takes."""

    model: str
    features: Mapping[str, Mapping[str, Any]]  # name -> JSON schema
    entities: tuple[str, ...]  # keys; empty where it has no online features


def interface_of(document: Mapping[str, Any]) -> Interface:
    """Raises `ServingError` for a document that is not of a Penstock endpoint."""
    try:
        choices = document["components"]["schemas"]["Question"]["oneOf"]
        fields = {name: schema for one in choices for name, schema in one["properties"].items()}
        features = dict(fields["rows"]["items"]["properties"])
        entities = tuple(fields.get("entities", {}).get("properties", ()))
        infer = next(p for p in document["paths"] if p.endswith(INFER))
    except (LookupError, TypeError, AttributeError, StopIteration) as error:
        raise ServingError(
            "the endpoint's /openapi.json does not say which rows it takes",
            hint="give them with --rows FILE",
        ) from error
    return Interface(infer.removesuffix(INFER).rpartition("/")[2], features, entities)


def held_out(project: Project, features: FeatureSet, trained: TrainedModel) -> pd.DataFrame:
    """Some rows of the held-out period, drawn by the seed; one a key where there are keys."""
    import pandas as pd

    frame = pd.read_parquet(project.absolute(features.path))
    late = frame[frame[features.timestamp] >= datetime.fromisoformat(trained.holdout)]
    if features.service:
        late = late.drop_duplicates(list(features.entity_keys))
    count = min(project.settings.load_test.entities, len(late))
    return late.sample(count, random_state=project.seed).reset_index(drop=True)


def keys_of(features: FeatureSet, sample: pd.DataFrame) -> pd.DataFrame:
    """What a request by entity must bring: keys and request columns."""
    return sample[[*features.entity_keys, *features.request_columns]]


def rows_of(features: FeatureSet, sample: pd.DataFrame) -> list[dict[str, Any]]:
    """The features of a sample, as JSON has them; missing is None."""
    return records_of(sample[[column.name for column in features.features]])


def records_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return list(json.loads(frame.to_json(orient="records")))


def rows_in(file: Path) -> list[dict[str, Any]]:
    """The first rows of a Parquet, CSV or JSON file, at most 10,000."""
    if not file.is_file():
        raise UsageError(f"{file} does not exist")
    if file.suffix != ".json":
        from penstock.frames.convert import as_table

        return [_plain(row) for row in as_table(file, str(file)).slice(0, MOST_ROWS).to_pylist()]
    try:
        loaded = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file} is not valid JSON: {error}") from None
    rows = loaded.get("rows") if isinstance(loaded, dict) else loaded
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{file} holds no list of rows", hint='write [{"FEATURE": VALUE, …}, …]')
    return rows[:MOST_ROWS]


def made_up(interface: Interface, seed: int) -> list[dict[str, Any]]:
    """Rows of the right types, drawn by the seed. What the model makes of them means nothing."""
    draw = random.Random(seed)
    return [
        {name: _value(schema, draw) for name, schema in interface.features.items()}
        for _ in range(MADE_UP)
    ]


def of_entities(entities: Sequence[Row]) -> Questions:
    """By key: the endpoint reads the features itself. Only Penstock's own protocol has that."""
    bodies = ({"entities": {name: [value] for name, value in one.items()}} for one in entities)
    return Questions("/predict", tuple(map(_encoded, bodies)))


def of_rows(
    protocol: ProtocolName, rows: Sequence[Row], model: str = "", datatypes: Row | None = None
) -> Questions:
    """One row a request. `v2` needs the model's name, and the datatype of each of its inputs.

    >>> of_rows("predict", [{"age": 41}])
    Questions(path='/predict', bodies=(b'{"rows":[{"age":41}]}',))
    """
    if protocol == "predict":
        return Questions("/predict", tuple(_encoded({"rows": [row]}) for row in rows))
    if protocol == "invocations":
        split = ({"columns": [*row], "data": [[*row.values()]]} for row in rows)
        return Questions("/invocations", tuple(_encoded({"dataframe_split": one}) for one in split))
    path = f"/v2/models/{quote(model, safe='')}{INFER}"
    return Questions(path, tuple(_encoded(_tensors(row, datatypes or {})) for row in rows))


def _tensors(row: Row, datatypes: Row) -> dict[str, Any]:
    unknown = [name for name in row if name not in datatypes]
    if unknown:
        raise UsageError(f"the model has no input {unknown[0]!r}; it has {', '.join(datatypes)}")
    return {
        "inputs": [
            {"name": name, "shape": [1], "datatype": datatypes[name], "data": [value]}
            for name, value in row.items()
        ]
    }


def _encoded(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), default=str).encode()


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """JSON has neither NaN nor infinities: they are missing values."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }


def _value(schema: Mapping[str, Any], draw: random.Random) -> Any:
    kinds = schema.get("anyOf", [schema])
    kind = next((one for one in kinds if one.get("type") != "null"), {"type": "null"})
    if kind["type"] == "boolean":
        return draw.random() < 0.5
    if kind["type"] == "integer":
        return draw.randint(0, 100)
    if kind["type"] == "number":
        return round(draw.gauss(0.0, 1.0), 6)
    return draw.choice("abcdefgh") if kind["type"] == "string" else None
