"""Takes out of a saved model what differs though the model is the same.

MLflow 3.17 writes a random id and the time into `MLmodel`; skops 0.16 names the members of its
archive, and the objects in it, by their addresses in memory, and dates them. Without these, the
same data, code, parameters and seed are a model of the same digest, on whatever day.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import yaml

from penstock.digests import folder_digest

MLMODEL = "MLmodel"
SCHEMA = "schema.json"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a ZIP archive can name


def settle(folder: Path) -> None:
    """Rewrites the files of a model folder in place. What they mean stays as it was."""
    archives = sorted(folder.rglob("*.skops"))
    before = sum(path.stat().st_size for path in archives)
    for path in archives:
        path.write_bytes(settled_skops(path.read_bytes()))
    grown = sum(path.stat().st_size for path in archives) - before
    if (file := folder / MLMODEL).is_file():
        stated = _settled_mlmodel(yaml.safe_load(file.read_text(encoding="utf-8")), grown)
        _write(file, stated)
        # MLflow must have an id: the same model, the same id.
        name = hashlib.sha256(folder_digest(folder).encode()).hexdigest()[:32]
        _write(file, {**stated, "model_uuid": name})


def settled_skops(data: bytes) -> bytes:
    """The same objects, numbered in the order in which the archive's schema comes to them."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    schema = json.loads(members.pop(SCHEMA))
    files: dict[str, str] = {}
    settled = _renumbered(schema, members.keys(), {}, files)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for old, new in files.items():
            archive.writestr(zipfile.ZipInfo(new, EPOCH), members[old])
        archive.writestr(zipfile.ZipInfo(SCHEMA, EPOCH), json.dumps(settled, indent=2))
    return out.getvalue()


def _renumbered(node: Any, members: Any, ids: dict[int, int], files: dict[str, str]) -> Any:
    """A copy of the schema; `ids` and `files` gather the new names of objects and members."""
    if isinstance(node, list):
        return [_renumbered(inner, members, ids, files) for inner in node]
    if isinstance(node, str) and node in members:
        suffix = node.rpartition(".")[2]
        return files.setdefault(node, f"{len(files)}.{suffix}")
    if not isinstance(node, dict):
        return node
    return {
        key: ids.setdefault(value, len(ids) + 1)
        if key == "__id__" and isinstance(value, int)
        else _renumbered(value, members, ids, files)
        for key, value in node.items()
    }


def _settled_mlmodel(stated: dict[str, Any], grown: int) -> dict[str, Any]:
    """Without time and id, with the size as it is now, and with types in order: skops has a set."""
    kept = {k: v for k, v in stated.items() if k not in ("utc_time_created", "model_uuid")}
    if isinstance(kept.get("model_size_bytes"), int):
        kept["model_size_bytes"] += grown
    for flavor in (kept.get("flavors") or {}).values():
        if isinstance(flavor.get("skops_trusted_types"), list):
            flavor["skops_trusted_types"] = sorted(flavor["skops_trusted_types"])
    return kept


def _write(file: Path, stated: dict[str, Any]) -> None:
    text = yaml.safe_dump(stated, default_flow_style=False, allow_unicode=True)  # as MLflow does
    file.write_text(text, encoding="utf-8")
