"""What train() may return: saved, loaded and asked again, and what is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from penstock.errors import ModelError
from penstock.registry.loading import LoadedModel, load_model, model_digest
from penstock.training.flavors import flavor_of, probabilities, save

pytestmark = pytest.mark.slow

ROWS = 400
NUMBERS = ["visits", "age", "spend"]
PLANS = ["basic", "gold", "plus"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Numbers as training sets have them: floats with holes, whole numbers, and a text."""
    rng = np.random.default_rng(7)
    visits = rng.normal(3, 2, ROWS)
    visits[::9] = np.nan
    return pd.DataFrame(
        {
            "visits": visits,
            "age": rng.integers(18, 90, ROWS),
            "spend": rng.gamma(2.0, 20.0, ROWS).astype("float32"),
            "plan": rng.choice(np.array([*PLANS, None], dtype=object), ROWS),
        }
    )


@pytest.fixture(scope="module")
def label(frame: pd.DataFrame) -> pd.Series:
    chance = 1 / (1 + np.exp(0.05 * (frame.age - 50) - 0.3 * frame.visits.fillna(0)))
    sure = chance + 0.2 * (frame["plan"] == "gold")
    return (np.random.default_rng(8).random(ROWS) < sure).astype("int8")


def brought_back(model: Any, example: pd.DataFrame, folder: Path) -> LoadedModel:
    save(model, example, folder)
    return load_model(folder, model_digest(folder))


def check_round_trip(
    model: Any, rows: pd.DataFrame, expected: Any, folder: Path, flavor: str
) -> None:
    """The same probabilities from the library itself, before it is saved, and after."""
    assert flavor_of(model) == flavor
    loaded = brought_back(model, rows.head(100), folder)
    assert [column.name for column in loaded.features] == list(rows.columns)
    assert probabilities(model, rows) == pytest.approx(np.asarray(expected), abs=1e-6)
    assert loaded.predict(rows) == pytest.approx(np.asarray(expected), abs=1e-6)
    one = [loaded.predict(rows[n : n + 1])[0] for n in range(5)]
    assert one == pytest.approx(np.asarray(expected)[:5], abs=1e-6)


def categorical(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(plan=pd.Categorical(rows["plan"], categories=PLANS))


@pytest.mark.parametrize("text", [False, True], ids=["numbers", "with text"])
@pytest.mark.parametrize("kind", ["Booster", "LGBMClassifier"])
def test_lightgbm(
    kind: str, text: bool, frame: pd.DataFrame, label: pd.Series, tmp_path: Path
) -> None:
    """The model is asked with texts, and takes them as the categories it was trained with."""
    import lightgbm

    rows = frame if text else frame[NUMBERS]
    known = categorical(rows) if text else rows
    if kind == "Booster":
        parameters = {"objective": "binary", "verbose": -1}
        model = lightgbm.train(parameters, lightgbm.Dataset(known, label), 20)
        expected = model.predict(known)
    else:
        model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1).fit(known, label)
        expected = model.predict_proba(known)[:, 1]

    check_round_trip(model, rows, expected, tmp_path / "model", "lightgbm")


SKLEARN: dict[str, Callable[[], Any]] = {
    "logistic regression": lambda: make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), ["plan"]),
            (StandardScaler(), ["age", "spend"]),
        ),
        LogisticRegression(),
    ),
    "boosting": lambda: make_pipeline(
        make_column_transformer(("passthrough", NUMBERS)),
        HistGradientBoostingClassifier(max_iter=10),
    ),
    "forest": lambda: make_pipeline(
        make_column_transformer(
            (OneHotEncoder(), ["plan"]), ("passthrough", NUMBERS), sparse_threshold=0
        ),
        RandomForestClassifier(10, random_state=7),
    ),
}


@pytest.mark.parametrize("kind", SKLEARN)
def test_sklearn(kind: str, frame: pd.DataFrame, label: pd.Series, tmp_path: Path) -> None:
    model = SKLEARN[kind]().fit(frame, label)
    expected = model.predict_proba(frame)[:, 1]
    check_round_trip(model, frame, expected, tmp_path / "model", "sklearn")


@pytest.mark.parametrize("outputs", [1, 2], ids=["sigmoid", "softmax"])
def test_pytorch(outputs: int, frame: pd.DataFrame, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(7)
    last = torch.nn.Sigmoid() if outputs == 1 else torch.nn.Softmax(dim=1)
    layers = torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, outputs), last
    model = torch.nn.Sequential(*layers)
    rows = frame[NUMBERS].fillna(0.0) / 100
    with torch.no_grad():
        expected = model.eval()(torch.tensor(rows.to_numpy("float32")))[:, -1].numpy()

    check_round_trip(model.train(), rows, expected, tmp_path / "model", "pytorch")


def test_a_saved_module_holds_no_rows_of_the_training_set(
    frame: pd.DataFrame, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    rows = frame[NUMBERS].fillna(0.0)
    save(torch.nn.Sequential(torch.nn.Linear(3, 1), torch.nn.Sigmoid()), rows, tmp_path / "model")

    examples = "".join(file.read_text() for file in (tmp_path / "model").glob("*.json"))

    assert str(rows.visits[1])[:6] not in examples


def test_onnx_from_sklearn(frame: pd.DataFrame, label: pd.Series, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    to_onnx = pytest.importorskip("skl2onnx").to_onnx
    rows = frame[["age", "spend"]]
    scaled = make_pipeline(StandardScaler(), LogisticRegression())
    model = scaled.fit(rows.to_numpy("float32"), label)

    graph = to_onnx(model, rows.to_numpy("float32")[:1])

    expected = model.predict_proba(rows.to_numpy("float32"))[:, 1]
    check_round_trip(graph, rows, expected, tmp_path / "model", "onnx")


def test_onnx_from_a_graph_of_ones_own(frame: pd.DataFrame, tmp_path: Path) -> None:
    """sigmoid(x · w + b)"""
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    weights = np.array([[0.3], [-0.02], [0.01]], np.float32)
    floats = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["product"]),
            helper.make_node("Sigmoid", ["product"], ["probability"]),
        ],
        "logit",
        [helper.make_tensor_value_info("x", floats, [None, 3])],
        [helper.make_tensor_value_info("probability", floats, [None, 1])],
        [numpy_helper.from_array(weights, "w")],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    rows = frame[NUMBERS].fillna(0.0)

    expected = 1 / (1 + np.exp(-rows.to_numpy("float32") @ weights))

    check_round_trip(model, rows, expected[:, 0], tmp_path / "model", "onnx")


class Doubler(TransformerMixin, BaseEstimator):
    """A transformer of the project's own."""

    def fit(self, rows: Any, label: Any = None) -> Doubler:
        self.fitted_ = True
        return self

    def transform(self, rows: Any) -> Any:
        return rows * 2


@pytest.mark.parametrize(
    ("transformer", "named"),
    [(Doubler(), r"\.Doubler"), (FunctionTransformer(lambda rows: rows * 2), "<lambda>")],
    ids=["a class of one's own", "a lambda"],
)
def test_code_that_nobody_reviewed_is_named_and_not_saved(
    transformer: Any, named: str, frame: pd.DataFrame, label: pd.Series, tmp_path: Path
) -> None:
    rows = frame[["age", "spend"]]
    model = make_pipeline(transformer, LogisticRegression()).fit(rows, label)

    with pytest.raises(ModelError, match=named):
        save(model, rows, tmp_path / "model")

    assert not (tmp_path / "model").exists()


def test_a_class_of_ones_own_is_saved_once_it_is_trusted(
    frame: pd.DataFrame, label: pd.Series, tmp_path: Path
) -> None:
    rows = frame[["age", "spend"]]
    model = make_pipeline(Doubler(), LogisticRegression()).fit(rows, label)
    trusted = (f"{Doubler.__module__}.Doubler",)

    save(model, rows, tmp_path / "model", trusted)

    loaded = load_model(tmp_path / "model", model_digest(tmp_path / "model"), trusted)
    assert loaded.predict(rows) == pytest.approx(model.predict_proba(rows)[:, 1], abs=1e-12)


def raw_scores(rows: pd.DataFrame, label: pd.Series) -> Any:
    import lightgbm

    target = 10.0 * label - 5
    return lightgbm.train({"objective": "l2", "verbose": -1}, lightgbm.Dataset(rows, target), 20)


def three_classes(rows: pd.DataFrame, label: pd.Series) -> Any:
    import lightgbm

    classes = np.arange(len(rows)) % 3
    return lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(rows, classes)


def logits(rows: pd.DataFrame, label: pd.Series) -> Any:
    return pytest.importorskip("torch").nn.Linear(2, 1)


def unfitted(rows: pd.DataFrame, label: pd.Series) -> Any:
    import lightgbm

    return lightgbm.LGBMClassifier()


REFUSED: dict[str, tuple[Callable[[pd.DataFrame, pd.Series], Any], str]] = {
    "a regression": (raw_scores, "not a probability"),
    "logits": (logits, "not a probability"),
    "a regressor of sklearn": (
        lambda rows, label: LinearRegression().fit(rows, label),
        "two classes",
    ),
    "three classes": (three_classes, r"classes are \[.*\], not 0 and 1"),
    "not fitted": (unfitted, "LGBMClassifier was not fitted"),
    "not fitted, sklearn": (lambda rows, label: LogisticRegression(), "two classes"),
    "nothing": (lambda rows, label: None, "returned NoneType"),
    "a table of scores": (lambda rows, label: {"auc": 0.9}, "returned dict"),
    "the class itself": (
        lambda rows, label: LogisticRegression,
        "returned the class LogisticRegression",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_gives_no_probability_is_refused(
    case: str, frame: pd.DataFrame, label: pd.Series
) -> None:
    train, said = REFUSED[case]
    rows = frame[["age", "spend"]]
    with pytest.raises(ModelError, match=said):
        probabilities(train(rows, label), rows)


def test_text_for_a_module_is_refused_by_name(frame: pd.DataFrame) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Sigmoid())
    with pytest.raises(ModelError, match="these features are text: plan"):
        probabilities(model, frame)


def test_a_feature_of_a_type_that_no_model_takes_is_named(
    frame: pd.DataFrame, label: pd.Series, tmp_path: Path
) -> None:
    model = LogisticRegression().fit(frame[["age"]], label)
    moments = frame[["age"]].assign(joined=pd.Timestamp("2025-01-01", tz="UTC"))
    with pytest.raises(ModelError, match=r"'joined' is of type datetime64"):
        save(model, moments, tmp_path / "model")
