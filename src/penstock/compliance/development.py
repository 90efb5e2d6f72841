"""Point 2 of Annex IV: the elements of a system, and how it was developed. Pure."""

from __future__ import annotations

from typing import Any, get_args

from penstock.compliance.document import Block, Missing, Section, Table
from penstock.compliance.evidence import entry_name
from penstock.compliance.facts import LINEAGE, Facts
from penstock.compliance.wording import (
    RUN,
    allowed,
    asked,
    brief,
    checks,
    columns,
    digest,
    moment,
    number,
    settings,
    story,
    told,
)
from penstock.lineage.graph import Kind
from penstock.records import (
    DataReport,
    DatasetVersion,
    FeatureSet,
    IntegrationReport,
    ModelReport,
    TrainedModel,
)

DATASET, DATA_REPORT = "records/dataset.json", "records/data-report.json"
FEATURES, MODEL = "records/features.json", "records/model.json"
VERDICTS = ("model.approved", "model.rejected")
EXCEPTIONS = ("model.waived", "model.broke_glass", "model.glass_reviewed")
EVALUATION, TESTED = "records/evaluation.json", "records/integration-test.json"


def development(facts: Facts) -> Section:
    return Section.of(
        "2",
        "Elements and development",
        _steps(facts),
        _design(facts),
        _architecture(facts),
        _data(facts),
        Section.of("2(e)", "Assessment of human oversight", asked(facts, "human_oversight")),
        Section.of(
            "2(f)",
            "Predetermined changes",
            asked(facts, "predetermined_changes"),
            settings(facts, {"pipeline": ("schedule",)}, "When it is trained again"),
        ),
        _testing(facts),
        _security(facts),
    )


def _steps(facts: Facts) -> Section:
    return Section.of(
        "2(a)",
        "Methods and steps of the development",
        told(facts, "Built by", _built_by(facts), "provenance.json"),
        _materials(facts),
        _lineage(facts),
        asked(facts, "third_party"),
    )


def _design(facts: Facts) -> Section:
    trained = facts.record(TrainedModel)
    then = facts.release.settings if facts.release else {}
    return Section.of(
        "2(b)",
        "Design specifications",
        asked(facts, "design_choices"),
        told(facts, "Kind of model", trained.flavor if trained else "", MODEL),
        told(facts, "Optimised for", then.get("training", {}).get("metric", ""), "release.json"),
        parameters(facts, trained),
        told(
            facts,
            "Output",
            "the probability of the positive class"
            + (f", {features.label}" if (features := facts.record(FeatureSet)) else ""),
            FEATURES,
        ),
    )


def _architecture(facts: Facts) -> Section:
    return Section.of(
        "2(c)",
        "Architecture and computation",
        told(
            facts,
            "Components",
            "Steps of a fixed plan hand frozen records to one another, each named by digests; an "
            "endpoint routes requests to processes that each hold one verified version.",
            MODEL,
        ),
        _computation(facts),
        settings(
            facts,
            {"serving": ("engine", "workers", "replicas", "threads", "memory")},
            "What answers requests",
        ),
    )


def _data(facts: Facts) -> Section:
    data, features = facts.record(DatasetVersion), facts.record(FeatureSet)
    trained = facts.record(TrainedModel)
    return Section.of(
        "2(d)",
        "Data",
        told(facts, "Dataset", dataset(data), DATASET),
        columns(facts, data.columns, "Its columns", DATASET)
        if data
        else Missing("Its columns", RUN),
        told(facts, "Training set", training_set(features), FEATURES),
        told(
            facts,
            "Held out",
            f"label times from {trained.holdout} on were never trained on" if trained else "",
            MODEL,
        ),
        asked(facts, "data_collection"),
        asked(facts, "data_preparation"),
        _checked(facts),
    )


def _testing(facts: Facts) -> Section:
    report, tested = facts.record(ModelReport), facts.record(IntegrationReport)
    rows = f"{report.rows:,} held-out rows" if report else ""
    against = f", compared with {report.champion}" if report and report.champion else ""
    asked_of = f"{tested.requests:,} requests" if tested else ""
    return Section.of(
        "2(g)",
        "Validation and testing",
        told(facts, "Evaluated on", rows + against, EVALUATION),
        checks(facts, report, "Gate on the model", EVALUATION),
        told(facts, "Endpoint tested with", asked_of, TESTED),
        checks(facts, tested, "Integration test", TESTED),
        asked(facts, "discrimination"),
        allowed(facts),
        story(facts.entries(*VERDICTS), "Who signed the results, or would not"),
    )


def _security(facts: Facts) -> Section:
    rows = tuple(
        (one.name, "holds" if one.holds else "DOES NOT HOLD", one.said) for one in facts.looked
    )
    return Section.of(
        "2(h)",
        "Cybersecurity",
        told(
            facts,
            "Model files",
            "Signature, registry digest and format are verified before a byte is loaded; pickles "
            "and code of a model's own are refused.",
            "model.sig",
        ),
        Table(
            ("what", "", "seen"), rows, "The model, verified", facts.rests_on("verification.json")
        ),
        story(facts.entries(*EXCEPTIONS), "Exceptions that were allowed"),
        asked(facts, "cybersecurity"),
    )


def _built_by(facts: Facts) -> str:
    definition = facts.provenance.get("predicate", {}).get("buildDefinition", {})
    if not definition:
        return ""
    kind = str(definition.get("buildType", "")).removeprefix("urn:penstock:build:")
    run = f"; run {facts.run.id} of {moment(facts.run.started)}" if facts.run else ""
    return f"{kind}{run}"


def _materials(facts: Facts) -> Block:
    definition: dict[str, Any] = facts.provenance.get("predicate", {}).get("buildDefinition", {})
    rows = tuple(
        (str(one["name"]), *next(iter(one["digest"].items())))
        for one in definition.get("resolvedDependencies", [])
    )
    if not rows:
        return Missing("What it was built from", RUN)
    heads = ("material", "kind", "digest")
    return Table(heads, rows, "What it was built from", facts.rests_on("provenance.json"))


def _lineage(facts: Facts) -> Block:
    """Every fact upstream of the model's files: what it was made from, and what that was."""
    order, caption = get_args(Kind), "What it rests on, by lineage"
    nodes = [node for node in facts.lineage.nodes.values() if node.key != facts.digest]
    rows = tuple(
        (node.kind, node.label if node.label != node.key else "", node.key)
        for node in sorted(nodes, key=lambda one: (order.index(one.kind), one.label, one.key))
    )
    if not rows:
        return Missing(caption, RUN)
    return Table(("fact", "", "digest or id"), rows, caption, facts.rests_on(LINEAGE))


def parameters(facts: Facts, trained: TrainedModel | None) -> Block:
    if trained is None:
        return Missing("Parameters", RUN)
    rows = tuple((name, brief(value)) for name, value in sorted(trained.params.items()))
    rows += (("seed", str(trained.seed)),)
    return Table(("parameter", "value"), rows, "Parameters", facts.rests_on(MODEL))


def _computation(facts: Facts) -> Block:
    if facts.run is None:
        return Missing("Computational resources", RUN)
    rows = tuple(
        (span.step, span.status, "" if span.seconds is None else f"{span.seconds:.1f} s")
        for span in facts.run.steps
    )
    registered = facts.entries("model.registered")
    heads = ("step", "", "time taken")
    return Table(heads, rows, "Computation of the run", tuple(map(entry_name, registered)))


def dataset(data: DatasetVersion | None) -> str:
    if data is None:
        return ""
    span = ""
    if data.first_event and data.last_event:
        span = f", events from {data.first_event:%Y-%m-%d} to {data.last_event:%Y-%m-%d}"
    names = f"SHA-256 {digest(data.digest)}, DVC {data.dvc_md5}"
    return f"{data.name}: {number(data.rows)} rows{span}; {names}"


def training_set(features: FeatureSet | None) -> str:
    if features is None:
        return ""
    service = f"the feature service {features.service}" if features.service else "its own columns"
    return (
        f"{number(features.rows)} rows, {len(features.features)} features of {service}, label "
        f"{features.label}; definitions {digest(features.definitions) or 'none'}"
    )


def _checked(facts: Facts) -> Block:
    """The data gate in one table: all checks, failed ones first."""
    report = facts.record(DataReport)
    if report is None:
        return Missing("Checks of the data", RUN)
    ordered = sorted(report.checks, key=lambda check: check.passed)
    return checks(
        facts,
        report.model_copy(update={"checks": tuple(ordered)}),
        "Checks of the data",
        DATA_REPORT,
    )
