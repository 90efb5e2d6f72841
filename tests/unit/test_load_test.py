from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path

import numpy
import pytest

from penstock.errors import UsageError
from penstock.gates.load_test import LoadResult, latency_plot, run_load


def test_the_result_counts_answers_only() -> None:
    result = LoadResult(10, 2, numpy.arange(1.0, 9.0), seconds=2.0)  # 8 answers, 1 to 8 ms
    assert result.qps == 4.0
    assert result.error_rate == 0.2
    assert result.quantile(0.5) == 4.5


def test_nothing_measured_is_never_a_good_result() -> None:
    result = LoadResult(0, 0, numpy.array([]), seconds=1.0)
    assert result.error_rate == 1.0
    assert result.quantile(0.95) == float("inf")


@pytest.mark.parametrize("latencies", [[], [3.0], [1.0, 2.0, 200.0]])
def test_the_plot_is_drawn_for_any_number_of_answers(
    tmp_path: Path, latencies: list[float]
) -> None:
    latency_plot(LoadResult(3, 0, numpy.array(latencies), 1.0), tmp_path / "latency.png")
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")


def test_an_endpoint_that_refuses_connections_gives_errors() -> None:
    with socket.socket() as bound:  # bound, and not listening
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/predict"
        result = run_load(url, [b"{}"], 2, timedelta(seconds=0.2))
    assert result.errors == result.requests > 0
    assert "ClientConnectorError" in result.failures[0]


def test_a_load_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError):
        run_load("http://127.0.0.1:1/", [], 1, timedelta(seconds=1))
