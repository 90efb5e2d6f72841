"""The same where parts of the log were shipped to: objects are replaced, each as a whole.

A bucket that keeps versions of its objects keeps the old ones: let it expire them.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from penstock.errors import ResourceError
from penstock.object_store import open_s3
from penstock.serving.prediction_log.erasing import COLUMNS, Whose, things_of, without
from penstock.serving.prediction_log.shipping import parse_destination, sizes


@dataclass(frozen=True)
class Shipped:
    """A person's rows in the shipped parts of one endpoint's log."""

    things: frozenset[tuple[str, int]] = frozenset()  # id of the prediction, and row
    objects: tuple[str, ...] = ()  # bucket/…/date=…/endpoint=…/NAME.parquet


def find_shipped(destination: str, endpoint: str, whose: Whose) -> Shipped:
    """Reads keys and units of all parts there; nothing where nothing is shipped.

    Raises `ResourceError`.
    """
    if not destination:
        return Shipped()
    bucket, prefix = parse_destination(destination)
    things, objects = set[tuple[str, int]](), []
    try:
        store = open_s3("", "")
        for name in sorted(sizes(store, "/".join(part for part in (bucket, prefix) if part))):
            if name.endswith(".parquet") and f"/endpoint={endpoint}/" in name:
                read = {"filesystem": store, "partitioning": None}
                if theirs := things_of(pq.read_table(name, columns=COLUMNS, **read), whose):
                    things |= theirs
                    objects.append(name)
    except (OSError, pa.ArrowException) as error:
        raise _unreachable(destination, error) from error
    return Shipped(frozenset(things), tuple(objects))


def erase_shipped(shipped: Shipped, whose: Whose) -> None:
    """Erases what was found. Raises `ResourceError`; doing it again goes on."""
    if not shipped.objects:
        return
    try:
        store = open_s3("", "")
        for name in shipped.objects:
            table = pq.read_table(name, filesystem=store, partitioning=None)
            whole = pa.BufferOutputStream()
            pq.write_table(without(table, whose), whole, compression="zstd")
            with store.open_output_stream(name) as sink:
                sink.write(whole.getvalue())
    except (OSError, pa.ArrowException) as error:
        raise _unreachable(shipped.objects[0].partition("/")[0], error) from error


def _unreachable(where: str, error: Exception) -> ResourceError:
    return ResourceError(
        f"predictions shipped to {where} cannot be erased: {error}",
        hint="what is erased stays so; erase again when it can be reached",
    )
