"""What performance is judged by: answers of the window, and labels of predictions that matured.

A prediction is *matured* once the horizon of its label has passed. Those that matured within the
window are looked at whole, so that labels that take long are not left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import duckdb
import numpy as np

from penstock.errors import DataError
from penstock.monitoring import served
from penstock.monitoring.served import Answered, Matured
from penstock.monitoring.window import Window, independent_share, window_of_log
from penstock.monitoring_settings import PerformanceSettings
from penstock.profiles.profile import Scores as KeptScores
from penstock.serving.feedback import disagreeing
from penstock.serving.prediction_ids import parsed
from penstock.serving.release import EndpointFolder
from penstock.state.outcomes import Labelled, labels
from penstock.stats.outcomes_by_score import Outcomes

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

    from penstock.monitoring.looking import Look

T = TypeVar("T")
CLOCKS = timedelta(days=1)  # that an id's time and its row's may be apart
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
    def window(self) -> Answered:
        return self.of_answers(lambda rows: served.answered(rows, self.threshold))

    def of_answers(self, question: Callable[[DuckDBPyRelation], T]) -> T:
        """What a question about the window's answers gives; they have a `score`."""
        asked = self.look.asked
        return asked.ask(lambda rows: question(served.scored(rows, asked.logged)))

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
    def due(self) -> Window | None:
        """The answers whose label became due within the window; None for rows of a file."""
        look, since, until = self.look, self.look.window.since, self.look.window.until
        if since is None or until is None or not look.endpoint:
            return None
        span = since - self.horizon, until - self.horizon
        log = window_of_log(look.project, look.endpoint, *span, self._connection)
        return log.of(self.model)

    def of_labelled(self, question: Callable[[DuckDBPyRelation], T]) -> T | None:
        """What a question about the cohort gives: answers that are due, with what came of them."""
        if self.due is None:
            return None
        tolerance = self.look.project.settings.data.future_tolerance
        return self.due.ask(
            lambda rows: question(
                served.with_labels(served.scored(rows, True), self._labels, tolerance)
            )
        )

    @cached_property
    def cohort(self) -> Matured:
        return self.of_labelled(lambda rows: served.matured(rows, self.threshold)) or served.NOTHING

    @cached_property
    def independent(self) -> float:
        """The share of the labelled rows that tell something new."""
        if not self.cohort.outcomes.total:
            return 1.0
        return self.of_labelled(lambda rows: independent_share(rows.filter(served.KNOWN))) or 1.0

    @cached_property
    def unknown(self) -> list[str]:
        """Ids with a label that the log does not know, whichever version is meant."""
        if not self.told:
            return []
        look, since = self.look, _made_from(self.told)
        log = window_of_log(look.project, look.endpoint, since, None, self._connection)
        return log.rows.ask(lambda rows: served.unknown(rows, self._labels))

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
    def _labels(self) -> DuckDBPyRelation:
        return self._connection.from_arrow(served.labels_told(self.told))


def _made_from(told: Iterable[Labelled]) -> datetime | None:
    """No prediction that labels are about is older; None where an id does not say."""
    ids = [parsed(one.prediction_id) for one in told]
    made = [one.made for one in ids if one is not None and one.made is not None]
    return min(made) - CLOCKS if len(made) == len(ids) else None
