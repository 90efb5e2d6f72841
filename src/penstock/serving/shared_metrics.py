"""One exposition of all gateway processes that share a port: whichever is scraped tells of all.

Each process writes what it would tell into a file once a second; the one that is asked adds up the
files, its own among them. Were its own numbers newer than those of the others, a counter would go
down when another process is asked next, which Prometheus takes for a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from penstock.digests import written_whole

SUFFIX = ".prom"
# Not sums: the weakest of all processes tells how the endpoint is; a weight is the same in all.
LEAST = frozenset(
    {"penstock_routing_revision", "penstock_log_healthy", "penstock_arm_weight_ratio"}
)
log = logging.getLogger(__name__)


class SharedMetrics:
    """The files of an endpoint's processes."""

    def __init__(self, folder: Path, worker: int) -> None:
        self._folder = folder
        self._own = folder / f"{worker}{SUFFIX}"

    def keep(self, exposition: bytes) -> None:
        """Makes this process's numbers known to the others."""
        try:
            with written_whole(self._own) as part:
                part.write_bytes(exposition)
        except OSError as error:
            log.error("metrics cannot be kept for the other workers: %s", error)

    def of_all(self, exposition: bytes) -> bytes:
        """The sums of what all wrote last; this process's numbers as they are where it is alone."""
        files = sorted(self._folder.glob(f"*{SUFFIX}"))
        if not any(path != self._own for path in files):
            return exposition
        texts = [path.read_text() for path in files]
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Given(list(added(texts))))
        return generate_latest(registry)


class _Given:
    """A collector of what was computed before."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return iter(self._metrics)


def added(texts: Iterable[str]) -> Iterator[Metric]:
    """Families of several expositions as one: samples of the same name and labels are added."""
    families: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            found = values.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, tuple(sorted(sample.labels.items())))
                if key not in found:
                    found[key] = sample.value
                elif family.name in LEAST:
                    found[key] = min(found[key], sample.value)
                else:
                    found[key] += sample.value
    for name, family in families.items():
        for (sample_name, labels), value in values[name].items():
            family.add_sample(sample_name, dict(labels), value)
        yield family
