"""Which failures are worth another try, and what is told about the others."""

from __future__ import annotations

import errno
import importlib.util
import os
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from urllib.error import URLError

import pytest

from penstock.errors import (
    DataError,
    GateFailed,
    PenstockError,
    ResourceError,
    StepError,
    StepInterrupted,
    UserCodeError,
)
from penstock.pipeline.failures import RetryDecision, decide_retry, translated

DELAY = timedelta(minutes=5)
NOW = timedelta(0)


@pytest.mark.parametrize(
    ("error", "attempt", "retries", "decision"),
    [
        (ResourceError("m"), 1, 3, RetryDecision(True, DELAY, "retry 1 of 3 in 0:05:00")),
        (StepInterrupted("m"), 3, 3, RetryDecision(True, DELAY, "retry 3 of 3 in 0:05:00")),
        (ResourceError("m"), 4, 3, RetryDecision(False, NOW, "all 3 retries are used up")),
        (ResourceError("m"), 1, 0, RetryDecision(False, NOW, "all 0 retries are used up")),
        (GateFailed("m"), 1, 3, RetryDecision(False, NOW, "it would fail the same way again")),
        (DataError("m"), 1, 3, RetryDecision(False, NOW, "it would fail the same way again")),
        (UserCodeError("m"), 1, 3, RetryDecision(False, NOW, "it would fail the same way again")),
    ],
)
def test_only_what_may_succeed_is_tried_again_and_only_so_often(
    error: PenstockError, attempt: int, retries: int, decision: RetryDecision
) -> None:
    assert decide_retry(error, attempt, retries, DELAY) == decision


def raised(error: BaseException) -> PenstockError:
    with pytest.raises(PenstockError) as caught, translated("train_model"):
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("number", "remedy", "may_pass"),
    [
        (errno.ENOSPC, "free some space on that disk", True),
        (errno.EACCES, "write permission", False),
        (errno.EROFS, "read-only", False),
        (errno.EMFILE, "ulimit -n", True),
        (errno.ECONNREFUSED, "see the log of train_model", True),
    ],
)
def test_what_the_machine_refuses_is_told_with_the_place_and_a_remedy(
    number: int, remedy: str, may_pass: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    error = raised(OSError(number, os.strerror(number), "/data/out"))
    assert isinstance(error, StepError)
    assert error.transient == may_pass
    assert error.message == f"{os.strerror(number)} (/data/out)"
    assert remedy in error.hint
    assert "Traceback" in capfd.readouterr().err  # the log has it all


def test_a_path_that_is_not_there_is_the_code_s_own_matter() -> None:
    error = raised(FileNotFoundError(errno.ENOENT, "No such file or directory", "raw.csv"))
    assert type(error) is UserCodeError
    assert "raw.csv" in error.message
    assert "test_failures.py:" in error.message


def test_a_connection_that_fails_without_a_number_is_told_by_its_words() -> None:
    assert "no route" in raised(URLError("no route")).message


def test_out_of_memory_is_a_matter_of_resources() -> None:
    error = raised(MemoryError())
    assert type(error) is ResourceError
    assert error.message == "out of memory"


def test_penstock_s_own_errors_pass_as_they_are() -> None:
    error = DataError("no rows", hint="look")
    assert raised(error) is error


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(3)])
def test_a_wish_to_end_is_no_error_of_the_step(stop: BaseException) -> None:
    with pytest.raises(type(stop)), translated("train_model"):
        raise stop


def user_module(folder: Path, text: str) -> ModuleType:
    file = folder / "pipeline.py"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    spec = importlib.util.spec_from_file_location("users_pipeline", file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("folder", ["shop", "penstock/demo/shop"])
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("return params['depht']", "KeyError: 'depht'"),
        ("import json; return json.loads('{')", "JSONDecodeError: "),  # raised deep in the library
        ("import numpy; return numpy.linalg.inv(numpy.zeros((2, 2)))", "LinAlgError: "),
    ],
)
def test_the_user_s_own_line_is_named_however_deep_the_error_was(
    tmp_path: Path, folder: str, line: str, told: str
) -> None:
    module = user_module(tmp_path / folder, f"def train(params):\n    {line}\n")
    with pytest.raises(UserCodeError) as caught, translated("train_model"):
        module.train({})
    assert caught.value.message.startswith(told)
    assert caught.value.message.endswith("(pipeline.py:2)")
    assert caught.value.hint == "the traceback is in the log of train_model"
    assert not caught.value.transient
