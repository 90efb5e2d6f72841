"""`penstock audit verify|proof|checkpoint|anchor|export|key`."""

from __future__ import annotations

import argparse
import base64
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.cli.opening import project_of
from penstock.cli.output import MARKS, print_json
from penstock.cli.recording import recorded
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.audit.notes import VerifyingKey
    from penstock.audit.verification import Report

MOST = 20  # findings that are printed


def verify_ledger(options: argparse.Namespace) -> int:
    from penstock.audit.anchors import anchors_of, told_by
    from penstock.audit.verification import Told, verify
    from penstock.state.database import open_database

    if options.bundle:
        return _verify_bundle(options)
    project = project_of(options)
    keys = _keys(options)
    engine = open_database(project)
    reached = told_by(anchors_of(project))
    kept = [Told(name, _read(Path(name))) for name in options.note]
    report = verify(
        engine, keys, told=[*reached.notes, *kept], incremental=options.since_checkpoint
    )
    away = [{"anchor": place, "reason": why} for place, why in reached.away]
    if options.json:
        print_json({**_as_dict(report), "anchors_away": away})
        return int(not report.holds)
    _print(report)
    for one in away:
        print(f"not compared with the anchor {one['anchor']}: {one['reason']}")
    if report.holds and report.unsigned:
        print(f"{report.unsigned:,} entries are not signed yet: penstock audit checkpoint")
    return int(not report.holds)


def _verify_bundle(options: argparse.Namespace) -> int:
    from penstock.audit.bundle import KEY, verify_bundle
    from penstock.audit.signing_keys import read_keys

    if not options.key:
        raise UsageError(
            "a bundle proves nothing with the key that lies in it",
            hint=f"name the public key that you trust with --key FILE; the bundle's is {KEY}",
        )
    if Path(options.bundle).is_file():
        return _verify_evidence(options)
    report = verify_bundle(Path(options.bundle), read_keys(Path(options.key)))
    if options.json:
        print_json(_as_dict(report))
    else:
        _print(report)
    return int(not report.holds)


def _verify_evidence(options: argparse.Namespace) -> int:
    """An archive of `penstock compliance bundle`, by the verifier that lies in each."""
    from penstock.compliance.verify_bundle import verify

    wrong, seen = verify(Path(options.bundle).read_bytes(), _read(Path(options.key)))
    if options.json:
        print_json({"holds": not wrong, "findings": wrong, "seen": seen})
    else:
        mark = MARKS["failed" if wrong else "succeeded"]
        print("\n".join(f"{mark} {line}" for line in wrong or seen))
    return int(bool(wrong))


def proof(options: argparse.Namespace) -> int:
    from penstock.audit.checkpoints import prove, prove_consistency
    from penstock.audit.selection import entry_named
    from penstock.audit.signing_keys import LedgerKeys
    from penstock.audit.tree import StoredTree
    from penstock.state.database import open_database

    project = project_of(options)
    engine = open_database(project)
    if (options.entry is None) == (options.size1 is None):
        raise UsageError("an entry, or --from N, is expected: one of them")
    told: dict[str, Any]
    if options.entry is not None:
        made = prove(
            engine, entry_named(engine, options.entry).sequence, LedgerKeys.of(project).trusted()
        )
        told = {
            "sequence": made.sequence,
            "entry": made.entry.decode(),
            "size": made.size,
            "root": _base64(made.root),
            "hashes": [_base64(one) for one in made.hashes],
            "checkpoint": made.note,
        }
    else:
        with engine.connect() as connection:
            size2 = options.size2 or StoredTree(connection).size()
        hashes = prove_consistency(engine, options.size1, size2)
        told = {"size1": options.size1, "size2": size2, "hashes": [_base64(one) for one in hashes]}
    if options.json:
        print_json(told)
        return 0
    for name, value in told.items():
        print(f"{name}:" if isinstance(value, list) else f"{name}: {value}")
        for one in value if isinstance(value, list) else ():
            print(f"  {one}")
    return 0


def checkpoint(options: argparse.Namespace) -> int:
    from penstock.audit.checkpoints import sign_checkpoint
    from penstock.audit.signing_keys import LedgerKeys
    from penstock.state.database import open_database

    project = project_of(options)
    keys = LedgerKeys.of(project)
    signed = sign_checkpoint(open_database(project), keys.signing_key(), keys.trusted())
    if options.json:
        print_json(_checkpoint(signed.checkpoint, signed.note))
    else:
        print(signed.note, end="")
    return 0


def anchor(options: argparse.Namespace) -> int:
    from penstock.audit.anchors import anchor_at
    from penstock.audit.checkpoints import sign_checkpoint
    from penstock.audit.signing_keys import LedgerKeys
    from penstock.state.database import open_database

    project = project_of(options)
    places = options.to or project.settings.audit.anchors
    if not places:
        raise UsageError(
            "no anchor is named", hint="name some in [audit] anchors, or one with --to PLACE"
        )
    anchors = [anchor_at(project, place) for place in places]
    keys = LedgerKeys.of(project)
    signed = sign_checkpoint(open_database(project), keys.signing_key(), keys.trusted())
    kept = {one.place: one.keep(signed.checkpoint, signed.note) for one in anchors}
    if options.json:
        print_json({**_checkpoint(signed.checkpoint, signed.note), "anchors": kept})
        return 0
    for place, new in kept.items():
        told = "now keeps" if new else "keeps already"
        print(f"{place} {told} the checkpoint over {signed.checkpoint.size:,} entries")
    return 0


def export_bundle(options: argparse.Namespace) -> int:
    from penstock.audit.bundle import export
    from penstock.audit.checkpoints import latest_checkpoint
    from penstock.audit.selection import Selection, numbers_of
    from penstock.audit.signing_keys import LedgerKeys
    from penstock.cli.audit import selection_of
    from penstock.state.database import open_database

    project = project_of(options)
    engine, keys = open_database(project), LedgerKeys.of(project).trusted()
    signed = latest_checkpoint(engine, keys)
    if signed is None:
        raise UsageError("nothing was signed yet", hint="penstock audit checkpoint")
    selection = selection_of(options)
    only = numbers_of(engine, selection) if selection != Selection() else None
    made = export(engine, Path(options.folder), signed, keys, only=only)
    if options.json:
        print_json({**asdict(made), "folder": str(made.folder)})
    else:
        print(f"{made.entries:,} of {made.size:,} entries → {made.folder}")
        print(f"  verify: penstock audit verify --bundle {made.folder} --key FILE")
    return 0


def key(options: argparse.Namespace) -> int:
    from penstock.audit.signing_keys import LedgerKeys, origin_of

    project = project_of(options)
    keys = LedgerKeys.of(project)
    if options.new:
        keys.new(origin_of(project.settings.project.name))
        recorded(project, "audit.key_made", str(keys.trusted()[-1]))
    found = keys.trusted()
    if options.json:
        print_json({"public": [str(one) for one in found], "file": str(keys.public)})
    elif not found:
        print("the ledger has no key yet: penstock audit key --new")
    else:
        print("\n".join(str(one) for one in found))
    return 0


def _keys(options: argparse.Namespace) -> Sequence[VerifyingKey]:
    from penstock.audit.signing_keys import LedgerKeys, read_keys

    if options.key:
        return read_keys(Path(options.key))
    return LedgerKeys.of(project_of(options)).trusted()


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error


def _as_dict(report: Report) -> dict[str, Any]:
    return {**asdict(report), "holds": report.holds, "unsigned": report.unsigned}


def _checkpoint(checkpoint: Any, note: str) -> dict[str, Any]:
    told = {"origin": checkpoint.origin, "size": checkpoint.size}
    return {**told, "root": _base64(checkpoint.root), "note": note}


def _print(report: Report, say: Callable[[str], None] = print) -> None:
    if report.holds:
        beyond = f" after {report.since:,}" if report.since else ""
        say(f"{report.size:,} entries{beyond}: all are as they were written; root {report.root}")
        if report.checkpoints:
            sizes = ", ".join(f"{size:,}" for size in report.checkpoints[-5:])
            say(f"signed checkpoints over {sizes} entries are met")
        if report.erased:
            say(f"what was beside {len(report.erased):,} entries was erased, and they say so")
        return
    say(f"{report.size:,} entries: {len(report.findings):,} things are not as they were written")
    for finding in report.findings[:MOST]:
        say(f"  ✗ {finding.message}")
    if len(report.findings) > MOST:
        say(f"  … and {len(report.findings) - MOST:,} more: --json shows all")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
