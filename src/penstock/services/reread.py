"""A project whose settings are edited while its services run: the last ones that could be read."""

from __future__ import annotations

from pathlib import Path

from penstock.errors import PenstockError
from penstock.project import SETTINGS_FILE, Project, open_project
from penstock.services.cron import schedule_of


class Reread:
    """Opens a project again when its penstock.toml has changed."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.trouble = ""  # why what stands there now cannot be read; the project is as before
        self._file = project.root / SETTINGS_FILE
        self._seen = _stamp(self._file)

    def look(self) -> bool:
        """Whether there is news: another project, or another trouble."""
        stamp = _stamp(self._file)
        if stamp == self._seen:
            return False
        self._seen, before = stamp, (self.project.settings, self.trouble)
        try:
            found = open_project(self.project.root, self.project.environment)
            schedule_of(found.settings.pipeline)
            self.project, self.trouble = found, ""
        except PenstockError as error:
            self.trouble = error.message
        except OSError as error:
            self.trouble = str(error)
        return (self.project.settings, self.trouble) != before


def _stamp(file: Path) -> tuple[int, ...]:
    """Another one for another file; empty where there is none."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
