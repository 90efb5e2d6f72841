"""LightGBM on a matrix of numbers, without the overhead of a frame.

`Booster.predict` (4.7) spends some 40 µs a call on what does not depend on the rows. Its C API is
called directly instead; for one row, by the configuration that LightGBM prepares once ("fast").
"""

from __future__ import annotations

import ctypes
from typing import Any

from penstock.errors import ModelError
from penstock.registry.scorer import OfMatrix

FLOAT64 = 1  # C_API_DTYPE_FLOAT64
NORMAL = 0  # C_API_PREDICT_NORMAL
PARAMETERS = b"num_threads=1"


def matrix_of(booster: Any, width: int) -> OfMatrix:
    """The booster's outputs for a float64 matrix (rows, width): (rows,) or (rows, classes)."""
    import lightgbm.basic
    import numpy

    library = getattr(lightgbm.basic, "_LIB", None)
    handle = getattr(booster, "_handle", None)
    if library is None or handle is None:  # another version of LightGBM, whose insides differ
        return lambda rows: booster.predict(rows, num_threads=1)
    classes = booster.num_model_per_iteration()
    one = ctypes.c_void_p()
    start = (ctypes.c_int(NORMAL), ctypes.c_int(0), ctypes.c_int(-1))
    _check(
        library,
        library.LGBM_BoosterPredictForMatSingleRowFastInit(
            handle, *start, FLOAT64, ctypes.c_int32(width), PARAMETERS, ctypes.byref(one)
        ),
    )
    length = ctypes.c_int64()

    def outputs(rows: Any) -> Any:
        rows = numpy.ascontiguousarray(rows)
        made = numpy.empty(len(rows) * classes)
        given, taken = ctypes.c_void_p(rows.ctypes.data), ctypes.c_void_p(made.ctypes.data)
        if len(rows) == 1:
            status = library.LGBM_BoosterPredictForMatSingleRowFast(
                one, given, ctypes.byref(length), taken
            )
        else:
            status = library.LGBM_BoosterPredictForMat(
                handle,
                given,
                FLOAT64,
                ctypes.c_int32(len(rows)),
                ctypes.c_int32(width),
                ctypes.c_int(1),  # row after row
                *start,
                PARAMETERS,
                ctypes.byref(length),
                taken,
            )
        _check(library, status)
        return made if classes == 1 else made.reshape(-1, classes)

    outputs.booster = booster  # type: ignore[attr-defined]  # whose handle is used
    return outputs


def _check(library: Any, status: int) -> None:
    if status:
        library.LGBM_GetLastError.restype = ctypes.c_char_p
        raise ModelError(f"LightGBM: {library.LGBM_GetLastError().decode(errors='replace')}")
