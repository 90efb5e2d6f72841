"""Evidently's data drift preset, as it comes: REFERENCE.parquet CURRENT.parquet → JSON.

Prints the seconds that it took, without reading the files, and for each column whether it drifted.
"""

from __future__ import annotations

import json
import sys
import time

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset


def main(reference: str, current: str) -> None:
    before, now = pd.read_parquet(reference), pd.read_parquet(current)
    words = [name for name in before if not pd.api.types.is_numeric_dtype(before[name])]
    numbers = [name for name in before if name not in words]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=words)
    begun = time.perf_counter()
    report = Report([DataDriftPreset()])
    datasets = (Dataset.from_pandas(frame, data_definition=definition) for frame in (now, before))
    found = report.run(*datasets).dict()
    seconds = time.perf_counter() - begun
    drifted = {}
    for metric in found["metrics"]:
        told = metric["config"]
        if "column" in told:
            # Those that end in p_value drift below their threshold, distances above it.
            value, threshold = float(metric["value"]), told["threshold"]
            is_p = "p_value" in told["method"]
            drifted[told["column"]] = value < threshold if is_p else value >= threshold
    print(json.dumps({"seconds": seconds, "drifted": drifted}))


if __name__ == "__main__":
    main(*sys.argv[1:])
