"""[approvals.TARGET]: who must agree before a model serves an endpoint.

Every endpoint but staging has the defaults, whether the table is written or not.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from penstock.setting_types import LongSpan, Section, Span, split_words

RoleName = Literal["viewer", "operator", "approver", "admin"]


class ApprovalPolicy(Section):
    """When a model is approved for an endpoint."""

    required: int = Field(default=1, ge=0, le=10)  # different people; 0: none
    # Whose approvals count: what they were when they signed.
    roles: Annotated[tuple[RoleName, ...], BeforeValidator(split_words)] = ("approver", "admin")
    # Nobody approves what they made: data, code or run. Unset: as soon as there are users.
    four_eyes: bool | None = None
    expires: LongSpan | None = None  # so long after it was signed an approval lets nothing more in
    break_glass: Span = timedelta(hours=24)  # how long a broken glass lets it in; 0s: not at all
