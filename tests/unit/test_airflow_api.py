"""What starting runs in Airflow makes of keys, and of servers that are not as they should be."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import Answers, server

from penstock.errors import (
    ConflictError,
    PenstockError,
    ProjectError,
    ResourceError,
    SettingsError,
)
from penstock.orchestrators.airflow_api import run_id, start_run
from penstock.project import Project, open_project

RUN = "/api/v2/dags/shop/dagRuns/penstock__key"
STARTED = {"dag_run_id": "penstock__key", "state": "queued"}
MISSING = (404, {"detail": "not found"})
# GET and POST answers by path; Airflow's, where nothing else is said.
READY = {
    f"GET {RUN}": MISSING,
    "GET /api/v2/dags/shop": (200, {"is_paused": False}),
    "GET /api/v2/dags/shop/dagRuns": (200, {"dag_runs": []}),
    "POST /api/v2/dags/shop/dagRuns": (200, STARTED),
}


def opened(
    make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch, url: str
) -> Project:
    monkeypatch.setenv("PENSTOCK_PIPELINE_AIRFLOW_URL", url)
    monkeypatch.setenv("PENSTOCK_PIPELINE_AIRFLOW_TOKEN", "secret")
    return make_project()


@given(st.text(min_size=1), st.text(min_size=1))
def test_the_id_of_a_run_is_one_that_airflow_accepts_and_tells_keys_apart(
    one: str, other: str
) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.~:+-]{1,250}", run_id(one))
    assert (run_id(one) == run_id(other)) == (one == other)


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({f"GET {RUN}": (302, b"")}, SettingsError, "redirection"),
        ({f"GET {RUN}": (200, b"<html>hello</html>")}, SettingsError, "not Airflow's API"),
        ({f"GET {RUN}": (200, [])}, SettingsError, "not Airflow's API"),
        ({f"GET {RUN}": (503, b"busy")}, ResourceError, "failed (503)"),
        ({"GET /api/v2/dags/shop": MISSING}, ProjectError, "has no DAG shop"),
        ({"GET /api/v2/dags/shop": (200, {"is_paused": True})}, ProjectError, "is paused"),
        (
            {"GET /api/v2/dags/shop/dagRuns": (200, {"dag_runs": [STARTED]})},
            ConflictError,
            "is under way in Airflow: penstock__key (queued)",
        ),
        (
            {"POST /api/v2/dags/shop/dagRuns": (409, {"detail": "same logical date"})},
            ConflictError,
            "same logical date",
        ),
        (
            {"POST /api/v2/dags/shop/dagRuns": (400, {"detail": "has import errors"})},
            ProjectError,
            "has import errors",
        ),
    ],
)
def test_what_airflow_says_instead_of_yes_is_an_error_that_says_what_to_do(
    make_project: Callable[..., Project],
    monkeypatch: pytest.MonkeyPatch,
    change: Answers,
    kind: type[PenstockError],
    said: str,
) -> None:
    with server(READY | change) as (url, asked), pytest.raises(PenstockError) as raised:
        start_run(opened(make_project, monkeypatch, url), "drift", key="key")
    assert type(raised.value) is kind
    assert said in raised.value.message
    assert "secret" not in str(raised.value)
    assert not any("elsewhere" in one for one in asked)


def test_whoever_is_second_with_a_key_gets_the_run_of_the_first(
    make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = dict(READY)

    class Quicker(dict[str, tuple[int, Any]]):
        """The other starts the run between our look and our start."""

        def __getitem__(self, asked: str) -> tuple[int, Any]:
            if asked.startswith("POST"):
                answers[f"GET {RUN}"] = (200, STARTED)
                return 409, {"detail": "already exists"}
            return answers[asked]

    with server(Quicker()) as (url, _):
        run = start_run(opened(make_project, monkeypatch, url), "drift", key="key")
    assert (run.id, run.state, run.new) == ("penstock__key", "queued", False)


@pytest.mark.parametrize("token", ["secret\nX: y", "secret\u20ac"])
def test_a_token_that_no_header_may_have_is_refused_and_not_told(
    make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    root = opened(make_project, monkeypatch, "http://127.0.0.1:1").root
    monkeypatch.setenv("PENSTOCK_PIPELINE_AIRFLOW_TOKEN", token)
    project = open_project(root, "dev")
    with pytest.raises(SettingsError, match="cannot be sent") as raised:
        start_run(project, "drift", key="key")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["airflow:8080", "ftp://airflow", "https://ann:pass@airflow"])
def test_an_address_that_is_none_is_refused_and_no_password_told(
    make_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    with pytest.raises(SettingsError, match="airflow_url") as raised:
        opened(make_project, monkeypatch, url)
    assert "pass@" not in raised.value.message
