"""Outcomes that are bad events: noted for the arm of their unit, as errors are."""

from __future__ import annotations

from datetime import datetime

from penstock.serving.feedback import Feedback
from penstock.serving.live import Live
from penstock.serving.observations.first_events import FirstEvents
from penstock.serving.prediction_ids import is_alone, parsed, salt_tag
from penstock.serving.routing.routes import Router
from penstock.state.first_events import EVENT


class BusinessEvents:
    """Follows what the routing table's `events` name."""

    def __init__(self, live: Live, first_events: FirstEvents) -> None:
        self._live = live
        self._first_events = first_events

    def kept(self, given: list[Feedback], now: datetime) -> None:
        """What was told and is on the disk.

        A unit's arm is that of the present table, whenever it was asked for; what happened before
        this gateway served the rollout is no evidence in it.
        """
        router, moment = self._live.router, now.timestamp()
        if router is None or not router.table.events or not router.holds(moment):
            return
        for one in given:
            if one.metric not in router.table.events or not _is_event(one):
                continue
            if one.at is not None and one.at.timestamp() < self._live.rollout_since:
                continue
            if found := unit_and_arm(one, router, moment):
                metric = f"{EVENT}{one.metric}"
                self._first_events.note(router.table.epoch, metric, *found, int(moment))


def unit_and_arm(one: Feedback, router: Router, now: float) -> tuple[str, str] | None:
    """The hash of the unit by the present table, and its arm; None where it cannot be told."""
    if one.unit is not None:
        route = router.route(str(one.unit), now)
        return route.unit, route.arm
    hashed = one.unit_hash
    if one.prediction_id is not None:
        found, salt = parsed(one.prediction_id), router.table.salted
        if found is None or found.tag != salt_tag(salt) or not found.unit:
            return None  # of another rollout: by its salt, the hash says nothing about this one
        if is_alone(salt, found):
            return found.unit, router.route(found.own, now).arm
        hashed = found.unit
    arm = router.arm_of_hash(hashed) if hashed else None
    return (hashed, arm) if hashed and arm else None


def _is_event(one: Feedback) -> bool:
    value = one.label if one.value is None else one.value
    return not isinstance(value, str) and bool(value)
