"""What a dataset looks like, column by column, measured by DuckDB in two passes over the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from penstock.validation.parquet import read_schema

if TYPE_CHECKING:
    import duckdb

MOST_VALUES = {"text": 30, "integer": 5}  # distinct ones, to be listed rather than counted
QUANTILES = (0.001, 0.25, 0.75, 0.999)
Kind = Literal["integer", "float", "text", "other"]


@dataclass(frozen=True)
class Numbers:
    """The distribution of a numeric column, over its values that are neither null nor NaN."""

    minimum: float
    maximum: float
    mean: float
    quantiles: tuple[float, float, float, float]  # at QUANTILES


@dataclass(frozen=True)
class ColumnProfile:
    name: str
    kind: Kind
    batch_type: str  # as Great Expectations sees it in a pandas batch; empty: it cannot say
    rows: int
    present: int  # neither null nor NaN, which pandas does not tell apart
    unique: bool  # no value twice; looked at for integers and texts alone
    values: tuple[Any, ...] = ()  # all that occur, sorted, where they are few
    numbers: Numbers | None = None


@dataclass(frozen=True)
class _Source:
    """A column of the file, and the SQL expression for its value."""

    name: str
    sql_name: str  # DuckDB's: it tells no `a` from `A`, and renames the second
    kind: Kind
    arrow_type: Any

    @property
    def value(self) -> str:
        """NaN is null here. It is looked for with `isnan`: comparisons with NaN are wrong in
        DuckDB 2.0 on files whose statistics, as Parquet wants it, leave NaN out (duckdb#25521)."""
        column = '"' + self.sql_name.replace('"', '""') + '"'
        return (
            f"CASE WHEN NOT isnan({column}) THEN {column} END" if self.kind == "float" else column
        )


def profile(parquet: Path) -> tuple[ColumnProfile, ...]:
    """The columns of a Parquet file in order. Raises `DataError` if it cannot be read."""
    import duckdb

    schema = read_schema(parquet)
    with duckdb.connect() as connection:
        relation = connection.read_parquet(str(parquet))
        sources = [
            _Source(field.name, sql_name, _kind(field.type), field.type)
            for field, sql_name in zip(schema, relation.columns, strict=True)
        ]
        first = _measure(relation, _first_pass(sources))
        second = _measure(relation, _second_pass(sources, first))
    return tuple(_column(source, {**first, **second}) for source in sources)


Terms = dict[tuple[str, str], str]  # (column, statistic) -> SQL
Measured = dict[tuple[str, str], Any]


def _measure(relation: duckdb.DuckDBPyRelation, terms: Terms) -> Measured:
    if not terms:
        return {}
    row = relation.aggregate(", ".join(terms.values())).fetchall()[0]
    return dict(zip(terms, row, strict=True))


def _first_pass(sources: Sequence[_Source]) -> Terms:
    terms = {("", "rows"): "count(*)"}
    for source in sources:
        name, value = source.name, source.value
        terms[name, "present"] = f"count({value})"
        if source.kind in ("integer", "text"):
            terms[name, "distinct"] = f"approx_count_distinct({value})"
        if source.kind in ("integer", "float"):
            terms |= {(name, what): f"{what}({value})" for what in ("min", "max", "avg")}
            terms[name, "quantiles"] = f"quantile_cont({value}, {list(QUANTILES)})"
    return terms


def _second_pass(sources: Sequence[_Source], first: Measured) -> Terms:
    """Exact answers where the first pass' approximate ones, wrong by some percent, allow them."""
    terms: Terms = {}
    for source in sources:
        name, value = source.name, source.value
        distinct, present = first.get((name, "distinct")), first[name, "present"]
        if distinct is None or not present:
            continue
        if distinct <= 2 * MOST_VALUES[source.kind]:
            terms[name, "values"] = f"list_sort(list(DISTINCT {value}))"
        if distinct >= 0.8 * present:
            terms[name, "exact"] = f"count(DISTINCT {value})"
    return terms


def _column(source: _Source, measured: Measured) -> ColumnProfile:
    def get(what: str) -> Any:
        return measured.get((source.name, what))

    present = get("present")
    values = [value for value in get("values") or () if value is not None]
    return ColumnProfile(
        name=source.name,
        kind=source.kind,
        batch_type=_batch_type(source.arrow_type, has_nulls=present < measured["", "rows"]),
        rows=measured["", "rows"],
        present=present,
        unique=get("exact") == present,
        values=tuple(values) if len(values) <= MOST_VALUES.get(source.kind, 0) else (),
        numbers=None
        if get("min") is None
        else Numbers(get("min"), get("max"), get("avg"), tuple(get("quantiles"))),
    )


def _kind(arrow_type: Any) -> Kind:
    from pyarrow import types

    if types.is_dictionary(arrow_type):
        return "text" if _is_text(arrow_type.value_type) else "other"
    if types.is_integer(arrow_type):
        return "integer"
    if types.is_floating(arrow_type):
        return "float"
    return "text" if _is_text(arrow_type) else "other"


def _is_text(arrow_type: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(arrow_type) or types.is_large_string(arrow_type))


def _batch_type(arrow_type: Any, *, has_nulls: bool) -> str:
    """The name under which `expect_column_values_to_be_of_type` knows the column.

    Integers with nulls become float64 in pandas. Great Expectations 1.24.1 has no name for
    categories, and knows timestamps with a time zone as `Timestamp` (never in a `type_list`).
    """
    from pyarrow import types

    if types.is_integer(arrow_type) or types.is_floating(arrow_type):
        return "float64" if has_nulls and types.is_integer(arrow_type) else _numpy_name(arrow_type)
    if types.is_timestamp(arrow_type):
        return "Timestamp" if arrow_type.tz else f"datetime64[{arrow_type.unit}]"
    if _is_text(arrow_type):
        return "str"
    if types.is_boolean(arrow_type):
        return "bool"
    return "date" if types.is_date(arrow_type) else ""


def _numpy_name(arrow_type: Any) -> str:
    return str(arrow_type.to_pandas_dtype().__name__)
