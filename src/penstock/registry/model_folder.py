"""A model folder as MLflow writes it, read as data: nothing in it is imported or unpickled.

`read_model_folder` is the door. It refuses what could run code when loaded, and what Penstock has
no safe loader for; what it returns is a small frozen description of the rest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from penstock.digests import digest_of_files, file_digest
from penstock.errors import IntegrityError, ModelError
from penstock.records import Column
from penstock.registry.signing import linked, manifest_of

# MLflow's column types, and the same types as Arrow prints them.
ARROW_TYPES = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float",
    "double": "double",
    "string": "string",
    "bool": "bool",
    "int32": "int32",
    "int64": "int64",
}

# Where each flavor names its one data file, and the suffix of the format that is safe to read.
DATA_FILES = {
    "lightgbm": ("data", ".lgb"),
    "sklearn": ("pickled_model", ".skops"),  # MLflow's name for it, whatever the format
    "pytorch": ("model_data", ".pt2"),
    "onnx": ("data", ".onnx"),
    "xgboost": ("data", ".ubj"),
}
SAFE_FORMAT = {
    "lightgbm": "save the Booster as text: mlflow.lightgbm.log_model(model.booster_, ...)",
    "sklearn": 'save with mlflow.sklearn.log_model(..., serialization_format="skops")',
    "pytorch": 'save with mlflow.pytorch.log_model(..., serialization_format="pt2")',
    "onnx": "save with mlflow.onnx.log_model(...)",
    "xgboost": 'save the Booster with mlflow.xgboost.log_model(..., model_format="ubj")',
}
PYFUNC = "pyfunc"  # loaded by MLflow itself, with whatever code the model brings
PICKLES = frozenset({".pkl", ".pickle", ".cloudpickle", ".joblib", ".dill", ".pth", ".pt"})


@dataclass(frozen=True)
class ModelFolder:
    """What `MLmodel` says, as far as Penstock uses it."""

    flavor: str
    data: bytes  # of the one file that the loader reads, already verified
    features: tuple[Column, ...]
    required: frozenset[str]  # features that a client must send
    positional: bool  # the signature is one tensor, whose columns have no names
    predict: str  # the function that MLflow's pyfunc calls; empty: the flavor's own


def model_digest(folder: Path) -> str:
    """SHA-256 (hex) over all files of a model folder, their names and their bytes.

    Raises `IntegrityError` for a symbolic link: what it points at is not part of the folder.
    """
    return digest_of_files(manifest_of(folder))


def read_model_folder(folder: Path, digest: str, admitted: Collection[str] = ()) -> ModelFolder:
    """The description of a model whose files are exactly those that `digest` was computed from.

    With "pyfunc" among the `admitted` it is one that MLflow shall load, code and all. Raises
    `IntegrityError` for other files, `ModelError` when loading would not be safe.
    """
    seen, contents, files = _read(folder)
    if seen != digest:
        raise IntegrityError(
            f"the model in {folder} is not the one that was recorded: "
            f"expected digest {digest}, found {seen}",
            hint="a file was changed, added or removed; register the model again, "
            "or restore the folder from the registry",
        )
    manifest = _manifest(folder / "MLmodel", contents)
    predict = str(manifest["flavors"].get("python_function", {}).get("predict_fn") or "")
    if PYFUNC in admitted and "python_function" in manifest["flavors"]:
        return ModelFolder(PYFUNC, b"", *_features(manifest), predict)
    flavor, configuration = _flavor(manifest)
    _refuse_code(manifest["flavors"], flavor, files)
    name = _data_file(flavor, configuration, files)
    return ModelFolder(flavor, contents[PurePosixPath(name)], *_features(manifest), predict)


def _read(folder: Path) -> tuple[str, dict[PurePosixPath, bytes], list[PurePosixPath]]:
    """The folder's digest, what was read for it of files that are used, and the names of all.

    What is loaded is what was hashed: a file that is exchanged in between changes nothing.
    """
    suffixes = {suffix for _, suffix in DATA_FILES.values()}
    digests: dict[str, str] = {}
    contents: dict[PurePosixPath, bytes] = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise linked(folder, path)
        if not path.is_file():
            continue
        name = PurePosixPath(path.relative_to(folder))
        if path.suffix in suffixes or name.as_posix() == "MLmodel":
            contents[name] = path.read_bytes()
            digests[name.as_posix()] = hashlib.sha256(contents[name]).hexdigest()
        else:
            digests[name.as_posix()] = file_digest(path)
    files = [PurePosixPath(name) for name in digests]
    return digest_of_files(digests), contents, files


def _manifest(file: Path, contents: dict[PurePosixPath, bytes]) -> dict[str, Any]:
    if PurePosixPath("MLmodel") not in contents:
        raise ModelError(
            f"{file.parent} has no MLmodel file", hint="save the model with an MLflow flavor"
        )
    try:
        manifest = yaml.safe_load(contents[PurePosixPath("MLmodel")])
    except yaml.YAMLError as error:
        raise ModelError(f"{file} is not YAML: {error}") from error
    flavors = manifest.get("flavors") if isinstance(manifest, dict) else None
    if not isinstance(flavors, dict) or not all(isinstance(one, dict) for one in flavors.values()):
        raise ModelError(f"{file} names no flavors")
    return dict(manifest)


def _flavor(manifest: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    names = [name for name in manifest["flavors"] if name != "python_function"]
    if len(names) != 1 or names[0] not in DATA_FILES:
        raise ModelError(
            f"the model has the flavors {', '.join(names) or 'python_function only'}; "
            f"Penstock loads exactly one of {', '.join(DATA_FILES)}",
            hint="custom Python models carry code and pickles; save one of these flavors instead",
        )
    return names[0], manifest["flavors"][names[0]]


def _refuse_code(flavors: dict[str, Any], flavor: str, files: list[PurePosixPath]) -> None:
    """Whatever makes MLflow import or unpickle something that the model brings along."""
    loader = flavors.get("python_function", {}).get("loader_module", f"mlflow.{flavor}")
    if loader != f"mlflow.{flavor}":
        raise ModelError(
            f"the model asks for its own loader_module {loader!r}; expected mlflow.{flavor}",
            hint="save the model without loader_module=",
        )
    named = any(configuration.get("code") for configuration in flavors.values())
    if named or any(file.parts[0] == "code" for file in files):
        raise ModelError(
            "the model brings its own code, which would run when it is loaded",
            hint="save the model without code_paths=",
        )
    for file in files:
        if file.suffix.lower() in PICKLES:
            raise ModelError(
                f"the model holds a pickle: {file}; a pickle runs code when it is loaded",
                hint=SAFE_FORMAT[flavor],
            )


def _data_file(flavor: str, configuration: dict[str, Any], files: list[PurePosixPath]) -> str:
    key, suffix = DATA_FILES[flavor]
    name = str(configuration.get(key, ""))
    if flavor == "pytorch":
        name = f"{name}/model.pt2"  # the flavor names the folder
    if PurePosixPath(name) not in files or not name.endswith(suffix):
        raise ModelError(
            f"the {flavor} model's data is {name!r}; expected a {suffix} file",
            hint=SAFE_FORMAT[flavor],
        )
    return name


def _features(manifest: dict[str, Any]) -> tuple[tuple[Column, ...], frozenset[str], bool]:
    """From the signature; a signature of tensors has no names, so `metadata.features` gives them.

    `mlflow.pytorch.log_model(..., metadata={"features": [{"name": "age", "type": "double"}]})`
    """
    try:
        signature = json.loads((manifest.get("signature") or {}).get("inputs") or "[]")
        positional = bool(signature) and all(c.get("type") == "tensor" for c in signature)
        if positional:
            signature = (manifest.get("metadata") or {}).get("features") or []
        columns = tuple(
            Column(name=str(column["name"]), type=ARROW_TYPES[column["type"]])
            for column in signature
        )
        required = frozenset(str(c["name"]) for c in signature if c.get("required", True))
    except (json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ModelError(
            f"the model's signature cannot be read: {error}",
            hint=f"features may be {', '.join(sorted(set(ARROW_TYPES)))}",
        ) from error
    if not columns or len({column.name for column in columns}) != len(columns):
        raise ModelError(
            "the model's signature does not name its features",
            hint="save with signature=infer_signature(features, predictions); for tensors also "
            'metadata={"features": [{"name": ..., "type": ...}, ...]}',
        )
    return columns, required, positional
