"""A Prometheus and an Alertmanager of this machine, which look every second."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from databases import NOTHING_SKIPPED
from gateways import ask, until
from mailboxes import closed_port


def require(*tools: str) -> None:
    """Skips the test where one is not installed."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        reason = f"{', '.join(missing)} of Debian's prometheus packages"
        pytest.fail(reason) if os.environ.get(NOTHING_SKIPPED) == "1" else pytest.skip(reason)


@contextmanager
def prometheus(folder: Path, rules: Path, targets: list[str], alertmanager: str) -> Iterator[str]:
    """Scrapes `/metrics` of the targets (host:port); gives its own URL."""
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [{"job_name": "penstock", "static_configs": [{"targets": targets}]}],
    }
    options = ("--config.file={config}", "--storage.tsdb.path={data}")
    with _running("prometheus", folder, config, *options) as url:
        yield url


@contextmanager
def alertmanager(folder: Path, webhook: str) -> Iterator[str]:
    """Calls a webhook with what fires; gives its own URL."""
    route = {"receiver": "penstock", "group_wait": "1s", "group_interval": "1s"}
    config = {
        "route": route,
        "receivers": [{"name": "penstock", "webhook_configs": [{"url": webhook}]}],
    }
    options = ("--config.file={config}", "--storage.path={data}", "--cluster.listen-address=")
    with _running("prometheus-alertmanager", folder, config, *options) as url:
        yield url


@contextmanager
def _running(tool: str, folder: Path, config: dict[str, Any], *options: str) -> Iterator[str]:
    file, address = folder / f"{tool}.yml", f"127.0.0.1:{closed_port()}"
    file.write_text(yaml.safe_dump(config))
    given = [one.format(config=file, data=folder / f"{tool}-data") for one in options]
    with (folder / f"{tool}.log").open("w") as log:
        process = subprocess.Popen(
            [tool, *given, f"--web.listen-address={address}"], stdout=log, stderr=log
        )
    try:
        until(lambda: _ready(address))
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(60)


def _ready(address: str) -> bool:
    try:
        return ask(f"http://{address}/-/ready").status == 200
    except OSError:
        return False
