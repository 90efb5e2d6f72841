"""Reads a project's Python as text: its custom steps, and which code a function rests on.

Nothing is imported, so that a plan, a cache look-up or a DAG costs no heavy import.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import ProjectError

Function = ast.FunctionDef | ast.AsyncFunctionDef
WRITTEN = ("extract", "train")  # what a project's pipeline.py has at least


@dataclass(frozen=True)
class CustomStep:
    name: str
    line: int
    after: str
    before: str
    takes: tuple[str, ...]  # record kinds, from the annotations of its parameters
    gives: str  # record kind, from its return annotation
    over: str = ""  # the list in params.yaml that it runs once an item of


def custom_steps(file: Path) -> tuple[CustomStep, ...]:
    """The functions marked with `@step`, in the order of the file."""
    if not file.is_file():
        return ()
    functions = (node for node in _parse(file).body if isinstance(node, Function))
    return tuple(
        _custom_step(function, mark, file)
        for function in functions
        for mark in function.decorator_list
        if _is_step(mark)
    )


def defines(file: Path, name: str) -> bool:
    """Whether a file has a top-level function or other definition of that name."""
    return file.is_file() and name in _definitions(_parse(file))


def unwritten(file: Path) -> tuple[str, ...]:
    """Those functions that every project has, and this pipeline.py does not define."""
    return tuple(name for name in WRITTEN if not defines(file, name))


def imported_modules(file: Path) -> tuple[str, ...]:
    """The modules that a file imports at its top level, but for those that lie beside it."""
    if not file.is_file():
        return ()
    found: dict[str, None] = {}
    for node in _parse(file).body:
        if isinstance(node, ast.Import):
            found |= dict.fromkeys(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found[node.module] = None
    beside = {path.stem for path in file.parent.iterdir()}
    return tuple(name for name in found if name.partition(".")[0] not in beside)


def code_digests(root: Path, code: str) -> dict[str, str]:
    """Digests of what `file.py:function`, or all of `file.py`, rests on within the project.

    Of the file itself, the function and whatever definitions it uses; of other local modules that
    are imported, all. Comments and layout do not count.
    """
    name, _, function = code.partition(":")
    file = root / name
    if not file.is_file():
        return {}
    tree = _parse(file)
    nodes = _reachable(tree, function) if function else tree.body
    if function and not nodes:
        return {}
    found = {f"code {code}": _digest(nodes)}
    pending, seen = list(_local_modules(nodes, file, root)), set[Path]()
    while pending:
        module = pending.pop()
        if module not in seen:
            seen.add(module)
            body = _parse(module).body
            found[f"code {module.relative_to(root).as_posix()}"] = _digest(body)
            pending.extend(_local_modules(body, module, root))
    return found


def _parse(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes(), filename=str(file))
    except SyntaxError as error:
        raise ProjectError(
            f"{file}:{error.lineno or 1}: not valid Python: {error.msg}", hint="correct the line"
        ) from None


def _is_step(mark: ast.expr) -> bool:
    called = mark.func if isinstance(mark, ast.Call) else mark
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name == "step"


def _custom_step(function: Function, mark: ast.expr, file: Path) -> CustomStep:
    where = f"{file}:{function.lineno}"
    places = _places(function.name, mark, where)
    takes = tuple(_taken(function, where))
    gives = _kind(function.returns) if function.returns is not None else ""
    if places["map"] and gives:
        raise ProjectError(
            f"{where}: step {function.name!r} runs once an item, and cannot give a {gives}",
            hint="return nothing, and write what it finds to a file or a table",
        )
    return CustomStep(
        function.name,
        function.lineno,
        places["after"],
        places["before"],
        takes,
        gives,
        places["map"],
    )


def _places(name: str, mark: ast.expr, where: str) -> dict[str, str]:
    places = {"after": "", "before": "", "map": ""}
    for keyword in mark.keywords if isinstance(mark, ast.Call) else ():
        value = getattr(keyword.value, "value", None)
        if keyword.arg not in places or not isinstance(value, str):
            raise ProjectError(
                f"{where}: @step of {name!r} takes only after=, before= and map=, plain strings",
                hint='write @step(after="validate_data")',
            )
        places[keyword.arg] = value
    if not (places["after"] or places["before"]):
        raise ProjectError(
            f"{where}: @step of {name!r} does not say where it belongs",
            hint='write @step(after="validate_data"), or before="train_model"',
        )
    return places


def _taken(function: Function, where: str) -> Iterator[str]:
    """The kinds of record that the step is called with, one after the other behind the context."""
    given, name = function.args, function.name
    first, *parameters = (p.arg for p in given.args) if given.args else ("",)
    if isinstance(function, ast.AsyncFunctionDef) or first != "context" or _others(given):
        raise ProjectError(
            f"{where}: step {name!r} cannot be called as step(context, record, …)",
            hint=f"write def {name}(context, dataset: DatasetVersion), without async, * or **",
        )
    kinds = [_kind(p.annotation) if p.annotation else "" for p in given.args[1:]]
    for parameter, kind in zip(parameters, kinds, strict=True):
        if not kind or kinds.count(kind) > 1:
            fault = f"takes a second {kind}" if kind else "has no annotation"
            raise ProjectError(
                f"{where}: parameter {parameter!r} of step {name!r} {fault}",
                hint="annotate it with the record it takes, such as dataset: DatasetVersion",
            )
        yield kind


def _others(given: ast.arguments) -> bool:
    return bool(given.posonlyargs or given.vararg or given.kwonlyargs or given.kwarg)


def _kind(annotation: ast.expr) -> str:
    if isinstance(annotation, ast.Constant):
        text = str(annotation.value or "")
    else:
        text = ast.unparse(annotation)
    return "" if text == "None" else text.rpartition(".")[2]


def _definitions(tree: ast.Module) -> dict[str, list[ast.stmt]]:
    found: dict[str, list[ast.stmt]] = {}
    for node in tree.body:
        for name in _names_defined(node):
            found.setdefault(name, []).append(node)
    return found


def _names_defined(node: ast.stmt) -> Iterator[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            found = (alias.asname or alias.name.partition(".")[0] for alias in names)
            yield from (name for name in found if name != "*")  # which may define anything
        case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))


def _reachable(tree: ast.Module, name: str) -> list[ast.stmt]:
    """The statements that `name` rests on, in order; bare top-level statements always count."""
    definitions = _definitions(tree)
    if name not in definitions:
        return []
    anonymous = [n for n in tree.body if not list(_names_defined(n)) and not _is_docstring(n)]
    pending, chosen = [*definitions[name], *anonymous], set[int]()
    while pending:
        node = pending.pop()
        if id(node) not in chosen:
            chosen.add(id(node))
            used = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            pending.extend(d for use in used for d in definitions.get(use, ()))
    return [node for node in tree.body if id(node) in chosen]


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _local_modules(nodes: list[ast.stmt], file: Path, root: Path) -> Iterator[Path]:
    """The files that `nodes` of `file` import: modules, and the packages that hold them."""
    for node in (inner for outer in nodes for inner in ast.walk(outer)):
        names: list[str] = []
        base = root
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = file.parents[node.level - 1] if node.level else root
            names = [f"{node.module or ''}.{alias.name}".strip(".") for alias in node.names]
        for path in {base.joinpath(*parts) for name in names for parts in _beginnings(name)}:
            files = (path.with_suffix(".py"), path / "__init__.py")
            yield from (f for f in files if f.is_file() and root in f.parents)


def _beginnings(dotted: str) -> Iterator[list[str]]:
    """a.b.c -> a, a.b, a.b.c: importing a module runs the packages above it."""
    parts = dotted.split(".")
    return (parts[: length + 1] for length in range(len(parts)))


def _digest(nodes: list[ast.stmt]) -> str:
    text = "\n".join(ast.dump(node) for node in nodes)
    return hashlib.sha256(text.encode()).hexdigest()
