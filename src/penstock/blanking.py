"""Lines of append-only files, overwritten where they lie.

Blanks of the same length keep what follows at its place: who appends, and who remembers how far a
file was read, notice nothing; who reads passes over what is no JSON. No copy of the bytes is left.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path


def blank_lines(path: Path, is_meant: Callable[[bytes], bool]) -> int:
    """Overwrites the whole lines that are meant, and gives how many; they are on the disk then.

    A writer that may take back what it appended holds a lock (`flock`) meanwhile. Raises `OSError`.
    """
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        count = place = 0
        for line in file:
            start, place = place, place + len(line)
            if line.endswith(b"\n") and is_meant(line[:-1]):
                os.pwrite(file.fileno(), b" " * (len(line) - 1), start)
                count += 1
        os.fsync(file.fileno())
    return count
