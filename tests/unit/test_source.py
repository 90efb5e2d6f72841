"""A project's Python read as text: its steps, and the code that a function rests on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.errors import ProjectError
from penstock.pipeline.source import CustomStep, code_digests, custom_steps, defines

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes files: `write(pipeline="…", **{"pkg/inner": "…"})`; returns the folder."""

    def write_files(**files: str) -> Path:
        for name, text in files.items():
            file = tmp_path / f"{name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return tmp_path

    return write_files


def steps(write: Write, text: str) -> tuple[CustomStep, ...]:
    return custom_steps(write(pipeline=text) / "pipeline.py")


def test_steps_are_read_in_order_without_running_anything(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "pipeline", raising=False)  # another project's
    found = steps(
        write,
        """
import penstock
from penstock import step
raise SystemExit("this module was run")

@step(after="validate_data")
def profile(context, dataset: DatasetVersion) -> GateReport: ...

def not_a_step(context): ...

@penstock.step(after="profile", before="train_model")
def balance(context: Context, features: "records.FeatureSet", data: DatasetVersion) -> None: ...
""",
    )
    assert found == (
        CustomStep("profile", 7, "validate_data", "", ("DatasetVersion",), "GateReport"),
        CustomStep("balance", 12, "profile", "train_model", ("FeatureSet", "DatasetVersion"), ""),
    )
    assert "pipeline" not in sys.modules


def test_no_file_and_no_marks_are_no_steps(write: Write, tmp_path: Path) -> None:
    assert custom_steps(tmp_path / "pipeline.py") == ()
    assert steps(write, "def extract(context): ...") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("@step\ndef s(context): ...", "does not say where it belongs"),
        ("@step()\ndef s(context): ...", "does not say where it belongs"),
        ("@step('validate_data')\ndef s(context): ...", "does not say where it belongs"),
        ("@step(after='')\ndef s(context): ...", "does not say where it belongs"),
        ("@step(behind='x')\ndef s(context): ...", "and map=, plain strings"),
        ("@step(after=NAME)\ndef s(context): ...", "and map=, plain strings"),
        ("@step(after=3)\ndef s(context): ...", "and map=, plain strings"),
        ("@step(after=None)\ndef s(context): ...", "and map=, plain strings"),
        (
            "@step(after=f'{x}')\ndef s(context): ...",
            "and map=, plain strings",
        ),
        ("@step(**where)\ndef s(context): ...", "and map=, plain strings"),
        ("@step(after='a')\ndef s(context, data): ...", "'data' of step 's' has no annotation"),
        ("@step(after='a')\ndef s(context, a: A, b: A): ...", "takes a second A"),
        ("@step(after='a')\ndef s(): ...", "cannot be called as step(context, record, …)"),
        ("@step(after='a')\ndef s(data: A, context): ...", "cannot be called"),
        ("@step(after='a')\ndef s(context, *, data: A): ...", "cannot be called"),
        ("@step(after='a')\ndef s(context, *data: A): ...", "cannot be called"),
        ("@step(after='a')\ndef s(context, **data: A): ...", "cannot be called"),
        ("@step(after='a')\nasync def s(context): ...", "cannot be called"),
    ],
)
def test_a_step_that_cannot_work_is_refused_with_its_line(
    write: Write, text: str, said: str
) -> None:
    with pytest.raises(ProjectError) as caught:
        steps(write, text)
    assert ":2: " in caught.value.message
    assert said in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"import os\n\ndef extract(:\n", 3),
        (b"x = 1\ny = 'caf\xe9'\n", 2),
        (b"x = 1\x00\n", 1),
    ],
)
def test_what_is_not_python_is_named_with_its_line(
    tmp_path: Path, content: bytes, line: int
) -> None:
    file = tmp_path / "pipeline.py"
    file.write_bytes(content)
    with pytest.raises(ProjectError, match=rf"pipeline.py:{line}: not valid Python"):
        custom_steps(file)
    with pytest.raises(ProjectError, match=rf"pipeline.py:{line}: not valid Python"):
        code_digests(tmp_path, "pipeline.py:extract")


def test_a_byte_order_mark_and_a_declared_encoding_are_python_too(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.py"
    file.write_bytes(b"\xef\xbb\xbfdef extract(context): ...\n")
    assert defines(file, "extract")
    file.write_bytes(b"# -*- coding: latin-1 -*-\nNAME = 'caf\xe9'\n")
    assert defines(file, "NAME")


def test_which_names_a_file_defines(write: Write) -> None:
    file = write(pipeline="import a.b\nfrom c import d as e\nx, y = 1, 2\nclass K: ...\n") / (
        "pipeline.py"
    )
    assert all(defines(file, name) for name in ("a", "e", "x", "y", "K"))
    assert not any(defines(file, name) for name in ("b", "d", "extract"))
    assert not defines(file.with_name("none.py"), "x")


PIPELINE = """
import json
from helpers import load

LIMIT = 3

def extract(context):
    return load(LIMIT)

def scaled(x):
    return x * FACTOR

FACTOR = 2

def train(training_set, params):
    return scaled(training_set)
"""


def digest(write: Write, function: str, **files: str) -> dict[str, str]:
    return code_digests(write(**files), f"pipeline.py:{function}")


@pytest.mark.parametrize(
    ("old", "new", "extract_changes", "train_changes"),
    [
        ("return scaled(training_set)", "return scaled(params)", False, True),
        ("x * FACTOR", "x + FACTOR", False, True),  # a helper that train() uses
        ("FACTOR = 2", "FACTOR = 3", False, True),  # a constant that the helper uses
        ("LIMIT = 3", "LIMIT = 4", True, False),
        ("import json", "import json, os", False, False),  # used by neither
        ("import json", "import json\nprint('side effect')", True, True),  # counts for all
        ("    return load", "    # a comment\n    return  load", False, False),
        ("LIMIT = 3", "LIMIT = 3  # as agreed\n\n", False, False),
        ('\nimport json', '"""A docstring of the module."""\nimport json', False, False),
        ("def extract(context)", "def extract(context, more=1)", True, False),
        ("def train(", "@cached\ndef train(", False, True),
    ],
)  # fmt: skip
def test_only_the_code_that_a_function_rests_on_counts(
    write: Write, old: str, new: str, extract_changes: bool, train_changes: bool
) -> None:
    assert old in PIPELINE
    write(helpers="def load(n): ...")
    before = [digest(write, name, pipeline=PIPELINE) for name in ("extract", "train")]
    changed = PIPELINE.replace(old, new, 1)
    after = [digest(write, name, pipeline=changed) for name in ("extract", "train")]
    assert before[0] != before[1]
    assert (before[0] != after[0], before[1] != after[1]) == (extract_changes, train_changes)


def test_a_changed_helper_module_changes_only_who_imports_it(write: Write) -> None:
    write(pipeline=PIPELINE)
    before = [digest(write, name, helpers="x = 1") for name in ("extract", "train")]
    after = [digest(write, name, helpers="x = 2") for name in ("extract", "train")]
    assert set(before[0]) == {"code pipeline.py:extract", "code helpers.py"}
    assert before[0] != after[0]
    assert before[1] == after[1]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import helpers", {"helpers.py"}),
        ("from helpers import *", {"helpers.py"}),
        ("import pkg.inner", {"pkg/__init__.py", "pkg/inner.py"}),
        ("from pkg import inner", {"pkg/__init__.py", "pkg/inner.py"}),
        ("from pkg.inner import x", {"pkg/__init__.py", "pkg/inner.py"}),
        ("import numpy, json", set()),
        ("import relative.user", {"relative/user.py", "relative/other.py"}),
    ],
)
def test_local_modules_are_followed_however_they_are_imported(
    write: Write, line: str, found: set[str]
) -> None:
    write(helpers="", other="", **{"pkg/__init__": "", "pkg/inner": ""})
    write(**{"relative/user": "from .other import x", "relative/other": ""})
    text = f"{line}\ndef train():\n    return helpers, pkg, inner, x, numpy, json, relative"
    assert set(digest(write, "train", pipeline=text)) == {
        "code pipeline.py:train",
        *(f"code {name}" for name in found),
    }


def test_an_import_inside_a_function_counts(write: Write) -> None:
    text = "def train():\n    import helpers\n"
    assert "code helpers.py" in digest(write, "train", pipeline=text, helpers="")


def test_local_modules_are_followed_to_the_last(write: Write) -> None:
    files = {"a": "import b", "b": "import c", "c": "x = 1"}
    text = "import a\ndef train(): a.x"
    before = digest(write, "train", pipeline=text, **files)
    after = digest(write, "train", c="x = 2")
    assert {name for name in before if before[name] != after[name]} == {"code c.py"}


def test_modules_that_import_each_other_end(write: Write) -> None:
    files = {"a": "import b", "b": "import a, pipeline"}
    text = "import a\nLIMIT = 1\ndef train(): a.x"
    before = digest(write, "train", pipeline=text, **files)
    assert set(before) == {
        "code pipeline.py:train",
        "code a.py",
        "code b.py",
        "code pipeline.py",  # b may use any of it
    }
    assert digest(write, "train", pipeline=text.replace("LIMIT = 1", "LIMIT = 2")) != before


def test_what_is_not_there_rests_on_nothing(write: Write) -> None:
    assert digest(write, "evaluate", pipeline=PIPELINE) == {}
    assert code_digests(write(), "features.py") == {}


def test_a_whole_file_counts_as_a_whole(write: Write) -> None:
    before = code_digests(write(features="a = 1\nb = 2\n"), "features.py")
    assert before != code_digests(write(features="a = 1\nb = 3\n"), "features.py")
    assert before == code_digests(write(features="a = 1  # one\n\nb = 2\n"), "features.py")


def test_a_broken_local_module_is_named_and_not_the_pipeline(write: Write) -> None:
    with pytest.raises(ProjectError, match=r"helpers\.py:2: not valid Python"):
        digest(write, "extract", pipeline=PIPELINE, helpers="x = 1\ny = (\n")
