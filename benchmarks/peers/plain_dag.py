"""A pipeline and its way to production as somebody would write them for Airflow by hand.

As many DAGs, tasks, edges, groups, params and assets as a project of Penstock has, and no more.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Asset, AssetAlias, BaseOperator, BaseSensorOperator, Param, TaskGroup

GROUPS = {
    "data": ("extract_data", "validate_data", "feature_engineering"),
    "model": ("train_model", "evaluate_model", "register_model"),
    "staging": ("deploy_to_staging", "run_integration_tests", "notify_team"),
}
STEPS = [name for names in GROUPS.values() for name in names]
TOLD = {"extract_data": "data", "register_model": "models", "run_integration_tests": "staging"}
ONE_OF = {"type": ["null", "string"], "enum": [None, *STEPS]}
SHARED = {
    "start_date": datetime(2025, 1, 1, tzinfo=UTC),
    "max_active_tasks": 2,
    "default_args": {"owner": "team", "retries": 3, "retry_delay": timedelta(minutes=5)},
}


class Step(BaseOperator):
    def execute(self, context):
        return {}


class Waits(BaseSensorOperator):
    template_fields = ("about",)

    def __init__(self, *, about, **arguments):
        super().__init__(**arguments)
        self.about = about

    def poke(self, context):
        return True


def tell(context):
    print(context["run_id"], "failed")


def ends_of(step):
    if step not in TOLD:
        return {}
    uri = f"plain://{TOLD[step]}"
    return {"inlets": [Asset(uri=uri)], "outlets": [AssetAlias(name=f"{uri}#new")]}


params = {
    "until": Param(None, "The last step to run", **ONE_OF),
    "rerun": Param(None, "The step that runs anew", **ONE_OF),
    "as_of": Param(None, "The moment of the run", type=["null", "string"], format="date-time"),
    "reason": Param("", "Why the run was started", type="string", maxLength=500),
}
with DAG("plain", schedule="0 2 * * *", params=params, on_failure_callback=tell, **SHARED) as dag:
    before = None
    for group, names in GROUPS.items():
        with TaskGroup(group, prefix_group_id=False):
            for name in names:
                task = Step(task_id=name, execution_timeout=timedelta(hours=2), **ends_of(name))
                if before is not None:
                    before >> task
                before = task

model = {"model": Param("", "Which version", type="string")}
staged = [Asset(uri="plain://staging")]
with DAG("plain_production", schedule=staged, params=model, on_failure_callback=tell, **SHARED):
    chosen = Step(task_id="choose_version")
    approved = Waits(task_id="await_approval", about=chosen.output)
    begun = Waits(task_id="start_rollout", about=approved.output)
    Waits(task_id="watch_rollout", about=begun.output, **ends_of("run_integration_tests"))
