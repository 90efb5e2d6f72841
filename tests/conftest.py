"""What more than one folder of tests needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from penstock.project import Project, open_project

HERE = Path(__file__).parent
SMALLEST = '[project]\nname = "shop"\n'

# No test has a time limit: what is slow on a busy machine is not wrong.
hypothesis.settings.register_profile("penstock", deadline=None, max_examples=40)
hypothesis.settings.load_profile("penstock")

MakeProject = Callable[..., Project]

LONGEST_FIRST = ("e2e", "integration/orchestrators", "integration", "contract", "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes begins first, so that in the end no process waits for another."""
    items.sort(key=lambda item: _turn(item.path.relative_to(HERE).as_posix()))


def _turn(file: str) -> int:
    return next(n for n, folder in enumerate(LONGEST_FIRST) if file.startswith(f"{folder}/"))


@pytest.fixture(scope="session", autouse=True)
def _keys_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Who approves in a test signs with a key of the tests, not with that of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    """Opens a project made of the given files: `make_project(**{"params.yaml": "seed: 7"})`."""

    def make(environment: str = "dev", **files: str) -> Project:
        for name, text in ({"penstock.toml": SMALLEST} | files).items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return open_project(tmp_path, environment)

    return make
