"""What `import penstock` offers is stated, complete and sorted."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest

import penstock


def test_the_stated_names_are_sorted_and_all_there() -> None:
    assert penstock.__all__ == sorted(penstock.__all__)
    for name in penstock.__all__:
        assert getattr(penstock, name) is not None


def test_no_public_name_is_left_unstated() -> None:
    modules = {name for name in vars(penstock) if f"penstock.{name}" in sys.modules}
    standard = {"TYPE_CHECKING", "Any", "annotations"}
    public = {name for name in vars(penstock) if not name.startswith("_")} - modules - standard
    assert public <= set(penstock.__all__)


def test_the_version_is_that_of_the_package() -> None:
    assert penstock.__version__ == version("penstock")


@pytest.mark.parametrize("first", ["", "import penstock.authoring", "import penstock.project"])
def test_step_is_the_mark_whatever_was_imported_before(first: str) -> None:
    code = f"{first}\nfrom penstock import Context, step\nassert callable(step(after='x'))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_an_unknown_name_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'steps'"):
        penstock.steps  # noqa: B018


def test_a_marked_function_stays_the_function() -> None:
    def profile(context: penstock.Context) -> int:
        return 7

    assert penstock.step(after="validate_data")(profile) is profile
