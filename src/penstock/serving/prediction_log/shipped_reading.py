"""Parts of the log that were shipped: of other hosts, or expired on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
from pyarrow import dataset, fs

from penstock.errors import ResourceError
from penstock.object_store import open_s3
from penstock.serving.prediction_log.columns import SCHEMA
from penstock.serving.prediction_log.shipping import parse_destination

if TYPE_CHECKING:
    from pyarrow.fs import S3FileSystem

LISTED_BY_DAY = 400  # days; of a longer span all is listed at once


class Part(NamedTuple):
    """One object, and which bytes are its."""

    path: str  # bucket/…/date=…/endpoint=…/NAME.parquet
    size: int
    modified_ns: int

    @property
    def segment(self) -> str:
        return PurePosixPath(self.path).stem

    @property
    def day(self) -> date:
        return date.fromisoformat(PurePosixPath(self.path).parts[-3].removeprefix("date="))


@dataclass(frozen=True)
class ShippedLog:
    """What an endpoint's gateways brought to a `destination` (s3://bucket/prefix)."""

    destination: str
    endpoint: str
    _opened: list[S3FileSystem] = field(default_factory=list, compare=False, repr=False)

    def parts(self, since: date, until: date) -> tuple[Part, ...]:
        """Of some days, both included. Raises `ResourceError` where they cannot be listed."""
        base = "/".join(part for part in parse_destination(self.destination) if part)
        with self._reached():
            found = [part for place in _places(base, since, until) for part in self._below(place)]
        return tuple(sorted(part for part in found if since <= part.day <= until))

    def rows(self, parts: Collection[Part]) -> dataset.Dataset:
        """As `columns.SCHEMA` has them; what an older Penstock shipped has fewer columns."""
        with self._reached():
            paths = [one.path for one in parts]
            return dataset.dataset(
                paths, SCHEMA, format="parquet", filesystem=self._store, partitioning=None
            )

    @property
    def _store(self) -> S3FileSystem:
        if not self._opened:
            self._opened.append(open_s3())
        return self._opened[0]

    def _below(self, place: str) -> Iterator[Part]:
        selector = fs.FileSelector(place, recursive=True, allow_not_found=True)
        for info in self._store.get_file_info(selector):
            mine = f"/endpoint={self.endpoint}/" in info.path and info.path.endswith(".parquet")
            if mine and info.type == fs.FileType.File:
                yield Part(info.path, info.size, info.mtime_ns)

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            first = str(error).splitlines()[0]
            raise ResourceError(
                f"predictions shipped to {self.destination} cannot be read: {first}",
                hint="check the bucket, its region and the credentials",
            ) from error


def _places(base: str, since: date, until: date) -> Iterator[str]:
    """What is listed: the days, or all where there are many."""
    days = (until - since).days + 1
    if days > LISTED_BY_DAY:
        yield base
    else:
        yield from (f"{base}/date={since + timedelta(days=n)}" for n in range(days))
