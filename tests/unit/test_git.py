"""What git says, and that it may have nothing to say."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from penstock import git


def test_git_answers_for_a_repository_and_not_outside_of_one(tmp_path: Path) -> None:
    assert git.said(tmp_path, "rev-parse", "--show-toplevel") is None
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    assert git.said(tmp_path, "rev-parse", "--show-toplevel") == str(tmp_path.resolve())
    assert git.said(tmp_path, "ls-files") == ""
    assert git.said(tmp_path, "rev-parse", "HEAD") is None  # nothing was committed


def test_a_machine_without_git_has_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git.said(tmp_path, "--version") is None
