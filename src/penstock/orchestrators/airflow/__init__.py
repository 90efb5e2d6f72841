"""The plan as an Airflow 3 DAG, and the parts of it for DAGs written by hand.

What is named here is imported when it is asked for: a DAG file pays for what it uses.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.orchestrators.airflow.approval import ApprovalOperator as ApprovalOperator
    from penstock.orchestrators.airflow.assets import dataset_asset as dataset_asset
    from penstock.orchestrators.airflow.assets import endpoint_asset as endpoint_asset
    from penstock.orchestrators.airflow.assets import model_asset as model_asset
    from penstock.orchestrators.airflow.dag import build_dag as build_dag
    from penstock.orchestrators.airflow.notifier import PenstockNotifier as PenstockNotifier
    from penstock.orchestrators.airflow.operators import (
        PenstockStepOperator as PenstockStepOperator,
    )
    from penstock.orchestrators.airflow.rollouts import RolloutOperator as RolloutOperator
    from penstock.orchestrators.airflow.sensors import DriftSensor as DriftSensor
    from penstock.orchestrators.airflow.sensors import RolloutSensor as RolloutSensor

MODULES = {
    "ApprovalOperator": "approval",
    "DriftSensor": "sensors",
    "PenstockNotifier": "notifier",
    "PenstockStepOperator": "operators",
    "RolloutOperator": "rollouts",
    "RolloutSensor": "sensors",
    "build_dag": "dag",
    "dataset_asset": "assets",
    "endpoint_asset": "assets",
    "model_asset": "assets",
}

__all__ = sorted(MODULES)


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{MODULES[name]}"), name)
