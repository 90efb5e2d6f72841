"""Boosters in LightGBM's shared library, without its Python package.

`import lightgbm` (4.7) brings pandas, scikit-learn and SciPy: a second and 75 MB, of which nothing
is needed for a prediction. The library is opened where the package keeps it. Functions and types
are those of LightGBM's c_api.h, which has had them since version 3.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import sys
import weakref
from functools import cache
from pathlib import Path
from typing import Any

CATEGORIES = b"pandas_categorical:"  # leads the last line of a model's text
NEEDED = (
    "LGBM_BoosterFree",
    "LGBM_BoosterGetNumFeature",
    "LGBM_BoosterLoadModelFromString",
    "LGBM_BoosterNumModelPerIteration",
    "LGBM_BoosterPredictForMat",
    "LGBM_BoosterPredictForMatSingleRowFast",
    "LGBM_BoosterPredictForMatSingleRowFastInit",
    "LGBM_FastConfigFree",
    "LGBM_GetLastError",
)


class LibraryError(Exception):
    """What the library says of a call that failed."""


class Booster:
    """A booster in the library's memory, which is freed with this object."""

    def __init__(self, library: Any, text: bytes) -> None:
        """Raises `LibraryError` for what is no model."""
        self.library = library
        self.handle = ctypes.c_void_p()
        iterations = ctypes.c_int()
        read = library.LGBM_BoosterLoadModelFromString
        check(library, read(text, ctypes.byref(iterations), ctypes.byref(self.handle)))
        self.frees(library.LGBM_BoosterFree, self.handle)
        self.features = self._number(library.LGBM_BoosterGetNumFeature)
        self.outputs = self._number(library.LGBM_BoosterNumModelPerIteration)  # of a row
        self.categories = _categories(text)

    def frees(self, free: Any, what: ctypes.c_void_p) -> None:
        """Has something of the library's freed with this object; but not at the process's end."""
        weakref.finalize(self, free, what).atexit = False

    def _number(self, function: Any) -> int:
        found = ctypes.c_int()
        check(self.library, function(self.handle, ctypes.byref(found)))
        return found.value


@cache
def open_library() -> Any:
    """The library of the package that is installed; None where it is not as expected."""
    package = importlib.util.find_spec("lightgbm")  # finds the package, and does not import it
    if package is None or package.origin is None:
        return None
    name = "lib_lightgbm.dylib" if sys.platform == "darwin" else "lib_lightgbm.so"
    try:
        library = ctypes.CDLL(str(Path(package.origin).parent / "lib" / name))
    except OSError:
        return None
    if not all(hasattr(library, function) for function in NEEDED):
        return None
    library.LGBM_GetLastError.restype = ctypes.c_char_p
    return library


def check(library: Any, status: int) -> None:
    """Raises `LibraryError` unless a call went well."""
    if status:
        raise LibraryError(library.LGBM_GetLastError().decode(errors="replace"))


def _categories(text: bytes) -> list[list[Any]]:
    """Of each categorical column, in order, as pandas had them in training.

    Found as LightGBM's own package finds them (basic.py, _load_pandas_categorical).
    """
    last = text[text.rfind(b"\n", 0, -len(CATEGORIES)) + 1 :].strip()
    if not last.startswith(CATEGORIES):
        return []
    found: list[list[Any]] | None = json.loads(last[len(CATEGORIES) :])
    return found or []
