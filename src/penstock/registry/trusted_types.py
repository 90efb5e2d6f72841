"""The types that skops may construct when Penstock loads a scikit-learn model.

skops itself trusts the public estimators of scikit-learn, SciPy's sparse matrices and NumPy's
arrays. What an estimator keeps inside must be named, and each name here was reviewed: constructing
the type and setting its state runs no code that the file chooses. A project adds its own with
`[training] trusted_types`.
"""

from __future__ import annotations

# Plain data.
DATA = (
    "collections.OrderedDict",
    "numpy.dtype",
)

# Trees and tables of numbers inside scikit-learn's estimators; compiled, or plain attributes.
SKLEARN = (
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.compose._column_transformer._RemainderColsList",
    "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",
)

# The state of a booster is its text, which LightGBM parses.
LIGHTGBM = (
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
)

TRUSTED_TYPES: tuple[str, ...] = (*DATA, *SKLEARN, *LIGHTGBM)
