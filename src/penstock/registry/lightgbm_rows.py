"""LightGBM on a matrix of numbers, by its C interface.

`Booster.predict` of the package (4.7) spends some 40 µs a call on what does not depend on the rows.
For one row there is the configuration that LightGBM prepares once ("fast").
"""

from __future__ import annotations

import ctypes
from typing import Any

from penstock.registry.lightgbm_library import Booster, check
from penstock.registry.scorer import OfMatrix

FLOAT64 = 1  # C_API_DTYPE_FLOAT64
NORMAL = 0  # C_API_PREDICT_NORMAL
PARAMETERS = b"num_threads=1"


def matrix_of(booster: Booster) -> OfMatrix:
    """The booster's outputs for a float64 matrix (rows, features): (rows,) or (rows, classes)."""
    import numpy

    library, classes, width = booster.library, booster.outputs, booster.features
    one = ctypes.c_void_p()
    start = (ctypes.c_int(NORMAL), ctypes.c_int(0), ctypes.c_int(-1))
    check(
        library,
        library.LGBM_BoosterPredictForMatSingleRowFastInit(
            booster.handle, *start, FLOAT64, ctypes.c_int32(width), PARAMETERS, ctypes.byref(one)
        ),
    )
    booster.frees(library.LGBM_FastConfigFree, one)
    length = ctypes.c_int64()

    def outputs(rows: Any) -> Any:
        rows = numpy.ascontiguousarray(rows, dtype=numpy.float64)
        made = numpy.empty(len(rows) * classes)
        given, taken = ctypes.c_void_p(rows.ctypes.data), ctypes.c_void_p(made.ctypes.data)
        if len(rows) == 1:
            status = library.LGBM_BoosterPredictForMatSingleRowFast(
                one, given, ctypes.byref(length), taken
            )
        else:
            status = library.LGBM_BoosterPredictForMat(
                booster.handle,  # asked here, so that the booster lives as long as this function
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
        check(library, status)
        return made if classes == 1 else made.reshape(-1, classes)

    return outputs
