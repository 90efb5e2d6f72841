"""The Airflow DAG of this project, built from its plan and penstock.toml."""

from penstock.orchestrators.airflow import build_dag

dag = build_dag(__file__)
