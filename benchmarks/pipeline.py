"""`make bench-pipeline`: the pipeline beside a plain script, and what its own frame costs."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from side_by_side import Row, compare, row, timed, write

HERE = Path(__file__).parent
PYTHON = sys.executable
EXAMPLE = HERE.parent / "examples" / "churn"
ENVIRONMENT = {**os.environ, "PENSTOCK_SERVING_PORT": "0"}
STEPS = 40


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        desk = Path(folder)
        rows = [help_text(), *whole_demo(desk), cached_run(desk), empty_steps(desk)]
    write("pipeline", rows)


def help_text() -> Row:
    return compare(
        "penstock --help / python -c pass",
        lambda: timed([str(Path(PYTHON).with_name("penstock")), "--help"]),
        lambda: timed([PYTHON, "-c", "pass"]),
        aim=4.0,
        pairs=21,
    )


def whole_demo(desk: Path) -> list[Row]:
    """Each run has a new folder. Cold: the system's file cache is emptied before (root only)."""
    numbers = iter(range(1000))

    def ours() -> float:
        project = desk / f"churn{next(numbers)}"
        penstock("init", str(project))
        seconds = timed(
            [PYTHON, "-m", "penstock", "run", "--project", str(project)], env=ENVIRONMENT
        )
        penstock("serve", "--stop", "--project", str(project))
        keep(project, desk / "demo")
        return seconds

    def peer() -> float:
        project = desk / f"plain{next(numbers)}"
        shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("__pycache__"))
        seconds = timed([PYTHON, str(HERE / "plain_script.py"), str(project)], env=ENVIRONMENT)
        shutil.rmtree(project)
        return seconds

    def cold(run: object) -> float:
        empty_file_cache()
        return run()  # type: ignore[operator]

    return [
        compare(
            "whole demo / plain script, cold",
            lambda: cold(ours),
            lambda: cold(peer),
            aim=1.0,
            pairs=1,
            warmup=0,
        ),
        compare("whole demo / plain script, warm", ours, peer, aim=1.0, pairs=3, warmup=0),
    ]


def cached_run(desk: Path) -> Row:
    project = desk / "demo"
    penstock("run", "--project", str(project))  # brings its endpoint back
    made = compare(
        "cached re-run / python -c 'import pandas'",
        lambda: timed(
            [PYTHON, "-m", "penstock", "run", "--project", str(project)], env=ENVIRONMENT
        ),
        lambda: timed([PYTHON, "-c", "import pandas"]),
        aim=2.0,
        pairs=9,
    )
    penstock("serve", "--stop", "--project", str(project))
    return made


def empty_steps(desk: Path) -> Row:
    """The slope from 1 to 40 steps that do nothing, against 20 ms a step."""
    project = desk / "empty"
    penstock("init", str(project), "--template", "blank")
    chain = ["", "", "from penstock import step", ""]
    for number in range(STEPS):
        place = f'after="empty{number - 1}"' if number else 'before="extract_data"'
        chain += [f"@step({place})", f"def empty{number}(context):", "    pass", ""]
    code = project / "pipeline.py"
    original = code.read_text()

    def until(name: str) -> float:
        code.write_text(original + "\n".join([*chain, f"# {name} {os.urandom(4).hex()}"]))
        shutil.rmtree(project / ".penstock", ignore_errors=True)
        penstock("plan", "--project", str(project))  # makes the state database
        return timed([PYTHON, "-m", "penstock", "run", "--until", name, "--project", str(project)])

    last = f"empty{STEPS - 1}"
    cost = statistics.median((until(last) - until("empty0")) / (STEPS - 1) for _ in range(5))
    return row("overhead of an empty step / 20 ms", cost, 0.020, cost / 0.020, 1.0)


def penstock(*arguments: str) -> None:
    timed([PYTHON, "-m", "penstock", *arguments], env=ENVIRONMENT)


def keep(project: Path, place: Path) -> None:
    """The first finished project stays where it is, under a second name, for `cached_run`."""
    if not place.exists():
        place.symlink_to(project)
    else:
        shutil.rmtree(project)


def empty_file_cache() -> None:
    if os.geteuid() == 0:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")


if __name__ == "__main__":
    main()
