"""What an endpoint tells of itself in JSON: its releases, its routes, its API."""

from __future__ import annotations

from typing import Any

from penstock import __version__
from penstock.serving.http_server.messages import RequestError
from penstock.serving.live import Live, LiveRelease

JSON_TYPES: dict[str, dict[str, Any]] = {
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "int64": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "float": {"type": "number"},
    "double": {"type": "number"},
    "string": {"type": "string"},
}


def release_document(live: Live) -> dict[str, Any]:
    """The champion."""
    release = _champion(live)
    spec = release.spec
    return {
        "endpoint": spec.endpoint,
        "id": spec.id,
        "url": live.url,
        "model": spec.model,
        "digest": spec.digest,
        "replicas": spec.replicas,
        "pids": sorted(replica.pid for replica in release.pool.ready),
    }


def routes_document(live: Live) -> dict[str, Any]:
    """The routing table as it is served."""
    if live.router is None:
        raise RequestError(503, "no release is live")
    table = live.router.table
    return {
        "endpoint": live.endpoint,
        "revision": live.revision,
        "champion": table.champion,
        "weights": table.weights(),
        "arms": {arm.name: arm.release for arm in table.arms},
        "mirror": table.mirror.model_dump() if table.mirror else None,
        "holdback": table.holdback,
        "lease_until": live.router.lease_until,
        "epoch": table.epoch,
        "releases": {
            name: {
                "model": release.spec.model,
                "digest": release.spec.digest,
                "ready": len(release.pool.ready),
                "pids": sorted(replica.pid for replica in release.pool.ready),
                "restarts": release.pool.restarts,
            }
            for name, release in live.releases.items()
        },
    }


def openapi(live: Live) -> dict[str, Any]:
    """OpenAPI 3.1 of what the champion takes."""
    release = _champion(live)
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{live.endpoint}: {release.target.model}", "version": __version__},
        "servers": [{"url": live.url}],
        "paths": _paths(release),
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
            "schemas": _schemas(release),
        },
    }


def _champion(live: Live) -> LiveRelease:
    if live.router is None:
        raise RequestError(503, "no release is live")
    return live.releases[live.router.table.champion]


def _paths(release: LiveRelease) -> dict[str, Any]:
    answers = {
        "400": "refused; the field is named",
        "404": "not known here",
        "413": "too large",
        "429": "too often",
        "500": "the model failed",
        "503": "not now",
        "504": "not in time",
    }

    def problems(form: str) -> dict[str, Any]:
        return {s: {"description": t, "content": _json_of(form)} for s, t in answers.items()}

    model = release.target.model

    def post(
        summary: str, body: str, answer: str, status: str = "200", error: str = "Error"
    ) -> dict[str, Any]:
        return {
            "post": {
                "summary": summary,
                "security": [{}, {"bearer": []}, {"key": []}],
                "requestBody": {"required": True, "content": _json_of(body)},
                "responses": {
                    status: {"description": "answered", "content": _json_of(answer)},
                    **problems(error),
                },
            }
        }

    def get(summary: str) -> dict[str, Any]:
        return {
            "get": {
                "summary": summary,
                "responses": {"200": {"description": "answered"}, **problems("Error")},
            }
        }

    return {
        "/predict": post("Predict", "Question", "Answer"),
        "/invocations": post("MLflow's protocol", "Invocation", "Predictions", error="MlflowError"),
        f"/v2/models/{model}/infer": post("Open Inference", "Infer", "Inferred"),
        "/feedback": post("What became of a prediction", "Feedback", "Accepted", "202"),
        **{
            path: get(summary)
            for path, summary in {
                "/health/live": "Whether the gateway runs",
                "/health/ready": "Whether it could answer",
                "/release": "The release that is live",
                "/v2": "Open Inference: the server",
                "/v2/health/live": "Open Inference: alive",
                "/v2/health/ready": "Open Inference: ready",
                f"/v2/models/{model}": "Open Inference: the model",
                f"/v2/models/{model}/ready": "Open Inference: the model is ready",
            }.items()
        },
    }


def _json_of(name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _schemas(release: LiveRelease) -> dict[str, Any]:
    features = release.target.schema.features
    row = _object({c.name: {"anyOf": [JSON_TYPES[c.type], {"type": "null"}]} for c in features})
    rows = {"type": "array", "items": row, "minItems": 1}
    choices = [_object({"rows": rows})]
    if release.target.entities:
        keys = {"type": "array", "items": {"type": ["integer", "string"]}, "minItems": 1}
        entities = _object(dict.fromkeys(release.target.entities, keys))
        choices.append(_object({"entities": entities}))
    tensor = _object(
        {
            "name": {"type": "string"},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "datatype": {"type": "string"},
            "data": {"type": "array"},
        }
    )
    text, number = {"type": "string"}, {"type": "number"}
    return {
        "Error": _object({"error": text}, more=True),
        "MlflowError": _object({"error_code": text, "message": text}, more=True),
        "Question": {"oneOf": choices},
        "Answer": _object({"predictions": {"type": "array", "items": number}}, more=True),
        "Invocation": _object({"dataframe_records": rows}),
        "Predictions": _object({"predictions": {"type": "array"}}, more=True),
        "Infer": _object({"inputs": {"type": "array", "items": tensor}}, more=True),
        "Inferred": _object({"model_name": text, "outputs": {"type": "array"}}, more=True),
        "Feedback": _feedback(),
        "Accepted": _object({"accepted": {"type": "integer"}}),
    }


def _feedback() -> dict[str, Any]:
    text, value = {"type": "string"}, {"type": ["number", "boolean", "string"]}
    return {
        "type": "object",
        "properties": {
            "prediction_id": text,
            "unit": {"type": ["string", "integer"]},
            "unit_hash": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
            "metric": {"type": "string", "default": "label"},
            "value": value,
            "label": value,
            "row": {"type": "integer", "minimum": 0},
            "id": text,
            "at": {"type": "string", "format": "date-time"},
            "source": text,
            "replace": {"type": "boolean", "default": False},
        },
        "oneOf": [{"required": [name]} for name in ("prediction_id", "unit", "unit_hash")],
        "additionalProperties": False,
    }


def _object(properties: dict[str, Any], *, more: bool = False) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": more,
    }
