"""Copies finished Parquet files to S3, or to what speaks its protocol.

A Parquet file never changes once its segment is gone, and an object appears whole or not at all. So
what is there in the same size is not sent again, and a run that was broken off is gone on with.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyarrow import fs

from penstock.errors import ResourceError, SettingsError
from penstock.object_store import open_s3
from penstock.serving.prediction_log.segments import LogFolder

COPY_BYTES = 8 << 20


@dataclass(frozen=True)
class Shipped:
    """What a run did."""

    files: tuple[str, ...]  # sent now: date=…/endpoint=…/NAME.parquet
    bytes: int
    already_there: int


def ship(folder: Path, destination: str, *, endpoint_url: str = "", region: str = "") -> Shipped:
    """Brings the Parquet files that `destination` (s3://bucket/prefix) lacks there.

    Credentials, and the server where none is named, are those that `open_s3` finds.

    Raises `SettingsError` for a destination that is none, and `ResourceError`.
    """
    bucket, prefix = parse_destination(destination)
    log = LogFolder(folder)
    open_segments = {segment.stem for segment in log.list_segments()}
    finished = [file for file in log.list_parquet() if file.stem not in open_segments]
    sent: list[str] = []
    total = 0
    try:
        store = open_s3(endpoint_url, region)
        there = sizes(store, "/".join(part for part in (bucket, prefix) if part))
        for file in finished:
            name = file.relative_to(log.parquet).as_posix()
            target = "/".join(part for part in (bucket, prefix, name) if part)
            size = file.stat().st_size
            if there.get(target) != size:
                _send(store, file, target)
                sent.append(name)
                total += size
    except OSError as error:
        raise ResourceError(
            f"predictions cannot be shipped to {destination}: {error}",
            hint="check the bucket, its region and the credentials; what was sent stays there",
        ) from error
    return Shipped(tuple(sent), total, len(finished) - len(sent))


def parse_destination(destination: str) -> tuple[str, str]:
    """Bucket and prefix. Raises `SettingsError`."""
    parts = urlsplit(destination)
    if parts.scheme != "s3" or not parts.netloc:
        raise SettingsError(
            f"{destination!r} is no place to ship predictions to",
            hint="write s3://bucket/prefix",
        )
    return parts.netloc, parts.path.strip("/")


def sizes(store: Any, base: str) -> dict[str, int]:
    """In bytes, of all objects below a path, by bucket/key."""
    found = store.get_file_info(fs.FileSelector(base, recursive=True, allow_not_found=True))
    return {info.path: info.size for info in found if info.type == fs.FileType.File}


def _send(store: Any, file: Path, target: str) -> None:
    with file.open("rb") as source, store.open_output_stream(target) as sink:
        shutil.copyfileobj(source, sink, COPY_BYTES)
