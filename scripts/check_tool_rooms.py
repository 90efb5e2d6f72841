"""Each outside tool is imported in its own room only, and heavy ones only inside functions.

Run by `make check`. Prints every import that is out of place and ends with status 1.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "penstock"

# tool -> the folders that may import it
ROOMS = {
    "airflow": {"orchestrators"},
    "alembic": {"state"},
    "apprise": {"notifications"},
    "boto3": {"features"},
    "croniter": {"services"},
    "dvc": {"data"},
    "feast": {"features"},
    "fpdf": {"compliance"},
    "great_expectations": {"validation"},
    "grpc": {"serving"},
    "lmdb": {"features"},
    "mlflow": {"registry", "training"},
    "openlineage": {"lineage"},
    "opentelemetry": {"serving"},
    "optuna": {"training"},
    "polars": {"features"},
    "prefect": {"orchestrators"},
    "prometheus_client": {"serving", "monitoring", "services"},
    "pyspark": {"features"},
    "ray": {"serving"},
    "redis": {"features"},
    "skops": {"registry", "training"},
    "starlette": {"dashboard"},
    "uvicorn": {"dashboard"},
    "xgboost": {"registry"},
}
# tools whose import costs so much that only the function that needs them may pay for it
HEAVY = {
    *("airflow", "alembic", "apprise", "boto3", "dvc", "feast", "great_expectations", "lightgbm"),
    *("lmdb", "matplotlib", "mlflow", "onnxruntime", "optuna", "polars", "prefect", "pyspark"),
    *("openlineage", "opentelemetry", "ray", "redis", "skops", "sklearn", "torch", "xgboost"),
    *("croniter", "fpdf"),
}
# modules that are loaded only by the tool they belong to, or where it is needed
EXEMPT = {
    *("state/migrations", "orchestrators/airflow", "templates"),
    *("features/offline_store.py", "features/compute_engine.py", "features/spark"),
    "features/registry_file.py",
    "features/online_stores",
    *("lineage/openlineage/documents.py", "lineage/openlineage/datasets.py"),
}


def main() -> int:
    faults = [fault for file in sorted(SOURCE.rglob("*.py")) for fault in faults_in(file)]
    print("\n".join(faults) or f"{len(ROOMS)} tools, each in its room")
    return 1 if faults else 0


def faults_in(file: Path) -> Iterator[str]:
    place = file.relative_to(SOURCE).as_posix()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    exempt = any(place.startswith(prefix) for prefix in EXEMPT)
    at_top = {id(node) for node in _at_import_time(tree.body)}
    for node in ast.walk(tree):
        for tool in _tools(node):
            room = place.partition("/")[0]
            if room not in ROOMS.get(tool, {room}) and not exempt:
                yield f"{place}:{node.lineno}: {tool} belongs in {', '.join(sorted(ROOMS[tool]))}"
            if tool in HEAVY and id(node) in at_top and not exempt:
                yield f"{place}:{node.lineno}: {tool} is heavy; import it inside the function"


def _tools(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return {(node.module or "").partition(".")[0]}
    return set()


def _at_import_time(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported: not functions, not TYPE_CHECKING blocks."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        for field in ("body", "orelse", "handlers", "finalbody"):
            yield from _at_import_time(getattr(node, field, []))


if __name__ == "__main__":
    sys.exit(main())
