"""The plan of this project as an Airflow DAG; link the file into Airflow's folder of DAGs."""

from penstock.orchestrators.airflow import build_dag

dag = build_dag(__file__)
