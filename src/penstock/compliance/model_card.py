"""The model card of a version: what whoever uses it should know, on one page or two. Pure.

The parts are those of Mitchell et al., Model Cards for Model Reporting (2019), arXiv 1810.03993.
"""

from __future__ import annotations

from penstock.compliance.development import (
    DATASET,
    EVALUATION,
    FEATURES,
    MODEL,
    VERDICTS,
    dataset,
    parameters,
    training_set,
)
from penstock.compliance.document import Document, Section
from penstock.compliance.facts import Facts
from penstock.compliance.wording import (
    allowed,
    asked,
    because,
    checks,
    columns,
    evidence_of,
    head,
    metrics,
    story,
    told,
)
from penstock.records import DatasetVersion, FeatureSet, ModelReport, TrainedModel

LEAD = "What this model is for, what it was made from, and how well it does."


def model_card(facts: Facts) -> Document:
    """The document about one version."""
    trained, report = facts.record(TrainedModel), facts.record(ModelReport)
    features = facts.record(FeatureSet)
    sections = (
        Section.of(
            "",
            "Model",
            told(facts, "Kind", trained.flavor if trained else "", MODEL),
            parameters(facts, trained),
            because(facts),
        ),
        Section.of(
            "", "Intended use", asked(facts, "intended_purpose"), asked(facts, "limitations")
        ),
        Section.of("", "Groups and risks", asked(facts, "discrimination"), asked(facts, "risks")),
        Section.of(
            "",
            "Performance",
            checks(facts, report, "Limits that it keeps to", EVALUATION),
            metrics(facts, report.metrics if report else {}, "On the held-out period", EVALUATION),
            asked(facts, "metric_appropriateness"),
        ),
        Section.of(
            "",
            "Data",
            told(facts, "Dataset", dataset(facts.record(DatasetVersion)), DATASET),
            told(facts, "Training set", training_set(features), FEATURES),
            columns(facts, features.features, "Features", FEATURES) if features else None,
            asked(facts, "data_collection"),
        ),
        Section.of("", "Oversight", asked(facts, "human_oversight")),
        Section.of(
            "",
            "Approvals",
            allowed(facts),
            story(facts.entries(*VERDICTS), "Who said what"),
        ),
    )
    return Document(
        kind="Model card",
        title=facts.label,
        lead=LEAD,
        at=facts.at,
        head=head(facts),
        sections=sections,
        evidence=evidence_of(facts, sections),
    )
