"""Answers one prediction request, inside a replica."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from penstock.errors import ModelError, ServingError
from penstock.registry.loading import LoadedModel
from penstock.serving.payload import (
    RequestError,
    error_body,
    parse,
    parse_entities,
    parse_rows,
)
from penstock.serving.release import ReleaseSpec

if TYPE_CHECKING:
    import pandas

WARM_UP_VALUES = {"bool": False, "string": "", "int32": 0, "int64": 0, "float": 0.0, "double": 0.0}


class OnlineReader(Protocol):
    """Reads the features of entities; one row an entity, in the order asked for."""

    @property
    def entity_keys(self) -> tuple[str, ...]: ...

    def read(self, entities: dict[str, list[Any]]) -> pandas.DataFrame: ...


class Predictor:
    """A model and, where it has one, its source of features."""

    def __init__(
        self, spec: ReleaseSpec, model: LoadedModel, source: OnlineReader | None, max_rows: int
    ) -> None:
        self._spec = spec
        self._model = model
        self._source = source
        self._max_rows = max_rows

    def warm_up(self) -> None:
        """Predicts a row made from the signature: what fails now would fail for every client.

        Raises `ModelError`, unless text features are involved, for which no valid value is known.
        """
        import pandas

        row = {column.name: [WARM_UP_VALUES[column.type]] for column in self._model.features}
        try:
            self._model.predict(pandas.DataFrame(row))
        except ModelError as error:
            if all(column.type != "string" for column in self._model.features):
                raise
            print(f"{self._spec.id}: no warm-up row could be made: {error}", flush=True)

    def answer(self, body: bytes, request_id: str) -> tuple[int, bytes]:
        """An HTTP status and a JSON body."""
        try:
            predictions = self._model.predict(self._frame(body)).tolist()
        except RequestError as error:
            return error.status, error_body(error.message, error.field)
        except ModelError as error:
            return self._failed(500, error, request_id)
        except ServingError as error:
            return self._failed(503, error, request_id)
        answer = {
            "predictions": predictions,
            "model": self._spec.model,
            "release": self._spec.id,
            "request_id": request_id,
        }
        return 200, json.dumps(answer, allow_nan=False).encode()

    def _frame(self, body: bytes) -> pandas.DataFrame:
        import pandas

        name, content = parse(body)
        if name == "rows":
            return pandas.DataFrame(parse_rows(content, self._model.features, self._max_rows))
        if self._source is None:
            raise RequestError(400, "this release has no online features; send rows", "entities")
        entities = parse_entities(content, self._source.entity_keys, self._max_rows)
        return self._read(self._source, entities)

    def _read(self, source: OnlineReader, entities: Mapping[str, list[Any]]) -> pandas.DataFrame:
        try:
            frame = source.read(dict(entities))
        except Exception as error:  # whatever the store's library raises
            raise ServingError("the online features could not be read") from error
        asked = len(next(iter(entities.values())))
        if len(frame) != asked:
            raise ServingError(f"the online store gave {len(frame)} rows for {asked} entities")
        _refuse_unknown(frame, entities)
        return frame

    def _failed(
        self, status: int, error: ModelError | ServingError, request_id: str
    ) -> tuple[int, bytes]:
        """The client learns what failed; where, only the log."""
        print(f"request {request_id}:", "".join(traceback.format_exception(error)), flush=True)
        return status, error_body(error.message)


def _refuse_unknown(frame: pandas.DataFrame, entities: Mapping[str, list[Any]]) -> None:
    """An entity without a single feature would be answered by a guess."""
    unknown = frame.isna().all(axis="columns").to_numpy().nonzero()[0]
    if len(unknown):
        keys = ", ".join(f"{key}={values[unknown[0]]!r}" for key, values in entities.items())
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise RequestError(404, f"nothing is known of {keys}{more}", next(iter(entities)))
