"""Requests to MLflow's scoring protocol, good and bad, for a model of `FEATURES`.

`SAME` are answered alike by MLflow's scoring server and by Penstock: the status, and the
predictions or the error code. `REFUSED` are answered 400 by Penstock alone, because MLflow predicts
for another value than was sent; each says which.
"""

from __future__ import annotations

import json
from typing import Any, Final

FEATURES: Final = {"visits": "double", "age": "int64", "spend": "double"}
JSON: Final = "application/json"
CSV: Final = "text/csv"

ROW = {"visits": 3.5, "age": 41, "spend": 12.25}
OTHER = {"visits": -0.1, "age": 18, "spend": 0}
COLUMNS = [*ROW]

Requests = list[tuple[str, str, bytes]]


def _json(name: str, document: Any) -> tuple[str, str, bytes]:
    body = document if isinstance(document, str) else json.dumps(document)
    return name, JSON, body.encode()


def _split(name: str, data: Any, columns: Any = COLUMNS, **more: Any) -> tuple[str, str, bytes]:
    return _json(name, {"dataframe_split": {"columns": columns, "data": data, **more}})


def _csv(name: str, text: str) -> tuple[str, str, bytes]:
    return name, CSV, text.encode()


GOOD = {"dataframe_split": {"columns": COLUMNS, "data": [[*ROW.values()]]}}

SAME: Requests = [
    # One table, in every format.
    _split("split", [[*ROW.values()], [*OTHER.values()]]),
    _split("split with an index", [[*ROW.values()], [*OTHER.values()]], index=["a", "a"]),
    _split("split in another order", [[12.25, 41, 3.5]], ["spend", "age", "visits"]),
    _split("split with more columns", [["x", 12.25, 41, 3.5]], ["id", "spend", "age", "visits"]),
    _json("records", {"dataframe_records": [ROW, OTHER]}),
    _json("records with more columns", {"dataframe_records": [ROW | {"id": "x"}, OTHER]}),
    _json("inputs by column", {"inputs": {key: [ROW[key], OTHER[key]] for key in ROW}}),
    _json("inputs as one value each", {"inputs": ROW}),
    _json("inputs with one value for all", {"inputs": ROW | {"visits": [1.5, 2.5]}}),
    _json("inputs as records", {"inputs": [ROW, OTHER]}),
    _json("inputs with more columns", {"inputs": {**{k: [v] for k, v in ROW.items()}, "id": [1]}}),
    _json("instances", {"instances": [ROW, OTHER]}),
    _json("instances by column", {"instances": {key: [ROW[key], OTHER[key]] for key in ROW}}),
    _csv("CSV", "visits,age,spend\n3.5,41,12.25\n-0.1,18,0\n"),
    _csv("CSV in another order", "spend,id,age,visits\r\n12.25,x,41,3.5\r\n"),
    _csv("CSV with quotes and empty lines", '"visits","age","spend"\n\n"3.5","41","12.25"\n\n'),
    # Beside the table.
    _json("params", GOOD | {"params": {"threshold": 0.5}}),
    _json("params that are none", GOOD | {"params": 5}),
    _json("another key", GOOD | {"request": "r1"}),
    ("charset", "application/json; charset=UTF-8", json.dumps(GOOD).encode()),
    ("byte order mark", JSON, b"\xef\xbb\xbf" + json.dumps(GOOD).encode()),
    ("UTF-16", JSON, json.dumps(GOOD).encode("utf-16")),
    # Values that are cast without loss.
    _split("a whole number as a fraction", [[3, 41.0, 12]]),
    _split("numbers as text", [["3.5", "41", " 12.25 "]]),
    _split("true as a number", [[True, True, False]]),
    _json("inputs as text", {"inputs": {"visits": ["3.5"], "age": ["41"], "spend": ["1e3"]}}),
    _csv("CSV with true as a number", "visits,age,spend\nTrue,41,1\nFALSE,41,1\n"),
    _csv("CSV with exponents", "visits,age,spend\n+35e-1,4.1e1,.5\n"),
    # Missing values.
    _split("a null", [[None, 41, 12.25], [3.5, 41, None]]),
    _json(
        "NaN",
        '{"dataframe_split": {"columns": ["visits", "age", "spend"], "data": [[NaN, 41, 1]]}}',
    ),
    _json("a null in inputs", {"inputs": {"visits": [None], "age": [41], "spend": [1.0]}}),
    _json("records with a gap", {"dataframe_records": [ROW, {"age": 41, "spend": 1.0}]}),
    _json("inputs with a gap", {"inputs": [ROW, {"age": 41, "spend": 1.0}]}),
    _csv("CSV with a missing value", "visits,age,spend\n,41,NA\n"),
    _split("a null as a whole number", [[3.5, None, 12.25]]),
    _json("null in inputs as a whole number", {"inputs": ROW | {"age": [None]}}),
    _json("records with a gap in whole numbers", {"dataframe_records": [ROW, {"visits": 1.0}]}),
    _json("inputs with a gap in whole numbers", {"inputs": [ROW, {"visits": 1.0, "spend": 1.0}]}),
    _json("instances with a gap", {"instances": [ROW, {"age": 41, "spend": 1.0}]}),
    _csv("CSV with a missing whole number", "visits,age,spend\n3.5,,1\n"),
    # Values of other types.
    _split("text", [["many", 41, 12.25]]),
    _split("text as a whole number", [[3.5, "41.5", 12.25]]),
    _split("a list", [[[3.5], 41, 12.25]]),
    _split("an object", [[3.5, {"years": 41}, 12.25]]),
    _split("a whole number beyond 64 bits", [[3.5, 2**70, 12.25]]),
    _split("a number beyond a double", [[10**400, 41, 12.25]]),
    _json("text in inputs", {"inputs": ROW | {"visits": "many"}}),
    _json("a list in inputs", {"inputs": {key: [[value]] for key, value in ROW.items()}}),
    _json("a list in instances", {"instances": [{key: [value] for key, value in ROW.items()}]}),
    _json(
        "a list among numbers", {"inputs": {key: [value, [value]] for key, value in ROW.items()}}
    ),
    _csv("CSV with true among numbers", "visits,age,spend\nTrue,41,1\n3.5,41,1\n"),
    _csv("CSV with text", "visits,age,spend\nmany,41,12.25\n"),
    _csv("CSV with a fraction as a whole number", "visits,age,spend\n3.5,41.5,12.25\n"),
    _csv("CSV with underscores", "visits,age,spend\n1_0,41,12.25\n"),
    _csv("CSV beyond a double", "visits,age,spend\n1e400,41,12.25\n"),
    # Columns that are not those of the signature.
    _split("a column is missing", [[3.5, 41]], ["visits", "age"]),
    _split("a column is missing, a value wrong", [["many", 41]], ["visits", "age"]),
    _split("a column twice", [[3.5, 1.5, 41, 12.25]], ["visits", "visits", "age", "spend"]),
    _json("split without columns", {"dataframe_split": {"data": [[*ROW.values()]]}}),
    _json("records without a column", {"dataframe_records": [{"visits": 3.5, "age": 41}]}),
    _json("records of lists", {"dataframe_records": [[*ROW.values()]]}),
    _json("inputs without a column", {"inputs": {"visits": [3.5], "age": [41]}}),
    _json("inputs of lists", {"inputs": [[*ROW.values()]]}),
    _json("inputs of numbers", {"inputs": [*ROW.values()]}),
    _json("inputs of one number", {"inputs": 3.5}),
    _json("inputs of text", {"inputs": "many"}),
    _json("inputs of one number as text", {"inputs": "3.5"}),
    _json("instances of lists", {"instances": [[*ROW.values()]]}),
    _csv("CSV without a column", "visits,age\n3.5,41\n"),
    _csv("CSV with semicolons", "visits;age;spend\n3.5;41;12.25\n"),
    _json("a chat", {"messages": [{"role": "user", "content": "hello"}]}),
    # Tables that are none.
    _split("no rows", []),
    _json("no records", {"dataframe_records": []}),
    _json("an empty record", {"dataframe_records": [{}]}),
    _json("no inputs", {"inputs": {}}),
    _json("inputs of no values", {"inputs": {key: [] for key in ROW}}),
    _json("no instances", {"instances": []}),
    _split("a row too short", [[3.5, 41]]),
    _split("a row too long", [[3.5, 41, 12.25, 1]]),
    _split("no list of rows", 5),
    _split("a row that is none", [[*ROW.values()], None]),
    _split("columns that are none", [[*ROW.values()]], "visits"),
    _split("an index that is none", [[*ROW.values()]], index=3),
    _split("another key in split", [[*ROW.values()]], dtypes=[]),
    _json("split without data", {"dataframe_split": {"columns": COLUMNS}}),
    _json("split is a list", {"dataframe_split": [1]}),
    _json("records is an object", {"dataframe_records": ROW}),
    _json("a record that is none", {"dataframe_records": [ROW, 3]}),
    _json("inputs of other lengths", {"inputs": {"visits": [1.5, 2], "age": [4], "spend": [1]}}),
    _json("instances of other lengths", {"instances": {"visits": [1.5, 2], "age": [4]}}),
    _csv("an empty CSV", ""),
    _csv("CSV without rows", "visits,age,spend\n"),
    _csv("CSV with an open quote", 'visits,age,spend\n"3.5,41,12.25\n'),
    ("CSV in another charset", CSV, b"visits,age,spend\n3.5,41,\xff\n"),
    # Bodies that are none.
    _json("no body", ""),
    _json("half a body", '{"inputs": {"visits": [3.5'),
    _json("two bodies", json.dumps(GOOD) * 2),
    _json("a list", []),
    _json("a number", "5"),
    _json("null", "null"),
    _json("an empty object", {}),
    _json("two tables", GOOD | {"inputs": ROW}),
    _json("no table", {"rows": [ROW]}),
    ("not UTF-8", JSON, b"\xff"),
    ("not UTF-8 where nobody looks", JSON, json.dumps(GOOD).encode()[:-1] + b',"a":"\xff"}'),
    # Content types.
    ("no content type", "", json.dumps(GOOD).encode()),
    ("plain text", "text/plain", json.dumps(GOOD).encode()),
    ("capitals", "Application/JSON", json.dumps(GOOD).encode()),
    ("another charset", "application/json; charset=latin-1", json.dumps(GOOD).encode()),
    ("pandas-split", "application/json; format=pandas-split", json.dumps(GOOD).encode()),
    ("an empty parameter", "application/json;", json.dumps(GOOD).encode()),
]

REFUSED: Requests = [
    _split("a fraction as a whole number: 41", [[3.5, 41.7, 12.25]]),
    _json("a fraction in inputs: 41", {"inputs": ROW | {"age": 41.7}}),
    _split("a whole number beyond 64 bits: -2^63", [[3.5, 2**63, 12.25]]),
    _split("a large fraction as a whole number: -2^63", [[3.5, 1e30, 12.25]]),
    _split("one row, two labels: the row twice", [[*ROW.values()]], index=[7, 8]),
    _split("a short row: filled with NaN", [[*ROW.values()], [3.5, 41]]),
    _csv("CSV, a long row: the first value is a label", "visits,age,spend\n7,3.5,41,12.25\n"),
    _csv("CSV, a short row: filled with NaN", "visits,age,spend\n3.5,41\n"),
]
