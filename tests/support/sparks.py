"""Spark as tests start it: little data, and a life too short for its compiler's last word."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MISSING = [
    *(["pyspark (make spark)"] if importlib.util.find_spec("pyspark") is None else []),
    *(["Java"] if shutil.which("java") is None else []),
]
DEFAULTS = """\
spark.sql.shuffle.partitions 2
spark.ui.enabled false
spark.driver.extraJavaOptions -XX:TieredStopAtLevel=1 -XX:+UseSerialGC
"""


@contextlib.contextmanager
def small_spark(folder: Path) -> Iterator[None]:
    """Who opens a session here gets one with these defaults; it ends at the end."""
    (folder / "spark-defaults.conf").write_text(DEFAULTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_CONF_DIR", str(folder))
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        yield
        from pyspark.sql import SparkSession

        active = SparkSession.getActiveSession()
        if active is not None:
            active.stop()


def required() -> None:
    """The test is skipped where Spark is missing, or fails where nothing may be."""
    if MISSING:
        reason = f"not installed: {', '.join(MISSING)}"
        nothing_skipped = os.environ.get("PENSTOCK_TEST_NOTHING_SKIPPED") == "1"
        pytest.fail(reason) if nothing_skipped else pytest.skip(reason)
