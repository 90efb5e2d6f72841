"""`make bench-features`: features beside Feast's own stores, and beside plans written by hand."""

from __future__ import annotations

import sys

from offline_features import joins, materialisation, scale, windows
from online_reads import online_reads
from side_by_side import write

PARTS = {
    "online": online_reads,
    "windows": windows,
    "joins": joins,
    "materialisation": materialisation,
    "scale": scale,
}


def main(names: list[str]) -> None:
    """All parts, or those that are named."""
    write("features", [row for name in names or PARTS for row in PARTS[name]()])


if __name__ == "__main__":
    main(sys.argv[1:])
