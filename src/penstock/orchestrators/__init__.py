"""Renderings of the plan: on this machine, for Airflow, Prefect and DVC; runs that triggers start."""
