"""What more than one folder of tests needs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from penstock.project import Project, open_project

HERE = Path(__file__).parent
SMALLEST = '[project]\nname = "shop"\n'

# Several processes of tests share the machine: none of them, nor what it starts, takes all cores.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# No test has a time limit: what is slow on a busy machine is not wrong.
hypothesis.settings.register_profile("penstock", deadline=None, max_examples=25)
hypothesis.settings.load_profile("penstock")

MakeProject = Callable[..., Project]

# Folders and files. What takes minutes begins first, so that in the end no process waits for
# another; each file is one process's.
LONGEST_FIRST = (
    "e2e",
    "integration/orchestrators",
    "integration/serving/test_versions",
    "integration/serving/test_ray",
    "integration/test_features_spark",
    "integration/test_features_commands",
    "integration/test_dvc_pipeline",
    "integration/test_feast_tools",
    "integration/rollout",
    "integration/serving",
    "unit/rollout/test_rollout_simulation",
    "integration",
    "contract",
    "unit",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _turn(item.path.relative_to(HERE).as_posix()))


def _turn(file: str) -> int:
    return next(n for n, begin in enumerate(LONGEST_FIRST) if file.startswith(begin))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where slow tests are left out, files of them are not even imported, which takes a minute."""
    if config.option.markexpr != "not slow" or collection_path.suffix != ".py":
        return None
    slow = r"^pytestmark = (\[\s*)?pytest\.mark\.slow"
    return re.search(slow, collection_path.read_text(encoding="utf-8"), re.M) is not None or None


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
