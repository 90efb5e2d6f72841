"""Words on a terminal: tables, durations, and JSON for those who asked for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

MARKS = {
    "succeeded": "✓",
    "cached": "=",
    "failed": "✗",
    "skipped": "–",
    "running": "…",
    "interrupted": "!",
}


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=_as_text, ensure_ascii=False))


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Left-aligned columns, two blanks apart."""
    lines = [[str(head) for head in heads], *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def seconds(value: float | None) -> str:
    if value is None:
        return ""
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value // 60)} min {int(value % 60)} s"


def moment(value: datetime | None) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S} UTC" if value else ""
