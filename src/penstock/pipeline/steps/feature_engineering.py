"""Step 3: feature definitions applied → a training set, and a filled online store."""

from __future__ import annotations

from penstock.pipeline.context import StepContext
from penstock.pipeline.source import code_digests
from penstock.records import DatasetVersion, FeatureSet, digest_of


def feature_engineering(context: StepContext, dataset: DatasetVersion) -> FeatureSet:
    from penstock.features.engineering import build_feature_set

    code = code_digests(context.project.root, "features.py")
    return build_feature_set(
        context.project, dataset, context.as_of, digest_of(code) if code else "", context.progress
    )
