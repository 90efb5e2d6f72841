"""Checkpoints as commits of a ref of their own, in the project's git repository.

Neither branches nor the work tree nor the index are touched; `git log refs/penstock/ledger -p`
shows all. A remote that refuses forced pushes keeps them from being rewritten.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from penstock.audit.notes import Checkpoint
from penstock.audit.verification import Told
from penstock.errors import IntegrityError, ResourceError

REF = "refs/penstock/ledger"
FILE = "checkpoint"
TRIES = 5  # of those who add a commit at the same time
PATIENCE = 60  # seconds, for a remote
# The commits are Penstock's, whoever runs it; a machine without a git identity can make them too.
IDENTITY = {
    f"GIT_{role}_{part}": value
    for role in ("AUTHOR", "COMMITTER")
    for part, value in (("NAME", "penstock"), ("EMAIL", "penstock@localhost"))
}


@dataclass(frozen=True)
class GitAnchor:
    root: Path
    remote: str = ""  # name of a remote that the ref is pushed to, and compared with

    @property
    def place(self) -> str:
        return f"git:{self.remote}" if self.remote else "git"

    def keep(self, checkpoint: Checkpoint, note: str) -> bool:
        """As `Anchor.keep`."""
        added = False
        for _ in range(TRIES):
            tip = self._tip(REF)
            if tip and self._git("show", f"{tip}:{FILE}", strip=False) == note:
                break
            if self._commit(tip, checkpoint, note):
                added = True
                break
        else:
            raise ResourceError(f"{REF} is written by others all the time", hint="try again")
        if self.remote:
            self._git("push", "--quiet", self.remote, f"{REF}:{REF}")
        return added

    def notes(self) -> list[Told]:
        """As `Anchor.notes`: what this repository keeps, and the remote."""
        refs = [REF]
        if self.remote:
            fetched = f"refs/penstock/remotes/{self.remote}/ledger"
            self._git("fetch", "--quiet", self.remote, f"+{REF}:{fetched}")
            refs.append(fetched)
        found: dict[str, Told] = {}
        for ref in refs:
            if self._tip(ref):
                for commit in self._git("rev-list", "--reverse", ref).split():
                    note = self._git("show", f"{commit}:{FILE}", strip=False)
                    found.setdefault(note, Told(f"anchor {self.place}, commit {commit[:10]}", note))
        return list(found.values())

    def _tip(self, ref: str) -> str:
        return self._git("for-each-ref", "--format=%(objectname)", ref)

    def _commit(self, tip: str, checkpoint: Checkpoint, note: str) -> bool:
        """False where another one has moved the ref meanwhile."""
        blob = self._git("hash-object", "-w", "--stdin", given=note)
        tree = self._git("mktree", given=f"100644 blob {blob}\t{FILE}\n")
        message = f"{checkpoint.origin}: {checkpoint.size} entries"
        parents = ["-p", tip] if tip else []
        commit = self._git("commit-tree", tree, *parents, "-m", message)
        try:
            self._git("update-ref", REF, commit, tip or "0" * len(commit))
        except IntegrityError:
            return False
        return True

    def _git(self, *arguments: str, given: str = "", strip: bool = True) -> str:
        if not shutil.which("git"):
            raise ResourceError("git is not installed", hint="install it, or name another anchor")
        try:
            done = subprocess.run(
                ["git", *arguments],
                cwd=self.root,
                input=given.encode(),
                capture_output=True,
                timeout=PATIENCE,
                env={**os.environ, **IDENTITY, "GIT_TERMINAL_PROMPT": "0"},
            )
        except subprocess.TimeoutExpired as error:
            raise ResourceError(f"git {arguments[0]} did not end in {PATIENCE} s") from error
        told = done.stdout.decode(errors="replace")
        if done.returncode:
            why = done.stderr.decode(errors="replace").strip() or told.strip()
            if arguments[0] == "update-ref" and "cannot lock ref" in why:
                raise IntegrityError(why)
            raise ResourceError(
                f"git {arguments[0]}: {why.splitlines()[-1] if why else 'failed'}",
                hint="the anchor `git` needs the project to be in a git repository",
            )
        return told.strip() if strip else told
