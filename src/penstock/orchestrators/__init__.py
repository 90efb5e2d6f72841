"""The plan rendered: on this machine, for Airflow, Prefect and DVC; runs that triggers start."""
