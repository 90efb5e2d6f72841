"""What git says of the repository that a folder is in."""

from __future__ import annotations

import subprocess
from pathlib import Path

PATIENCE = 30.0  # seconds


def said(root: Path, *arguments: str) -> str | None:
    """Git's answer without its last line end. None for what it refuses, outside of a repository,
    and on a machine without git. Raises `subprocess.TimeoutExpired`.
    """
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=PATIENCE
        )
    except OSError:
        return None
    return done.stdout.removesuffix("\n") if done.returncode == 0 else None
