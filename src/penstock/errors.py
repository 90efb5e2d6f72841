"""Every error a user can cause, in one tree.

    PenstockError
    ├── UsageError            the command line was used wrongly                       (exit 2)
    ├── SettingsError         penstock.toml or the environment is wrong               (exit 2)
    ├── ProjectError          the project folder or its code is not as expected       (exit 2)
    ├── DataError             the data is not what the step can work on
    ├── GateFailed            a gate looked, and said no
    │   └── NoBetter          of a model that nobody asked for: the champion stays
    ├── ModelError            a model cannot be trained, saved or loaded safely
    ├── IntegrityError        bytes are not the bytes that were recorded
    ├── ServingError          an endpoint did not come up or did not answer
    ├── RolloutError          what is asked does not fit the state of a rollout
    ├── AccessError           who asks is not known, or may not do it
    ├── ConflictError         somebody else wrote the same thing at the same time
    └── StepError             a step ended without a result
        ├── UserCodeError     the project's own code raised
        ├── StepInterrupted   the step was killed, crashed or ran out of time      (retried)
        └── ResourceError     no space, no permission, no connection               (retried)

Each message says what was seen, each `hint` what to do next. Errors of other tools are translated
into this tree at the package that owns the tool.
"""

from __future__ import annotations

from typing import Any


class PenstockError(Exception):
    """Something went wrong that the user can mend."""

    exit_status = 1
    # Whether doing the same again may succeed: only then is a step retried.
    transient = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def as_dict(self) -> dict[str, Any]:
        """The form that is stored with a run, printed by `--json` and sent between processes.

        A package's own kind goes by the nearest one of the tree, so that it is read back alike.
        """
        kind = next(k.__name__ for k in type(self).__mro__ if k.__name__ in KINDS)
        return {"error": kind, "message": self.message, "hint": self.hint}

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[PenstockError], message: str, hint: str) -> PenstockError:
    return kind(message, hint=hint)


class UsageError(PenstockError):
    """The command line was used wrongly."""

    exit_status = 2


class SettingsError(PenstockError):
    """A setting is missing, unknown or has a value that cannot be used."""

    exit_status = 2


class ProjectError(PenstockError):
    """The project folder, or the code in it, is not what Penstock expects."""

    exit_status = 2


class DataError(PenstockError):
    """The data has not the shape that this step needs."""


class GateFailed(PenstockError):
    """A gate measured something and found it outside its threshold."""


class NoBetter(GateFailed):
    """A model that a trigger made is no better than the champion, which stays."""


class ModelError(PenstockError):
    """A model cannot be trained, saved in a safe format, or loaded."""


class IntegrityError(PenstockError):
    """Stored bytes differ from the digest that was recorded when they were written."""


class ServingError(PenstockError):
    """An endpoint did not become ready, or did not answer."""


class RolloutError(PenstockError):
    """What is asked of a rollout does not fit the state that it is in."""


class AccessError(PenstockError):
    """Whoever asks is not known, or has no role that allows it."""


class ConflictError(PenstockError):
    """Somebody else changed the same thing in the meantime: look again, and decide again."""


class StepError(PenstockError):
    """A step ended without a result."""


class UserCodeError(StepError):
    """A function of the project raised an exception."""


class StepInterrupted(StepError):
    """A step was killed, crashed, or ran longer than its timeout."""

    transient = True


class ResourceError(StepError):
    """The machine refused: no space, no permission, no connection."""

    transient = True


KINDS: dict[str, type[PenstockError]] = {
    kind.__name__: kind
    for kind in (
        PenstockError,
        UsageError,
        SettingsError,
        ProjectError,
        DataError,
        GateFailed,
        NoBetter,
        ModelError,
        IntegrityError,
        ServingError,
        RolloutError,
        AccessError,
        ConflictError,
        StepError,
        UserCodeError,
        StepInterrupted,
        ResourceError,
    )
}


def from_dict(stored: dict[str, Any]) -> PenstockError:
    """The inverse of `PenstockError.as_dict`."""
    kind = KINDS.get(str(stored.get("error")), PenstockError)
    return kind(str(stored.get("message", "")), hint=str(stored.get("hint", "")))
