"""The table of commands. Each names the function that carries it out."""

from __future__ import annotations

from penstock.access.roles import Permission
from penstock.cli.command import Command, Option
from penstock.cli.table_of_access import ACCESS_COMMANDS
from penstock.cli.table_of_alerts import ALERT_COMMANDS
from penstock.cli.table_of_approvals import APPROVAL_COMMANDS
from penstock.cli.table_of_audit import AUDIT_COMMANDS
from penstock.cli.table_of_ci import CI_COMMANDS
from penstock.cli.table_of_compliance import COMPLIANCE_COMMANDS
from penstock.cli.table_of_data import DATA_COMMANDS
from penstock.cli.table_of_experiments import EXPERIMENT_COMMANDS
from penstock.cli.table_of_lineage import LINEAGE_COMMANDS
from penstock.cli.table_of_monitoring import MONITORING_COMMANDS
from penstock.cli.table_of_releases import RELEASE_COMMANDS, VERSION_COMMANDS
from penstock.cli.table_of_rollouts import ROLLOUT_COMMANDS
from penstock.cli.table_of_services import SERVICE_COMMANDS
from penstock.cli.table_of_signatures import SIGNATURE_COMMANDS
from penstock.cli.table_of_triggers import TRIGGER_COMMANDS

__all__ = ["COMMANDS", "Command", "Option"]

COMMANDS: tuple[Command, ...] = (
    Command(
        "init",
        "Make a new project folder that runs at once",
        "penstock.cli.init:init",
        (
            Option(
                "name",
                metavar="NAME",
                nargs="?",
                help="the folder to make; its last part is the name",
            ),
            Option(
                "--template",
                choices=("churn", "blank"),
                default="churn",
                help="churn: a whole example; blank: the smallest project (default: churn)",
            ),
            Option(
                "--deploy",
                action="store_true",
                help="also deploy/: systemd units, a Compose file; without NAME: of the project "
                "that is here",
            ),
        ),
        permission=Permission.READ,
    ),
    Command(
        "run",
        "Run the plan; steps whose inputs did not change are not done again",
        "penstock.cli.run:run",
        (
            Option("--until", metavar="STEP", help="stop after this step"),
            Option("--rerun", metavar="STEP", help="do this step again even if nothing changed"),
            Option(
                "--as-of",
                metavar="TIME",
                help="the moment the run is about, ISO 8601 (default: now)",
            ),
            Option("--reason", metavar="TEXT", default="", help="kept with the run and its model"),
            Option(
                "--trigger",
                metavar="ENTRY|schedule",
                help="carry out what this entry of the ledger orders, or a slot of the schedule",
            ),
        ),
        "Exit status 1 means that a gate or a step failed.",
    ),
    Command(
        "plan",
        "Show the steps, and which of them the next run would do",
        "penstock.cli.plan:plan",
        permission=Permission.READ,
    ),
    Command(
        "why",
        "Say which input makes a step run again",
        "penstock.cli.plan:why",
        (Option("step", metavar="STEP"),),
        permission=Permission.READ,
    ),
    Command(
        "status",
        "Show where the project stands",
        "penstock.cli.status:status",
        permission=Permission.READ,
    ),
    Command(
        "runs list",
        "List the latest runs",
        "penstock.cli.runs:list_runs",
        (Option("--limit", type=int, default=20, metavar="N", help="how many (default: 20)"),),
        permission=Permission.READ,
    ),
    Command(
        "runs show",
        "Show one run: its steps, their results and errors",
        "penstock.cli.runs:show_run",
        (Option("run", metavar="RUN", help="its id, or a beginning of it; `last` for the latest"),),
        permission=Permission.READ,
    ),
    Command(
        "validate",
        "Validate the latest dataset, or draft a suite from it",
        "penstock.cli.validate:validate",
        (
            Option(
                "--suggest",
                action="store_true",
                help="draft a suite from the data into expectations/",
            ),
            Option("--data", metavar="FILE", help="a Parquet or CSV file instead of the dataset"),
        ),
        permission=Permission.READ,
    ),
    *DATA_COMMANDS,
    Command(
        "features list",
        "List the feature views: what they are about, who owns and who uses them",
        "penstock.cli.features:list_views",
        permission=Permission.READ,
    ),
    Command(
        "features show",
        "Show a feature view: its features, source and definition",
        "penstock.cli.features:show_view",
        (Option("view", metavar="VIEW"),),
        permission=Permission.READ,
    ),
    Command(
        "features apply",
        "Bring the declarations of features.py into Feast's registry",
        "penstock.cli.features:apply_features",
        (
            Option(
                "--yes", action="store_true", help="do not ask when served features would change"
            ),
        ),
        "Says first what changes, and asks where a served feature would mean something else.",
    ),
    Command(
        "features freshness",
        "Show how old the newest event of each view is, against what is expected",
        "penstock.cli.features:show_freshness",
        (),
        "Exit status 1 means that a view is not as fresh as it is expected to be: stale, without "
        "data, or unreadable.",
        permission=Permission.READ,
    ),
    Command(
        "features lineage",
        "Show what a feature is made of, and which services and models use it",
        "penstock.cli.features:lineage",
        (Option("feature", metavar="VIEW[.FEATURE]"),),
        permission=Permission.READ,
    ),
    Command(
        "features history",
        "Write a training set: the features as they stood at given times",
        "penstock.cli.feature_data:history",
        (
            Option(
                "rows", metavar="FILE|SQL", help="keys and event_timestamp: Parquet, CSV, a query"
            ),
            Option("--output", metavar="FILE", required=True, help="the Parquet file to write"),
            Option("--service", metavar="NAME", help="(default: [features] service)"),
        ),
        permission=Permission.READ,
    ),
    Command(
        "features materialize",
        "Fill the online store from the sources",
        "penstock.cli.feature_data:materialize",
        (
            Option("--start", metavar="TIME", help="(default: what the online store lacks)"),
            Option("--end", metavar="TIME", help="(default: now)"),
            Option("--every", metavar="SPAN", help="in intervals such as 7d, each done for good"),
            Option("--view", action="append", metavar="VIEW", help="only this; may be repeated"),
            Option("--force", action="store_true", help="also what is there: rows that came late"),
        ),
        "Goes on after an interruption; done twice, it changes nothing.",
    ),
    Command(
        "features push",
        "Push new rows of a source to the online store",
        "penstock.cli.feature_data:push",
        (
            Option("source", metavar="SOURCE", help="as features.py names it"),
            Option("rows", metavar="FILE", help="Parquet or CSV, with the source's columns"),
        ),
    ),
    Command(
        "features skew",
        "Compute served vectors again by the offline path, and say which differ",
        "penstock.cli.feature_data:show_skew",
        (
            Option("--since", metavar="TIME|SPAN", default="1d", help="(default: 1d)"),
            Option("--service", metavar="NAME", help="(default: [features] service)"),
        ),
        "Exit status 1 means that a feature differs.",
        permission=Permission.READ,
    ),
    *EXPERIMENT_COMMANDS,
    *LINEAGE_COMMANDS,
    Command(
        "models list",
        "List the registered versions of the project's model",
        "penstock.cli.models:list_models",
        permission=Permission.READ,
    ),
    *APPROVAL_COMMANDS,
    *VERSION_COMMANDS,
    *RELEASE_COMMANDS,
    Command(
        "serve",
        "Serve an endpoint in the foreground, or stop the one in the background",
        "penstock.cli.serve:serve",
        (
            Option("--endpoint", metavar="NAME", default="staging", help="(default: staging)"),
            Option("--stop", action="store_true", help="end the endpoint after its last request"),
            Option("--port", type=int, metavar="PORT", help="instead of [serving] port"),
        ),
    ),
    Command(
        "endpoints list",
        "List the endpoints: what they serve, and which gateways serve them",
        "penstock.cli.endpoints:list_endpoints",
        permission=Permission.READ,
    ),
    Command(
        "endpoints show",
        "Show an endpoint: its releases, arms, replicas and gateways",
        "penstock.cli.endpoints:show_endpoint",
        (Option("endpoint", metavar="NAME", nargs="?", default="staging"),),
        permission=Permission.READ,
    ),
    Command(
        "endpoints routes",
        "Show an endpoint's routing table as it was published",
        "penstock.cli.endpoints:show_routes",
        (Option("endpoint", metavar="NAME", nargs="?", default="staging"),),
        permission=Permission.READ,
    ),
    Command(
        "predictions list",
        "List what an endpoint answered, the latest first",
        "penstock.cli.predictions:list_predictions",
        (
            Option("--endpoint", metavar="NAME", default="staging", help="(default: staging)"),
            Option("--since", metavar="TIME|SPAN", default="1h", help="(default: 1h)"),
            Option("--release", metavar="ID", help="only what this release answered"),
            Option("--limit", type=int, metavar="N", default=20, help="(default: 20)"),
        ),
        permission=Permission.READ,
    ),
    Command(
        "predictions show",
        "Show one prediction: its features, its output, where the time went",
        "penstock.cli.predictions:show_prediction",
        (
            Option("id", metavar="ID", help="as the answer gave it"),
            Option("--endpoint", metavar="NAME", help="(default: all)"),
        ),
        permission=Permission.READ,
    ),
    Command(
        "predictions export",
        "Write predictions to a file",
        "penstock.cli.predictions:export_predictions",
        (
            Option("--endpoint", metavar="NAME", default="staging", help="(default: staging)"),
            Option("--since", metavar="TIME|SPAN", default="1d", help="(default: 1d)"),
            Option("--release", metavar="ID", help="only what this release answered"),
            Option("--output", metavar="FILE", required=True, help="Parquet, or CSV"),
        ),
        permission=Permission.READ,
    ),
    Command(
        "predict",
        "Ask an endpoint",
        "penstock.cli.predict:predict",
        (
            Option("--endpoint", metavar="NAME", default="staging", help="(default: staging)"),
            Option(
                "values",
                nargs="*",
                metavar="KEY=VALUE",
                help="an entity, such as customer_id=42; repeat a key for several",
            ),
            Option("--rows", metavar="FILE", help="feature rows from a CSV, Parquet or JSON file"),
        ),
        permission=Permission.READ,
    ),
    Command(
        "load",
        "Put load on an endpoint of this machine, and measure what its clients would see",
        "penstock.cli.load:load",
        (
            Option("--endpoint", metavar="NAME", default="staging", help="(default: staging)"),
            Option("--url", metavar="URL", help="another server, instead of an endpoint"),
            Option(
                "--protocol",
                choices=("predict", "invocations", "v2"),
                default="predict",
                help="(default: predict)",
            ),
            Option(
                "--rows",
                metavar="FILE",
                help="feature rows, one a request: CSV, Parquet or JSON "
                "(default: held-out rows of the training set, or made up from the schema)",
            ),
            Option("--entities", metavar="FILE", help="entity keys, one a request"),
            Option("--connections", type=int, metavar="N", default=32, help="(default: 32)"),
            Option(
                "--rate",
                type=float,
                metavar="R",
                help="requests a second, at fixed times; latency counts from when a request was "
                "due (default: each connection asks again when it is answered)",
            ),
            Option(
                "--duration",
                metavar="SPAN",
                help="at most 10m (default: 10s, or 10m with --requests)",
            ),
            Option("--requests", type=int, metavar="N", help="end after so many"),
            Option(
                "--header",
                action="append",
                metavar="'NAME: VALUE'",
                help="{n} becomes the number of the request; may be repeated",
            ),
            Option("--processes", type=int, metavar="N", default=1, help="(default: 1)"),
            Option(
                "--output",
                metavar="DIR",
                help="write load.json, load.hgrm, load.hlog (HdrHistogram) and load.png",
            ),
            Option(
                "--i-own-this-host",
                action="store_true",
                help="the address may be another machine's",
            ),
        ),
        "Exit status 1 means that no request was answered with 200.",
        permission=Permission.READ,
    ),
    *SIGNATURE_COMMANDS,
    *ROLLOUT_COMMANDS,
    *MONITORING_COMMANDS,
    *ALERT_COMMANDS,
    *TRIGGER_COMMANDS,
    *SERVICE_COMMANDS,
    *CI_COMMANDS,
    *ACCESS_COMMANDS,
    *AUDIT_COMMANDS,
    *COMPLIANCE_COMMANDS,
    Command(
        "doctor",
        "Check this machine, the settings and every tool the project uses",
        "penstock.cli.doctor:doctor",
        permission=Permission.READ,
    ),
)
