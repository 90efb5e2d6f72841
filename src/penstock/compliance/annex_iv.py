"""The technical file of Annex IV of the EU AI Act, Regulation (EU) 2024/1689, in its nine points.

A pure function from facts to a document. The titles are short names of what the regulation asks
for, not its text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.compliance.development import development
from penstock.compliance.document import Block, Document, Missing, Section, Statement
from penstock.compliance.evidence import entry_name
from penstock.compliance.facts import Facts
from penstock.compliance.wording import (
    RUN,
    asked,
    columns,
    evidence_of,
    head,
    metrics,
    settings,
    settings_then,
    story,
    told,
)
from penstock.records import FeatureSet, ModelReport

LEAD = (
    "Technical documentation of a high-risk AI system by Article 11(1) and Annex IV of Regulation "
    "(EU) 2024/1689. Each statement names the evidence that it rests on; the last part says how "
    "that is checked. What persons say carries the name of who answers for it. What is not known "
    "is printed as MISSING."
)
SERVING = ("release.deployed", "model.promoted", "release.rolled_back")
GUARDS = ("guardrails", "negligible", "watch", "retain", "on_inconclusive")


def technical_file(facts: Facts) -> Document:
    """The document about one version."""
    sections = (
        _general(facts),
        development(facts),
        _functioning(facts),
        _metrics(facts),
        Section.of("5", "Risk management system", asked(facts, "risk_management")),
        _changes(facts),
        Section.of("7", "Harmonised standards", asked(facts, "harmonised_standards")),
        Section.of("8", "EU declaration of conformity", asked(facts, "declaration_of_conformity")),
        _post_market(facts),
    )
    return Document(
        kind="EU AI Act, Annex IV: technical file",
        title=facts.label,
        lead=LEAD,
        at=facts.at,
        head=head(facts),
        sections=sections,
        evidence=evidence_of(facts, sections),
    )


def _general(facts: Facts) -> Section:
    registered = tuple(map(entry_name, facts.entries("model.registered", "model.signed")))
    version = f"{facts.label}; its files have the digest {facts.digest}"
    return Section.of(
        "1",
        "General description",
        Section.of(
            "1(a)",
            "Purpose, provider and version",
            asked(facts, "intended_purpose"),
            asked(facts, "provider"),
            told(facts, "Version", version, *registered),
            told(facts, "Versions before it", _before(facts), *registered),
        ),
        Section.of("1(b)", "Interaction with other systems", asked(facts, "interactions")),
        Section.of(
            "1(c)",
            "Versions of software",
            told(facts, "Made with", _builder(facts), "provenance.json"),
            told(facts, "Libraries", _libraries(facts), "bom.cdx.json"),
            asked(facts, "version_requirements"),
        ),
        Section.of(
            "1(d)",
            "Forms in which it is supplied",
            asked(facts, "forms"),
            _answers_at(facts),
        ),
        Section.of("1(e)", "Hardware", asked(facts, "hardware")),
        Section.of("1(f)", "Product that it is part of", asked(facts, "product")),
        Section.of("1(g)", "User interface of the deployer", asked(facts, "user_interface")),
        Section.of(
            "1(h)",
            "Instructions for use",
            asked(facts, "instructions_for_use"),
            told(facts, "A request brings", _request(facts), "records/features.json"),
        ),
    )


def _functioning(facts: Facts) -> Section:
    features, report = facts.record(FeatureSet), facts.record(ModelReport)
    inputs: Block = (
        columns(facts, features.features, "Input data", "records/features.json")
        if features
        else Missing("Input data", RUN)
    )
    return Section.of(
        "3",
        "Monitoring, functioning and control",
        asked(facts, "limitations"),
        metrics(
            facts,
            report.metrics if report else {},
            "Accuracy on the held-out period",
            "records/evaluation.json",
        ),
        asked(facts, "risks"),
        Statement("Human oversight", "2(e) says who oversees it, and how."),
        told(
            facts,
            "Stopping and taking back",
            "A rollout may be paused, aborted or rolled back at any time by whoever may operate "
            "it; it takes itself back when a guardrail fails, and holds where evidence is missing.",
            "settings.json",
        ),
        inputs,
    )


def _metrics(facts: Facts) -> Section:
    limits = {"gates": ("model", "champion", "integration")}
    return Section.of(
        "4",
        "Appropriateness of the performance metrics",
        asked(facts, "metric_appropriateness"),
        settings_then(facts, limits, "Limits of the gates; 2(g) says what was measured"),
    )


def _changes(facts: Facts) -> Section:
    return Section.of(
        "6",
        "Changes through the lifecycle",
        story(facts.entries("model.", "release."), "What became of this version")
        or Missing("What became of this version", RUN),
        *(
            Statement(f"Rollout {one.id}", _outcome(one.story), (one.file, *one.entries[-1:]))
            for one in facts.rollouts
        ),
    )


def _post_market(facts: Facts) -> Section:
    guarded = {
        "rollout": GUARDS,
        "pipeline": ("schedule", "retries"),
        "features": ("log_served",),
        "serving": ("log_retention", "ack_after_log"),
        "audit": ("anchors", "retention"),
        "notify": ("emails",),
    }
    return Section.of(
        "9",
        "Performance after placing on the market",
        asked(facts, "post_market_monitoring"),
        settings(facts, guarded, "What is watched, and what is kept of it"),
    )


def _before(facts: Facts) -> str:
    """Versions by their numbers: the registry gives them in order."""
    registered = {e.subject for e in facts.history if e.action == "model.registered"}
    numbers = sorted(int(label.rpartition("@")[2]) for label in registered)
    return ", ".join(f"{facts.name}@{n}" for n in numbers if n < facts.version) or "none"


def _builder(facts: Facts) -> str:
    details = facts.provenance.get("predicate", {}).get("runDetails", {})
    versions = details.get("builder", {}).get("version", {})
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))


def _libraries(facts: Facts) -> str:
    libraries = [c for c in facts.bom.get("components", []) if c.get("type") == "library"]
    return f"{len(libraries)} with their versions, in the bill of materials" if libraries else ""


def _answers_at(facts: Facts) -> Statement | Missing:
    places = "; ".join(
        one.endpoint if one.share >= 1 else f"{one.endpoint}, {one.share:.0%} of the units"
        for one in facts.serving
    )
    deployed = map(entry_name, facts.entries(*SERVING))
    todo = "penstock rollout start, which brings the version to an endpoint"
    return told(facts, "Answers at", places or "no endpoint at present", *deployed, todo=todo)


def _request(facts: Facts) -> str:
    features = facts.record(FeatureSet)
    if features is None:
        return ""
    if not features.service:
        return f"the {len(features.features)} features that 3 lists"
    keys = ", ".join((*features.entity_keys, *features.request_columns))
    return f"{keys}; the feature service {features.service} brings the rest"


def _outcome(story: Mapping[str, Any]) -> str:
    return ". ".join(str(story[part]) for part in ("status", "reason", "plan") if story.get(part))
