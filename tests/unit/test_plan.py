"""The plan: the standard order, a project's own steps woven in, and the refusals."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import ProjectError
from penstock.pipeline.plan import STANDARD_PLAN, Plan, plan_of, weave
from penstock.pipeline.source import CustomStep
from penstock.records import kind_named
from tests_types import MakeProject

STANDARD = [step.name for step in STANDARD_PLAN]
