"""What an outside orchestrator asks of one of its tasks.

Nothing else is here, so that an environment without the tools of the steps can ask for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Task:
    step: str
    run_id: str
    as_of: datetime  # UTC
    attempt: int  # from 1
    last_attempt: bool  # no retry will follow, whatever happens
    orchestrator: str
    until: str = ""  # the last step of the run; empty: the plan's last
    rerun: bool = False  # the step runs anew, whatever is cached
    trigger: str = ""  # what the orchestrator started the run for, such as its schedule
    reason: str = ""
