"""Which failures are worth another try, and what the user is told about the others."""

from __future__ import annotations

import contextlib
import errno
import sysconfig
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from penstock.errors import PenstockError, ResourceError, StepError, UserCodeError

REMEDIES = {
    errno.ENOSPC: "free some space on that disk and run again; nothing half-written was kept",
    errno.EDQUOT: "free some space in your quota and run again; nothing half-written was kept",
    errno.EACCES: "give this user write permission there, or move the project",
    errno.EPERM: "give this user write permission there, or move the project",
    errno.EROFS: "the file system is read-only; move the project",
    errno.EADDRINUSE: "another process listens there; choose another port",
    errno.EFBIG: "the file would be larger than this system allows (ulimit -f)",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}

# Waiting does not mend these.
LASTING = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG}
PATH_ERRORS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)

# Code that is not the user's: Penstock, the standard library, and what has no file.
FOREIGN = (f"{Path(__file__).parents[1]}/", f"{sysconfig.get_path('stdlib')}/", "<")


@dataclass(frozen=True)
class RetryDecision:
    retry: bool
    delay: timedelta
    reason: str


def decide_retry(
    error: PenstockError, attempt: int, retries: int, delay: timedelta
) -> RetryDecision:
    """After attempt number `attempt` (from 1): again, or not, and why."""
    if not error.transient:
        return RetryDecision(False, timedelta(0), "it would fail the same way again")
    if attempt > retries:
        return RetryDecision(False, timedelta(0), f"all {retries} retries are used up")
    return RetryDecision(True, delay, f"retry {attempt} of {retries} in {delay}")


@contextlib.contextmanager
def translated(step: str) -> Iterator[None]:
    """Turns whatever is raised inside a step into a `PenstockError` that names the step's trouble.

    The full traceback goes to standard error, that is to the step's log.
    """
    try:
        yield
    except PenstockError:
        raise
    except PATH_ERRORS as error:
        traceback.print_exc()
        raise UserCodeError(
            f"{_words_of(error)}{_place(error)}", hint="correct the path, or bring the file there"
        ) from error
    except OSError as error:
        traceback.print_exc()
        kind = StepError if error.errno in LASTING else ResourceError
        raise kind(
            _words_of(error), hint=REMEDIES.get(error.errno or 0, f"see the log of {step}")
        ) from error
    except MemoryError as error:
        traceback.print_exc()
        raise ResourceError(
            "out of memory", hint="give the step less data or more memory"
        ) from error
    except Exception as error:
        traceback.print_exc()
        raise UserCodeError(
            f"{type(error).__name__}: {error}{_place(error)}",
            hint=f"the traceback is in the log of {step}",
        ) from error


def _words_of(error: OSError) -> str:
    """What the system says, and of which file."""
    place = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{place}"


def _place(error: Exception) -> str:
    """The last line of the user's own that the error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not f.filename.startswith(FOREIGN)]
    own = [f for f in own if "site-packages" not in f.filename]
    return f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
