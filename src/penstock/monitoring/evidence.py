"""What performance is judged by: answers of the window, and labels of predictions that matured.

A prediction is *matured* once the horizon of its label has passed. Those that matured within the
window are looked at whole, so that labels that take long are not left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import duckdb
import numpy as np

from penstock.errors import DataError
from penstock.monitoring import served
from penstock.monitoring.served import Answered, Matured
from penstock.monitoring.window import window_of_log
from penstock.monitoring_settings import PerformanceSettings
from penstock.profiles.profile import Scores as KeptScores
from penstock.serving.feedback import disagreeing
from penstock.serving.release import EndpointFolder
from penstock.state.outcomes import Labelled, labels
from penstock.stats.outcomes_by_score import Outcomes

if TYPE_CHECKING:
    from penstock.monitoring.looking import Look

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # that feedback may be about


@dataclass(frozen=True)
class Evidence:
    """What is read for one look, once."""

    look: Look

    @property
    def settings(self) -> PerformanceSettings:
        return self.look.settings.performance

    @property
    def model(self) -> str:
        return self.look.found.label

    @property
    def generator(self) -> np.random.Generator:
        return np.random.default_rng(self.look.project.seed)

    @cached_property
    def scores(self) -> KeptScores:
        """What the version answered to held-out rows. Raises `DataError` where nobody knows."""
        found = self.look.reference.scores
        if found is None:
            raise DataError(
                f"the profile of {self.model} has no held-out answers",
                hint="`penstock run --rerun evaluate_model` makes a version that has them",
            )
        return found

    @cached_property
    def reference(self) -> Outcomes:
        kept = self.scores
        return Outcomes(*(np.array(getattr(kept, name), float) for name in Outcomes._fields))

    @property
    def threshold(self) -> float:
        return self.scores.threshold

    @cached_property
    def answers(self) -> duckdb.DuckDBPyRelation:
        return served.scored(self.look.asked)

    @cached_property
    def window(self) -> Answered:
        return served.answered(self.answers, self.threshold)

    @cached_property
    def horizon(self) -> timedelta:
        """Until a label is known."""
        own = self.settings.horizon
        return self.look.project.settings.training.gap if own is None else own

    @cached_property
    def told(self) -> list[Labelled]:
        """Labels that may be about the cohort, or about no prediction at all."""
        since, until = self.look.window.since, self.look.window.until
        if since is None or until is None:
            return []  # rows of a file
        earliest = since - self.horizon - max(self.horizon, timedelta(days=1))
        span = int(max(earliest, EARLIEST).timestamp()), int(self.look.now.timestamp()) + 1
        return labels(self.look.engine, self.look.endpoint, *span)

    @cached_property
    def labelled(self) -> duckdb.DuckDBPyRelation | None:
        """The cohort: answers whose label became due within the window, with what came of them."""
        look, since, until = self.look, self.look.window.since, self.look.window.until
        if since is None or until is None:
            return None
        due = since - self.horizon, until - self.horizon
        cohort = window_of_log(look.project, look.endpoint, *due, self._connection)
        tolerance = look.project.settings.data.future_tolerance
        return served.with_labels(served.scored(cohort.of(self.model)), self._labels, tolerance)

    @cached_property
    def cohort(self) -> Matured:
        if self.labelled is None:
            return served.NOTHING
        return served.matured(self.labelled, self.threshold)

    @cached_property
    def unknown(self) -> list[str]:
        """Ids with a label that the log does not know, whichever version is meant."""
        if not self.told:
            return []
        look = self.look
        log = window_of_log(look.project, look.endpoint, None, None, self._connection)
        return served.unknown(log.rows, self._labels)

    @cached_property
    def disagreeing(self) -> list[str]:
        """Ids of predictions that were told different labels, as far as this machine knows."""
        folder = EndpointFolder(self.look.project.endpoint(self.look.endpoint)).feedback
        return sorted({thing.subject for thing in disagreeing(folder)}) if self.told else []

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect()
        connection.execute("SET TimeZone = 'UTC'")
        return connection

    @cached_property
    def _labels(self) -> duckdb.DuckDBPyRelation:
        return self._connection.from_arrow(served.labels_told(self.told))
