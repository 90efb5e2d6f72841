"""`penstock alerts rules`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.cli.opening import project_of
from penstock.cli.output import print_json, table

if TYPE_CHECKING:
    from penstock.settings import Settings


def rules(options: argparse.Namespace) -> int:
    project = project_of(options)
    settings = project.settings
    if options.prometheus:
        return _written(options, settings)
    if options.json:
        print_json({name: rule.model_dump(mode="json") for name, rule in settings.alerts.items()})
        return 0
    rows = [
        (name, rule.metric, rule.when or "found", rule.severity, rule.action, rule.group)
        for name, rule in settings.alerts.items()
        if rule.enabled
    ]
    print(table(("rule", "metric", "when", "severity", "action", "group"), rows))
    return 0


def _written(options: argparse.Namespace, settings: Settings) -> int:
    file = Path(options.prometheus)
    beside, count = write_rules(settings, file)
    if options.json:
        print_json({"rules": str(file), "tests": str(beside), "count": count})
    else:
        print(f"{count} rules → {file}; their tests → {beside}")
        print(f"  next: promtool check rules {file} && promtool test rules {beside}")
    return 0


def write_rules(settings: Settings, file: Path) -> tuple[Path, int]:
    """Writes the rules for Prometheus, and their tests beside them; where those are, and how many
    rules there are.
    """
    import yaml

    from penstock.digests import written_whole
    from penstock.monitoring.alerts.prometheus import rules_document
    from penstock.monitoring.alerts.prometheus_tests import tests_document

    beside = file.with_name(f"{file.stem}_test{file.suffix}")
    documents = {file: rules_document(settings), beside: tests_document(settings, file.name)}
    for target, document in documents.items():
        with written_whole(target) as part:
            part.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return beside, sum(len(group["rules"]) for group in documents[file]["groups"])
