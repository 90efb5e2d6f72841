"""Renderings of the plan: on this machine, and as an Airflow DAG."""
