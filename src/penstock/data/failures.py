"""DVC's errors as ours.

DVC 3 says how many transfers failed, and writes why to its log; the reason is caught there.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from penstock.errors import DataError, IntegrityError, PenstockError, ProjectError, ResourceError

CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError")
REFUSALS = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "403")
KEYS_HINT = (
    "for S3, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, in the environment"
)


@contextlib.contextmanager
def translated(remote: str = "") -> Iterator[None]:
    """Raises what DVC raises as a `PenstockError`; `remote` is where the bytes were to go."""
    from dvc.exceptions import DvcException, FileTransferError

    with _causes() as causes:
        try:
            yield
        except PenstockError:
            raise
        except FileTransferError as error:
            raise unreachable(remote, causes[0] if causes else error) from error
        except (DvcException, OSError) as error:
            raise _as_ours(error, remote, causes) from error
        except Exception as error:
            # botocore's errors are of no common kind that could be named without importing it.
            if _chain(error) & {*CREDENTIALS, "BotoCoreError", "ClientError"}:
                raise unreachable(remote, error) from error
            raise


def unreachable(remote: str, cause: BaseException) -> ResourceError:
    """What to say of a remote that did not take or give the bytes."""
    kinds, words = _chain(cause), _first_line(cause)
    place = remote or "its remote"
    if kinds & set(CREDENTIALS):
        return ResourceError(f"no credentials for {place}: {words}", hint=KEYS_HINT)
    if isinstance(cause, PermissionError) or any(code in str(cause) for code in REFUSALS):
        return ResourceError(
            f"{place} refuses these credentials: {words}",
            hint=f"check what they may do; {KEYS_HINT}",
        )
    return ResourceError(
        f"DVC could not reach {place}: {words}",
        hint="check [data] remote, its credentials in the environment, and the connection; "
        "what is there already is not sent again",
    )


def _as_ours(error: Exception, remote: str, causes: list[BaseException]) -> PenstockError:
    kinds = _chain(error)
    if kinds & {*CREDENTIALS, "BotoCoreError", "ClientError", "ConnectionError"} or (
        remote and isinstance(error, OSError)
    ):
        return unreachable(remote, error.__cause__ or error)
    if isinstance(error, OSError):
        return ResourceError(f"DVC: {_first_line(error)}", hint="look at space and permissions")
    if "LockError" in kinds:
        return ResourceError(
            f"another DVC command is at work here: {_first_line(error)}", hint="wait for its end"
        )
    if "RevError" in kinds:
        return DataError(f"DVC: {_first_line(error)}", hint="name a commit, branch or tag")
    if "ObjectFormatError" in kinds:
        return IntegrityError(f"DVC: {_first_line(error)}", hint="`penstock data pull` heals it")
    if "OutputAlreadyTrackedError" in kinds:
        return ProjectError(
            f"git tracks it already: {_first_line(error)}",
            hint="`git rm --cached PATH` gives it over to DVC",
        )
    cause = causes[0] if causes else error.__cause__
    words = f"{_first_line(error)}: {_first_line(cause)}" if cause else _first_line(error)
    return ProjectError(f"DVC: {words}", hint="`penstock doctor` looks closer")


def _chain(error: BaseException | None) -> set[str]:
    """The names of the kinds of an error and of all that led to it."""
    names: set[str] = set()
    while error is not None:
        names |= {kind.__name__ for kind in type(error).__mro__}
        error = error.__cause__ or error.__context__
    return names


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class _Ear(logging.Handler):
    def __init__(self, heard: list[BaseException]) -> None:
        super().__init__(logging.ERROR)
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.heard.append(record.exc_info[1])


@contextlib.contextmanager
def _causes() -> Iterator[list[BaseException]]:
    """The errors that DVC's libraries write to the log meanwhile, kept off the terminal."""
    heard: list[BaseException] = []
    loggers = [logging.getLogger(name) for name in ("dvc_data", "dvc_objects")]
    before = [(logger, logger.handlers, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [_Ear(heard)], False
    try:
        yield heard
    finally:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
