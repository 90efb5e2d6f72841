"""The code of a project's function, with what it names of its own module: to carry and to compare.

Feast 0.67 makes an on-demand view's function anew of its text, in a namespace that has nothing of
the module it was written in; so the text must bring along what it needs.
"""

from __future__ import annotations

import ast
import dis
import inspect
import math
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from penstock.errors import ProjectError
from penstock.records import digest_of

PLAIN = (str, bytes, int, float, bool, type(None))


def code_digest(function: Callable[..., Any]) -> str:
    """SHA-256 of a function's text, and of the functions and constants of its module that it names.

    Decorators do not count: an owner may change there. What is imported does not count either.
    """
    return digest_of(_written(function, strict=False))


def standalone(function: Callable[..., Any]) -> str:
    """The text of a function that makes it anywhere: imports, constants and functions before it.

    Raises `ProjectError` when it names something that cannot be written down.
    """
    return _written(function, strict=True)


def place_of(function: Callable[..., Any]) -> str:
    """The function as messages and Feast's registry name it: features.py:function."""
    file = Path(inspect.getsourcefile(function) or "features.py").name
    return f"{file}:{getattr(function, '__name__', 'function')}"


@dataclass(frozen=True)
class _Parts:
    """What a function needs, by the name that it uses."""

    imports: dict[str, str] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)


def _written(function: Callable[..., Any], *, strict: bool) -> str:
    own = _text(function)
    if not isinstance(function, FunctionType) or not own.startswith(("def ", "async def ")):
        return own
    parts = _Parts()
    _gather(function, parts, {function}, strict)
    before = [
        *(line for _, line in sorted(parts.imports.items())),
        *(line for _, line in sorted(parts.constants.items())),
        *parts.functions.values(),
    ]
    return "\n".join(["from __future__ import annotations", *before, own]) if before else own


def _gather(function: FunctionType, parts: _Parts, known: set[FunctionType], strict: bool) -> None:
    for name, value in _named(function):
        if isinstance(value, ModuleType):
            parts.imports[name] = f"import {value.__name__} as {name}"
        elif _is_own(value, function):
            if value not in known:
                known.add(value)
                _gather(value, parts, known, strict)
                parts.functions[value.__qualname__] = _text(value)
            if name != value.__name__:
                parts.functions[f"{name} ="] = f"{name} = {value.__name__}"
        elif _is_plain(value):
            parts.constants[name] = f"{name} = {_plain(value)}"
        elif home := _home(value, function):
            parts.imports[name] = f"from {home} import {value.__qualname__} as {name}"
        elif strict:
            raise ProjectError(
                f"it names {name!r}, a {type(value).__name__}, which cannot travel with it",
                hint="name functions, constants and modules only, or make it inside the function",
            )


def _is_own(value: Any, function: FunctionType) -> bool:
    """A function of the same module as it is written there: what decorates it would be lost."""
    return (
        isinstance(value, FunctionType)
        and value.__module__ == function.__module__
        and not hasattr(value, "__wrapped__")
        and _text(value).startswith(("def ", "async def "))
    )


def _home(value: Any, function: FunctionType) -> str:
    """The module that something can be imported from by its name; empty where there is none."""
    module = getattr(value, "__module__", None)
    name = getattr(value, "__qualname__", "")
    if not module or module == function.__module__ or not name.isidentifier():
        return ""
    return module if getattr(sys.modules.get(module), name, None) is value else ""


def _text(function: Callable[..., Any]) -> str:
    """Without what decorates it; the whole statement around a lambda."""
    text = textwrap.dedent(inspect.getsource(function))
    try:
        first = ast.parse(text).body[0].lineno
    except SyntaxError:  # a lambda in the middle of an expression
        first = 1
    return "\n".join(text.splitlines()[first - 1 :])


def _named(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """The values of its module and of the functions around it that a function names."""
    for name in sorted(_globals(function.__code__) | _in_defaults(function)):
        if name in function.__globals__:
            yield name, function.__globals__[name]
    cells = function.__closure__ or ()
    for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
        yield name, cell.cell_contents


def _globals(code: CodeType) -> set[str]:
    """The names that are looked up in the module; attributes of a frame are none of them."""
    own = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return own.union(*map(_globals, inner))


def _in_defaults(function: FunctionType) -> set[str]:
    """The names in the defaults of arguments, which are looked up where it is written."""
    made = ast.parse(_text(function)).body[0]
    if not isinstance(made, ast.FunctionDef | ast.AsyncFunctionDef):
        return set()
    defaults = [*made.args.defaults, *filter(None, made.args.kw_defaults)]
    return {n.id for value in defaults for n in ast.walk(value) if isinstance(n, ast.Name)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(part) for pair in value.items() for part in pair)
    if type(value) in (list, tuple, set, frozenset):
        return all(map(_is_plain, value))
    return type(value) in PLAIN


def _plain(value: Any) -> str:
    """As Python reads it; sets in an order."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_plain(k)}: {_plain(v)}' for k, v in value.items())}}}"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__}([{', '.join(sorted(map(_plain, value)))}])"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}([{', '.join(map(_plain, value))}])"
    return repr(value)
