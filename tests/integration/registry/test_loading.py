"""Models as MLflow really writes them, and every way in which one is refused."""

from __future__ import annotations

import copy
import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest
import yaml

from penstock.errors import IntegrityError, ModelError
from penstock.registry.loading import load_model, model_digest

pytestmark = pytest.mark.slow

FRAME = pandas.DataFrame({"visits": [0.5, 2.0, -1.0], "age": [41, 7, 90]})
LABEL = [1, 0, 1] * 40
TRAINING = pandas.concat([FRAME] * 40, ignore_index=True)
FEATURES = [{"name": "visits", "type": "double"}, {"name": "age", "type": "long"}]


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> None:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


def save(flavor: str, model: Any, folder: Path, **options: Any) -> Path:
    import importlib

    from mlflow.models import infer_signature

    module = importlib.import_module(f"mlflow.{flavor}")
    options.setdefault("signature", infer_signature(FRAME, numpy.array([0.5])))
    module.save_model(model, folder, pip_requirements=[], **options)
    return folder


def load(folder: Path, **options: Any) -> Any:
    return load_model(folder, model_digest(folder), **options)


@pytest.fixture(scope="module")
def classifier() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(TRAINING, LABEL)


@pytest.fixture
def skops_folder(classifier: Any, tmp_path: Path) -> Path:
    return save("sklearn", classifier, tmp_path / "model", serialization_format="skops")


def test_sklearn_gives_the_positive_class(classifier: Any, skops_folder: Path) -> None:
    model = load(skops_folder)

    assert [(column.name, column.type) for column in model.features] == [
        ("visits", "double"),
        ("age", "int64"),
    ]
    expected = classifier.predict_proba(FRAME)[:, 1]
    assert model.predict(FRAME[["age", "visits"]]).tolist() == expected.tolist()


def test_the_reviewed_types_suffice_for_the_usual_classifiers(tmp_path: Path) -> None:
    from lightgbm import LGBMClassifier
    from sklearn import ensemble
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.linear_model import LogisticRegression

    from penstock.registry.trusted_types import TRUSTED_TYPES

    for number, model in enumerate(
        (
            ensemble.HistGradientBoostingClassifier(max_iter=2),
            ensemble.RandomForestClassifier(2),
            ensemble.GradientBoostingClassifier(n_estimators=2),
            CalibratedClassifierCV(LogisticRegression()),
            LGBMClassifier(n_estimators=2, verbose=-1),
        )
    ):
        model.fit(TRAINING, LABEL)
        folder = save(
            "sklearn",
            model,
            tmp_path / str(number),
            serialization_format="skops",
            skops_trusted_types=list(TRUSTED_TYPES),
        )
        expected = model.predict_proba(FRAME)[:, 1]
        assert load(folder).predict(FRAME) == pytest.approx(expected, abs=1e-12)


def test_lightgbm_encodes_texts_as_in_training(tmp_path: Path) -> None:
    import lightgbm
    from mlflow.models import infer_signature

    plans = ["basic", "plus", "gold"] * 40
    training = TRAINING.assign(plan=pandas.Categorical(plans))
    booster = lightgbm.train(
        {"objective": "binary", "verbose": -1, "min_data_in_leaf": 1, "min_data_per_group": 1},
        lightgbm.Dataset(training, LABEL),
        5,
    )
    texts = FRAME.assign(plan=["gold", None, "unheard of"])
    signature = infer_signature(FRAME.assign(plan=["a", "b", "c"]), numpy.array([0.5]))

    model = load(save("lightgbm", booster, tmp_path / "model", signature=signature))

    categories = pandas.Categorical(texts["plan"], categories=training["plan"].cat.categories)
    expected = booster.predict(texts.assign(plan=categories))
    assert model.predict(texts).tolist() == expected.tolist()


def test_onnx_with_and_without_zipmap(classifier: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    to_onnx = pytest.importorskip("skl2onnx").to_onnx
    bare = type(classifier)().fit(TRAINING.to_numpy("float32"), LABEL)
    expected = bare.predict_proba(FRAME.to_numpy("float32"))[:, 1]
    for name, options in (("matrix", {"zipmap": False}), ("dictionaries", {})):
        graph = to_onnx(bare, TRAINING.to_numpy("float32")[:1], options=options)
        model = load(save("onnx", graph, tmp_path / name))
        assert model.predict(FRAME) == pytest.approx(expected, abs=1e-6)


@pytest.fixture
def pt2_folder(tmp_path: Path) -> Path:
    torch = pytest.importorskip("torch")
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    module = torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Sigmoid())
    spec = TensorSpec(numpy.dtype("float32"), (-1, 2))
    return save(
        "pytorch",
        module,
        tmp_path / "model",
        serialization_format="pt2",
        input_example=FRAME.to_numpy("float32"),
        signature=ModelSignature(Schema([spec])),
        metadata={"features": FEATURES},
    )


def test_pytorch_answers_one_row_as_it_answers_many(pt2_folder: Path) -> None:
    model = load(pt2_folder)

    assert [column.name for column in model.features] == ["visits", "age"]
    many = model.predict(FRAME)
    one = [model.predict(FRAME[row : row + 1])[0] for row in range(3)]
    assert one == pytest.approx(many.tolist(), abs=1e-7)


class Exploit:
    """Unpickling it creates a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return (open, (str(self.file), "w"))


def test_a_pickle_among_the_sample_inputs_of_a_pt2_is_never_loaded(
    pt2_folder: Path, tmp_path: Path
) -> None:
    """torch.export.load 2.13 falls back to unrestricted unpickling for this entry."""
    file = pt2_folder / "data" / "model.pt2"
    mark = tmp_path / "was here"
    replace_entry(file, "sample_inputs/model.pt", pickle.dumps(Exploit(mark)))

    with pytest.raises(ModelError):
        load(pt2_folder)

    assert not mark.exists()


@pytest.mark.parametrize(
    ("entry", "find", "put", "said"),
    [
        ("model_weights_config.json", b'"use_pickle": false', b'"use_pickle": true', "pickled"),
        ("models/model.json", b"\"Symbol('s", b"\"exec('s", "symbolic shape"),
    ],
)
def test_what_could_run_code_in_a_pt2_is_refused(
    pt2_folder: Path, entry: str, find: bytes, put: bytes, said: str
) -> None:
    file = pt2_folder / "data" / "model.pt2"
    with zipfile.ZipFile(file) as archive:
        name = next(name for name in archive.namelist() if name.endswith(entry))
        content = archive.read(name)
    assert find in content
    replace_entry(file, entry, content.replace(find, put))

    with pytest.raises(ModelError, match=said):
        load(pt2_folder)


def replace_entry(file: Path, ending: str, content: bytes) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(buffer, "w") as new:
        for item in old.infolist():
            same = not item.filename.endswith(ending)
            new.writestr(item.filename, old.read(item) if same else content)
    file.write_bytes(buffer.getvalue())


def edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        manifest = yaml.safe_load((folder / "MLmodel").read_text())
        change(manifest)
        (folder / "MLmodel").write_text(yaml.safe_dump(manifest))

    return apply


def add(name: str, content: bytes = b"x") -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)

    return apply


REFUSALS = {
    "a pickle as data": (
        edit(lambda m: m["flavors"]["sklearn"].update(pickled_model="model.bin")),
        "expected a .skops file",
    ),
    "a pickle beside": (add("model.pkl", pickle.dumps({})), "holds a pickle: model.pkl"),
    "code of its own": (add("code/model.py"), "brings its own code"),
    "code by name": (
        edit(lambda m: m["flavors"]["sklearn"].update(code="src")),
        "brings its own code",
    ),
    "a loader of its own": (
        edit(lambda m: m["flavors"]["python_function"].update(loader_module="evil")),
        "own loader_module 'evil'",
    ),
    "an unknown flavor": (
        edit(lambda m: m["flavors"].update(prophet=m["flavors"].pop("sklearn"))),
        "the flavors prophet",
    ),
    "a custom Python model": (
        edit(lambda m: m["flavors"].pop("sklearn")),
        "python_function only",
    ),
    "a path out of the folder": (
        edit(lambda m: m["flavors"]["sklearn"].update(pickled_model="../x.skops")),
        "expected a .skops file",
    ),
    "no signature": (edit(lambda m: m.update(signature=None)), "does not name its features"),
    "a type unknown": (
        edit(lambda m: m["signature"].update(inputs='[{"type": "binary", "name": "a"}]')),
        "signature cannot be read",
    ),
    "not YAML": (add("MLmodel", b"{"), "not YAML"),
    "bytes that are no skops file": (add("model.skops", b"junk"), "cannot be loaded"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_not_safe_or_not_known_is_refused(skops_folder: Path, case: str) -> None:
    change, said = REFUSALS[case]
    change(skops_folder)
    with pytest.raises(ModelError, match=said):
        load(skops_folder)


def test_a_cloudpickled_sklearn_model_is_refused(classifier: Any, tmp_path: Path) -> None:
    folder = save("sklearn", classifier, tmp_path / "m", serialization_format="cloudpickle")
    with pytest.raises(ModelError, match="holds a pickle") as caught:
        load(folder)
    assert "skops" in caught.value.hint


def test_a_type_that_was_not_reviewed_is_refused_until_the_project_trusts_it(
    classifier: Any, skops_folder: Path
) -> None:
    import skops.io
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    unusual = make_pipeline(FunctionTransformer(copy.copy), classifier)
    skops.io.dump(unusual, skops_folder / "model.skops")
    with pytest.raises(ModelError, match=r"not reviewed: copy\.copy"):
        load(skops_folder)

    assert len(load(skops_folder, trusted_types=("copy.copy",)).predict(FRAME)) == 3


def test_a_model_without_probabilities_is_refused(tmp_path: Path) -> None:
    from sklearn.svm import OneClassSVM

    folder = save("sklearn", OneClassSVM().fit(FRAME), tmp_path / "m", serialization_format="skops")
    with pytest.raises(ModelError, match="does not give the probability"):
        load(folder)


@pytest.mark.parametrize("name", ["model.skops", "MLmodel", "note.txt"])
def test_a_changed_or_added_file_is_named_by_its_digests(skops_folder: Path, name: str) -> None:
    digest = model_digest(skops_folder)
    with (skops_folder / name).open("ab") as stream:
        stream.write(b"\n")
    with pytest.raises(IntegrityError) as caught:
        load_model(skops_folder, digest)
    assert digest in caught.value.message
    assert model_digest(skops_folder) in caught.value.message


def test_a_symbolic_link_is_refused(skops_folder: Path, tmp_path: Path) -> None:
    (skops_folder / "elsewhere").symlink_to(tmp_path)
    with pytest.raises(IntegrityError, match="symbolic link"):
        model_digest(skops_folder)


def test_what_is_no_probability_is_refused(tmp_path: Path) -> None:
    import lightgbm

    target = [3.0, -4.0, 9.0] * 40
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(TRAINING, target), 3)
    model = load(save("lightgbm", booster, tmp_path / "model"))
    with pytest.raises(ModelError, match="not a probability"):
        model.predict(FRAME)


def test_a_missing_feature_is_named(skops_folder: Path) -> None:
    with pytest.raises(ModelError, match="lack age"):
        load(skops_folder).predict(FRAME[["visits"]])


def test_loading_does_not_import_mlflow(skops_folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from penstock.registry.loading import *\n"
        "folder = Path(sys.argv[1]); load_model(folder, model_digest(folder))\n"
        "sys.exit('mlflow' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", program, skops_folder], check=False).returncode == 0
    )
