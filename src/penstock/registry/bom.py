"""The bill of materials of a model: CycloneDX 1.6, with a model card, its data and its libraries.

cyclonedx-python-lib (11.12) knows no model cards, so the document is written here, and validated
with its strict validator. Specification: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import functools
import json
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from penstock import __version__
from penstock.errors import IntegrityError
from penstock.registry.provenance import Build
from penstock.registry.signing import Manifest

BOM = "bom.cdx.json"
MODEL = "model"  # the model's name inside the document
FAMILIES = {
    "lightgbm": "gradient-boosted decision trees",
    "xgboost": "gradient-boosted decision trees",
}


def bill_of_materials(build: Build, manifest: Manifest, at: datetime) -> dict[str, Any]:
    """The document of one model; the same input gives the same document."""
    libraries = sorted(_libraries(build.environment))
    components = [*_data(build), *(_library(name, version) for name, version in libraries)]
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"{build.digest}/{at.isoformat()}")
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tools": {
                "components": [{"type": "application", "name": "penstock", "version": __version__}]
            },
            "component": _model(build, manifest),
        },
        "components": components,
        "dependencies": [
            {"ref": MODEL, "dependsOn": [component["bom-ref"] for component in components]},
            *({"ref": component["bom-ref"]} for component in components),
        ],
    }


def validated(document: dict[str, Any]) -> bytes:
    """The document as it is kept. Raises `IntegrityError` when it is no CycloneDX 1.6."""
    text = json.dumps(document, indent=1, ensure_ascii=False)
    error = _validator().validate_str(text)
    if error is not None:
        raise IntegrityError(f"the bill of materials is not CycloneDX 1.6: {error}")
    return text.encode()


@functools.cache
def _validator() -> Any:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(SchemaVersion.V1_6)


def _model(build: Build, manifest: Manifest) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": MODEL,
        "name": build.model,
        "version": build.digest,
        "components": [
            {
                "type": "file",
                "name": name,
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
            for name, digest in sorted(manifest.items())
        ],
        "modelCard": _card(build),
        "properties": [
            *_properties("param", build.params),
            *_properties("digest", build.digests),
        ],
    }


def _card(build: Build) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "approach": {"type": "supervised"},
        "task": "binary classification",
        "modelArchitecture": build.flavor,
        "datasets": [{"ref": component["bom-ref"]} for component in _data(build)],
        "inputs": [{"format": f"{c.name}: {c.type}"} for c in build.features],
        "outputs": [{"format": "probability of the positive class"}],
    }
    if build.flavor in FAMILIES:
        parameters["architectureFamily"] = FAMILIES[build.flavor]
    return {
        "modelParameters": parameters,
        "quantitativeAnalysis": {
            "performanceMetrics": [
                {"type": name, "value": f"{value:.6g}", "slice": "held-out period"}
                for name, value in sorted(build.metrics.items())
            ]
        },
    }


def _data(build: Build) -> Iterator[dict[str, Any]]:
    """The dataset and the training set, where their digests are known."""
    for what, name in (("dataset", build.dataset or "dataset"), ("training_set", "training set")):
        if digest := build.digests.get(what):
            yield {
                "type": "data",
                "bom-ref": f"data:{what}",
                "name": name,
                "version": digest[:12],
                "hashes": [{"alg": "SHA-256", "content": digest}],
                "data": [{"type": "dataset", "name": name}],
            }


def _library(name: str, version: str) -> dict[str, Any]:
    # As package URLs write PyPI's names: https://github.com/package-url/purl-spec
    purl = f"pkg:pypi/{re.sub(r'[-_.]+', '-', name).lower()}@{version.replace('+', '%2B')}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    }


def _libraries(environment: str) -> set[tuple[str, str]]:
    """Names and versions, one to each package URL, of lines such as "numpy==2.3.1"."""
    found = {}
    for line in environment.splitlines():
        if match := re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;]+)", line.strip()):
            found[re.sub(r"[-_.]+", "-", match[1]).lower()] = (match[1], match[2])
    return set(found.values())


def _properties(kind: str, values: Any) -> Iterator[dict[str, str]]:
    for name, value in sorted(values.items()):
        yield {"name": f"penstock:{kind}:{name}", "value": str(value)}
