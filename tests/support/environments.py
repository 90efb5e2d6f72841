"""Another Python environment that has Penstock, made in a moment."""

from __future__ import annotations

import sysconfig
import venv
from pathlib import Path

import penstock


def other_python(folder: Path) -> str:
    """The interpreter of a new environment, which borrows the packages of this one."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    lent = [str(Path(penstock.__file__).parents[1]), sysconfig.get_path("purelib")]
    (site / "lent.pth").write_text("\n".join(lent))
    return str(folder / "bin" / "python")
