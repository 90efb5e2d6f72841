"""The DAG that carries a version into production: approvals, the rollout, and its end.

Each release that passes staging starts a run of it, so that the pipeline's own runs, one at a time,
never wait for people.
"""

from __future__ import annotations

from collections.abc import Mapping

from airflow.sdk import DAG, Param

from penstock.orchestrators.airflow.approval import ApprovalOperator
from penstock.orchestrators.airflow.assets import endpoint_asset, ends_of
from penstock.orchestrators.airflow.frame import shared_by
from penstock.orchestrators.airflow.notifier import PenstockNotifier
from penstock.orchestrators.airflow.outline import Outline
from penstock.orchestrators.airflow.rollouts import ChooseVersion, RolloutOperator
from penstock.orchestrators.airflow.sensors import RolloutSensor
from penstock.project import PRODUCTION, STAGING

RUNS = 16  # that wait at the same time: one a version


def add_production_dag(outline: Outline, where: Mapping[str, str]) -> DAG:
    """Named NAME_production. Airflow registers it, as it is entered while a file is parsed.

    `where`: the project and the environment that its tasks open.
    """
    name = f"{outline.name}_{PRODUCTION}"
    with DAG(
        dag_id=name,
        description="From a tested release to a guarded champion",
        schedule=[endpoint_asset(outline.name, STAGING)],
        catchup=False,
        max_active_runs=RUNS,
        on_failure_callback=PenstockNotifier(
            title=f"[{outline.name}] {name} failed",
            body="Run: {{ run_id }}\nNext: penstock rollout list",
            project=where["project"],
            environment=where["environment"],
        ),
        **shared_by(outline),
    ) as dag:
        _add_tasks(outline, where)
    # After the tasks, as in `build_dag`.
    dag.params.update({"model": Param("", "NAME@VERSION, for a run by hand", type="string")})
    return dag


def _add_tasks(outline: Outline, where: Mapping[str, str]) -> None:
    """To the DAG that is entered."""
    assert outline.production is not None
    limits = outline.production
    waits = {"poke_interval": limits.every, **where}
    chosen = ChooseVersion(task_id="choose_version", **where)
    approved = ApprovalOperator(
        task_id="await_approval",
        model=chosen.output,
        target=PRODUCTION,
        timeout=limits.approval_timeout,
        **waits,
    )
    begun = RolloutOperator(
        task_id="start_rollout",
        model=approved.output,
        endpoint=PRODUCTION,
        timeout=limits.rollout_timeout,
        **waits,
    )
    RolloutSensor(
        task_id="watch_rollout",
        rollout=begun.output,
        timeout=limits.rollout_timeout,
        **ends_of(endpoint_asset(outline.name, PRODUCTION).uri),
        **waits,
    )
