"""What was told of one person's predictions, or of their unit, is blanked in the feedback files."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from penstock.blanking import blank_lines
from penstock.errors import ResourceError
from penstock.serving.feedback import read_lines


def erase_feedback(
    folder: Path, things: Collection[tuple[str, int]], units: Collection[str]
) -> int:
    """How many lines were blanked, also in the file that a gateway writes now.

    `things` are ids of predictions and rows, `units` hashes. Raises `ResourceError`.
    """
    rows = {(subject, str(row)) for subject, row in things}

    def is_meant(line: bytes) -> bool:
        return any(
            (one.subject, one.event) in rows or one.subject in units or one.unit in units
            for one in read_lines([line])
        )

    if not rows and not units:
        return 0
    try:
        return sum(blank_lines(path, is_meant) for path in sorted(folder.glob("*.jsonl")))
    except OSError as error:
        raise ResourceError(
            f"feedback in {folder} cannot be erased: {error}",
            hint="see that the folder may be written, and erase again",
        ) from error
