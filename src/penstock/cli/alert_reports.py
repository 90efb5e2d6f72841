"""The reports that a check of alerts reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.monitoring.report import Report


def reports_of(files: Sequence[str] | None) -> list[Report]:
    """From files as `penstock monitor … --json` prints them: one report, or a list of them.

    Raises `UsageError` for what is none.
    """
    found: list[Report] = []
    for name in files or ():
        found += _read(Path(name))
    return found


def _read(file: Path) -> list[Report]:
    import msgspec

    from penstock.errors import UsageError
    from penstock.monitoring.report import Report

    try:
        one_or_more = msgspec.json.decode(file.read_bytes())
        several = one_or_more if isinstance(one_or_more, list) else [one_or_more]
        return msgspec.convert(several, list[Report])
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{file} is no report: {error}", hint="`penstock monitor all --json` prints some"
        ) from error
