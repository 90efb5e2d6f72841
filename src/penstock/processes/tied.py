"""A child process that is told to end when its parent is gone, even one killed by SIGKILL.

The wish is uttered by the child itself, before it becomes the command: to do so between fork and
exec of a parent with threads is not safe. Linux only; elsewhere the command is run as it is. The
kernel watches the parent's *thread* that started the child: let it be the main one.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def tied(command: Sequence[str]) -> list[str]:
    """The command line to start instead; the process that it starts becomes `command`."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def main() -> None:
    """In the child, without any of our modules: python -I -S tied.py PARENT COMMAND…"""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it was gone before it could be watched
            raise SystemExit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
