"""The documentation names what there is."""

from __future__ import annotations

from pathlib import Path

from pydantic.fields import FieldInfo

from penstock.access.roles import Permission
from penstock.approval_settings import ApprovalPolicy
from penstock.cli.table import COMMANDS
from penstock.monitoring_settings import AlertRule, PerformanceSettings
from penstock.settings import Settings

ROOT = Path(__file__).parent.parent.parent


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "project.md").read_text()
    free = {"gates", "approvals", "alerts"}  # tables whose keys are metrics, endpoints, names
    told = {
        **Settings.model_fields,
        "approvals.ENDPOINT": FieldInfo(annotation=ApprovalPolicy),
        "alerts.NAME": FieldInfo(annotation=AlertRule),
        "monitoring.performance": FieldInfo(annotation=PerformanceSettings),
    }
    missing = [
        f"{section}.{key}"
        for section, field in told.items()
        if section not in free
        for key in field.annotation.model_fields  # type: ignore[union-attr]
        if f"`{key}`" not in page and f"{section}.{key}" not in told
    ]
    assert not missing


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [c.name for c in COMMANDS if f"`penstock {c.name}" not in readme] == []


def test_every_command_that_changes_something_says_which_entry_it_writes() -> None:
    page = (ROOT / "docs" / "audit.md").read_text()
    table = page[page.index("## Which command writes what") : page.index("**Destruction is")]
    changing = [
        command
        for command in COMMANDS
        if command.permission is not Permission.READ
        or any(option.asks is not Permission.READ for option in command.options)
    ]
    assert [c.name for c in changing if f"`penstock {c.name}`" not in table] == []


def test_pages_that_are_linked_exist() -> None:
    import re

    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.name}: {link}"
        for page in pages
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text())
        if "://" not in link and not (page.parent / link).exists()
    ]
    assert not broken
