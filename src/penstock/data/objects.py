"""The objects of DVC's cache behind tracked files and folders, and whether they are still sound.

DVC trusts a write-protected object without reading it, so a bit that flipped on disk would be
pushed, pulled and checked out. Here every object is read before its bytes go anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.data.repository import shown
from penstock.errors import DataError, IntegrityError, ProjectError

Progress = Callable[..., None]  # progress("reading", 0.25)
THREADS = 4  # hashing releases the interpreter's lock; more would only compete for the disk
NAMED = 5  # damaged objects that a message names


@dataclass(frozen=True)
class Object:
    """One object: the bytes of a file, or the list of a folder's files."""

    name: str  # its MD5, ending in .dir for a folder's list
    hash_name: str  # md5, or md5-dos2unix in repositories of DVC 2
    of: str  # the tracked path that it belongs to
    place: Path  # where the cache keeps it

    def __str__(self) -> str:
        return f"{self.of} (object {self.name[:2]}/{self.name[2:]})"


def selected(repo: Any, root: Path, paths: Sequence[str] = ()) -> list[Any]:
    """The tracked outputs at these paths, or below them; all of them where none is given.

    Raises `ProjectError` for a path that DVC does not track.
    """
    local = (o for o in repo.index.outs if o.use_cache and o.protocol == "local" and o.is_in_repo)
    outs = [out for out in local if out.fs.isin_or_eq(out.fs_path, str(root))]
    if not paths:
        return outs
    found: dict[str, Any] = {}
    for path in paths:
        full = str(Path(path).resolve()).removesuffix(".dvc")
        matching = [
            o for o in outs if o.fs.isin_or_eq(o.fs_path, full) or o.fs.isin_or_eq(full, o.fs_path)
        ]
        if not matching:
            known = ", ".join(shown(root, out.fs_path) for out in outs) or "nothing"
            raise ProjectError(
                f"DVC does not track {path}", hint=f"it tracks {known}; `penstock data add` adds"
            )
        found |= {out.fs_path: out for out in matching}
    return list(found.values())


def objects_of(outs: Iterable[Any], root: Path) -> list[Object]:
    """All objects behind these outputs; of a folder whose list the cache lacks, only the list."""
    found: dict[tuple[str, str], Object] = {}
    for out in outs:
        if not out.hash_info:
            continue
        where = shown(root, out.fs_path)
        for obj in objects_behind(out.cache, out.hash_info, where):
            found.setdefault((obj.hash_name, obj.name), obj)
    return list(found.values())


def objects_behind(cache: Any, hash_info: Any, where: str) -> list[Object]:
    """A file's object; or a folder's list, and with it its files' objects where it is at hand."""
    own = _object(cache, hash_info, where)
    if not hash_info.isdir:
        return [own]
    tree = tree_of(cache, hash_info)
    entries = [] if tree is None else [(key, oid) for key, _, oid in tree]
    return [own, *(_object(cache, oid, "/".join((where, *key))) for key, oid in entries)]


def tree_of(cache: Any, hash_info: Any) -> Any | None:
    """The list of a folder's files; None where the cache has none that can be read."""
    from dvc_data.hashfile.tree import Tree
    from dvc_objects.errors import ObjectFormatError

    try:
        return Tree.load(cache, hash_info)
    except (FileNotFoundError, ObjectFormatError, UnicodeDecodeError):
        return None


def damaged(objects: Sequence[Object], progress: Progress) -> list[Object]:
    """Those that lie in the cache and are not the bytes that their name says. Reads all of them."""
    present = [obj for obj in objects if obj.place.is_file()]
    found = []
    with ThreadPoolExecutor(THREADS) as pool:
        for done, sound in enumerate(pool.map(_is_sound, present), 1):
            progress(f"reading the cache ({len(present):,} objects)", done / len(present))
            if not sound:
                found.append(present[done - 1])
    return found


def require_sound(objects: Sequence[Object], progress: Progress, hint: str) -> None:
    """Raises `IntegrityError` with the names of all that are damaged."""
    broken = damaged(objects, progress)
    if broken:
        raise IntegrityError(f"{said(broken)}: not the bytes that were stored", hint=hint)


def require_present(objects: Iterable[Object], hint: str) -> None:
    missing = [obj for obj in objects if not obj.place.is_file()]
    if missing:
        raise DataError(f"the cache lacks {said(missing)}", hint=hint)


def said(objects: Sequence[Object]) -> str:
    more = f" and {len(objects) - NAMED:,} more" if len(objects) > NAMED else ""
    return ", ".join(str(obj) for obj in objects[:NAMED]) + more


def _object(cache: Any, hash_info: Any, where: str) -> Object:
    place = Path(cache.oid_to_path(hash_info.value))
    return Object(str(hash_info.value), str(hash_info.name), where, place)


def _is_sound(obj: Object) -> bool:
    from dvc_data.hashfile.hash import fobj_md5

    with obj.place.open("rb") as stream:
        return bool(fobj_md5(stream, name=obj.hash_name) == obj.name.removesuffix(".dir"))
