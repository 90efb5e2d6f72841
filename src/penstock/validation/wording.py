"""What was expected and what was found, in words a reader of a report understands.

Pure functions over an expectation's arguments and the result that Great Expectations gives:
https://docs.greatexpectations.io/docs/core/trigger_actions_based_on_results/choose_a_result_format
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from numbers import Integral, Real
from typing import Any

LONGEST_LIST = 12
LONGEST_TEXT = 60

# Where the words of the type and its arguments would not read well.
EXPECTED = {
    "expect_column_values_to_not_be_null": "no nulls",
    "expect_column_values_to_be_unique": "no duplicates",
    "expect_compound_columns_to_be_unique": "no duplicates",
    "expect_column_to_exist": "the column exists",
}
PHRASES = {
    "value_set": "one of {}",
    "type_": "type {}",
    "type_list": "type {}",
    "column_set": "exactly the columns {}",
    "column_list": "the columns {} in this order",
    "regex": "matching {}",
    "like_pattern": "like {}",
    "strftime_format": "times written {}",
    "value": "exactly {}",
    "sum_total": "a sum of {}",
}
BY_TYPE = {
    ("expect_column_distinct_values_to_contain_set", "value_set"): "all of {}",
    ("expect_column_distinct_values_to_equal_set", "value_set"): "exactly {}",
}
UNEXPECTED = {
    "expect_column_values_to_not_be_null": "null",
    "expect_column_values_to_be_null": "not null",
    "expect_column_values_to_be_unique": "duplicated",
    "expect_compound_columns_to_be_unique": "duplicated",
}
COLUMN_ARGUMENTS = ("column", "column_A", "column_B")
BOUNDS = ("min_value", "max_value", "strict_min", "strict_max")
QUALIFIERS = ("mostly", "row_condition", "condition_parser", "exact_match")


def columns_of(kind: str, kwargs: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns whose values an expectation judges; none where it judges the table."""
    if kind.startswith("expect_table_"):
        return ()
    named = [kwargs[name] for name in COLUMN_ARGUMENTS if name in kwargs]
    return tuple(map(str, [*named, *kwargs.get("column_list", ())]))


def title(kind: str, kwargs: Mapping[str, Any]) -> str:
    """`expect_column_values_to_be_unique(event_id)`"""
    columns = columns_of(kind, kwargs)
    return f"{kind}({', '.join(columns)})" if columns else kind


def expected(kind: str, kwargs: Mapping[str, Any]) -> str:
    """ "between 0 and 500, at most 1 % unexpected" """
    stated = {name: value for name, value in kwargs.items() if value is not None}
    allowed = _allowed(kind, stated.get("mostly"))
    if kind in EXPECTED:
        phrases = [allowed or EXPECTED[kind]]
    else:
        phrases = [*_phrases(kind, stated), *([allowed] if allowed else [])]
    if "row_condition" in stated:
        phrases.append(f"where {_condition(stated['row_condition'])}")
    return ", ".join(phrases)


def _condition(condition: Any) -> str:
    """GX 1.24 writes a condition as text or as {"column": {"name": …}, "operator", "parameter"}."""
    if not isinstance(condition, Mapping) or "operator" not in condition:
        return str(condition)
    parameter = condition.get("parameter")
    compared = "" if parameter is None else f" {show(parameter)}"
    return f"{condition['column']['name']} {condition['operator']}{compared}"


def _allowed(kind: str, mostly: Any) -> str:
    """ "at most 1 % unexpected" for `mostly` 0.99; empty where all rows must do."""
    share = round(100 * (1 - float(mostly)), 4) if isinstance(mostly, Real) else 0
    if share <= 0:
        return ""
    return f"at most {share:g} % {UNEXPECTED.get(kind, 'unexpected')}"


def _phrases(kind: str, stated: Mapping[str, Any]) -> list[str]:
    phrases = [_bounds(stated)] if any(name in stated for name in BOUNDS[:2]) else []
    subject = (*COLUMN_ARGUMENTS, "column_list") if columns_of(kind, stated) else ()
    exact = stated.get("exact_match", True)
    phrases += [
        _phrase(kind, name, value, exact=exact)
        for name, value in stated.items()
        if name not in (*BOUNDS, *QUALIFIERS, *subject)
    ]
    return phrases or [_words_of(kind)]


def _phrase(kind: str, name: str, value: Any, *, exact: bool) -> str:
    if value is True and name in ("or_equal", "double_sided"):
        return f"{_words_of(kind)} {name.replace('_', ' ')}" if name == "or_equal" else "both sides"
    fallback = name.replace("_", " ") + " {}"
    phrase = BY_TYPE.get((kind, name)) or PHRASES.get(name, fallback)
    negation = "not " if "_to_not_" in kind else ""
    text = negation + phrase.format(_argument(name, value))
    return text if exact else text.replace("exactly", "at least")


def _argument(name: str, value: Any) -> str:
    if name in ("type_", "regex", "strftime_format", "like_pattern"):
        return str(value)
    if name == "type_list":
        return " or ".join(map(str, value))
    if name in ("column_set", "column_list"):
        return listing(value)
    if name == "quantile_ranges":
        pairs = zip(value["quantiles"], value["value_ranges"], strict=True)
        return ", ".join(
            f"{share:g} from {show(low)} to {show(high)}" for share, (low, high) in pairs
        )
    if name == "partition_object" and "values" in value:
        pairs = zip(value["values"], value["weights"], strict=True)
        return ", ".join(f"{show(item)} {100 * weight:.4g} %" for item, weight in pairs)
    return show(value)


def _bounds(stated: Mapping[str, Any]) -> str:
    low, high = stated.get("min_value"), stated.get("max_value")
    more = "more than" if stated.get("strict_min") else "at least"
    less = "less than" if stated.get("strict_max") else "at most"
    if low is None:
        return f"{less} {show(high)}"
    if high is None:
        return f"{more} {show(low)}"
    if "than" in more + less:
        return f"{more} {show(low)} and {less} {show(high)}"
    return f"between {show(low)} and {show(high)}"


def _words_of(kind: str) -> str:
    """ "expect_column_values_to_be_increasing" -> "be increasing" """
    return re.sub(r"^expect_.*?_to_|_expectation$", "", kind).replace("_", " ")


def observed(kind: str, result: Mapping[str, Any]) -> str:
    """ "1,203 of 69,659 rows null (1.7 %)", or the value that was measured."""
    if "element_count" in result:
        return _rows(kind, result)
    if not result:
        return EXPECTED.get(kind, "")  # a column that is to exist, and does
    mismatched = result.get("details", {}).get("mismatched")
    if isinstance(mismatched, Mapping):  # of a set of columns
        return "; ".join(f"{what} {listing(names)}" for what, names in mismatched.items())
    value = result.get("observed_value")
    if value is None and result.get("partial_unexpected_list"):
        return f"also {show(result['partial_unexpected_list'])}"
    if isinstance(value, Mapping) and "quantiles" in value:
        pairs = zip(value["quantiles"], value["values"], strict=True)
        return ", ".join(f"{share:.4g} quantile {show(at)}" for share, at in pairs)
    if kind.startswith("expect_table_columns"):
        return f"the columns {listing(value or ())}"
    return value if isinstance(value, str) else show(value)


def _rows(kind: str, result: Mapping[str, Any]) -> str:
    unexpected, missing = result.get("unexpected_count") or 0, result.get("missing_count") or 0
    judged = result["element_count"] - missing
    rows = "non-null rows" if missing else "rows"
    word = UNEXPECTED.get(kind, "unexpected")
    if not unexpected:
        return f"none of {judged:,} {rows} {word}"
    return f"{unexpected:,} of {judged:,} {rows} {word} ({percent(unexpected, judged)})"


def percent(part: int, whole: int) -> str:
    """To one decimal, yet never 0 % for some and never 100 % for not all."""
    share = 100 * part / whole
    if 0 < share < 0.05:
        return "under 0.1 %"
    if 99.95 <= share < 100:
        return "over 99.9 %"
    return f"{share:.1f} %"


def show(value: Any) -> str:
    """A value as it should stand in a sentence."""
    if value is None or (not isinstance(value, (list, tuple, set, dict)) and value != value):
        return "null"  # NaN and NaT differ from themselves
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        number = float(value)
        return f"{number:.10g}" if abs(number) >= 1000 else f"{number:.6g}"
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, (list, tuple, set)):
        return listing(map(show, value))
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def listing(names: Iterable[Any]) -> str:
    """Names with commas, the rest counted: "a, b and 180 more"."""
    words = list(map(str, names))
    if len(words) <= LONGEST_LIST:
        return ", ".join(words)
    return f"{', '.join(words[:LONGEST_LIST])} and {len(words) - LONGEST_LIST} more"
