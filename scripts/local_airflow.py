"""Airflow on this machine with one project's DAG, reachable from this machine only.

Run by `make airflow`, with the project's folder and a folder for Airflow's own files. It starts
what `airflow standalone` starts, save for what would listen on every network interface: Airflow
3.3.2 serves the logs of its workers so, and has no setting for it. Here the API server reads them
from the disk.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

BIN = Path(sys.executable).parent
HOST, PORT = "127.0.0.1", 8080
COMPONENTS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
# Tasks are forked from a scheduler that has imported what steps need.
LOCAL_SETTINGS = """\
from penstock.orchestrators.preload import preload

preload()
"""
START_TIMEOUT, STOP_TIMEOUT = 300.0, 15.0  # seconds


def main() -> int:
    options = _options()
    home, project = Path(options.home).resolve(), Path(options.project).resolve()
    url = f"http://{HOST}:{free_port(options.port)}"
    settings = environment(home, project, url)
    print(f"setting up {home}", flush=True)
    make_home(home)
    subprocess.run(
        [BIN / "airflow", "db", "migrate"], env=settings, check=True, stdout=subprocess.DEVNULL
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, command in COMPONENTS.items():
            running[name] = start(command, home / f"{name}.log", settings)
        wait_until_healthy(url, running, home)
        _say_how(url, home, settings)
        return _watch(running, home)
    except KeyboardInterrupt:
        return 0
    finally:
        stop(running)


def make_home(home: Path) -> None:
    """The folder of Airflow's own files."""
    (home / "config").mkdir(parents=True, exist_ok=True)
    (home / "config" / "airflow_local_settings.py").write_text(LOCAL_SETTINGS)


def environment(home: Path, project: Path, url: str) -> dict[str, str]:
    """Airflow's settings; those of the user's own environment that are not named here stay."""
    return {
        "AIRFLOW__CORE__PARALLELISM": "4",
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(project / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": url.rpartition(":")[2],
        # Tasks call the server back at this address; without it, always at localhost:8080.
        "AIRFLOW__API__BASE_URL": url,
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("project", help="the project's folder")
    parser.add_argument("--home", default="airflow", help="where Airflow keeps its files")
    parser.add_argument("--port", type=int, default=PORT, help=f"{PORT}, or the next one free")
    return parser.parse_args()


def free_port(first: int) -> int:
    for port in range(first, first + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise SystemExit(f"no port is free from {first} to {first + 99}")


def start(command: list[str], log: Path, settings: dict[str, str]) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C reaches it once, in good order, from here."""
    with log.open("wb") as stream:
        return subprocess.Popen(
            [BIN / "airflow", *command],
            env=settings,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )


def wait_until_healthy(
    url: str,
    running: dict[str, subprocess.Popen[bytes]],
    home: Path,
    patience: float = START_TIMEOUT,
) -> None:
    print("starting Airflow; this takes a minute", flush=True)
    deadline = time.monotonic() + patience
    while not _healthy(url):
        _require_alive(running, home)
        if time.monotonic() > deadline:
            raise SystemExit(f"Airflow was not ready after {patience:g} s; see {home}/*.log")
        time.sleep(0.5)


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api/v2/monitor/health", timeout=5) as answer:
            health = json.load(answer)
    except (OSError, urllib.error.URLError, ValueError):
        return False
    return all(health[part]["status"] == "healthy" for part in ("scheduler", "dag_processor"))


def _say_how(url: str, home: Path, settings: dict[str, str]) -> None:
    passwords = json.loads((home / "simple_auth_manager_passwords.json.generated").read_text())
    user, password = next(iter(passwords.items()))
    print(
        f"Airflow is ready: {url}   user {user}, password {password}\n"
        f"  DAGs of {settings['AIRFLOW__CORE__DAGS_FOLDER']}; last night's run starts by itself\n"
        f"  another run: the button Trigger; the logs of Airflow itself: {home}/*.log\n"
        "  Ctrl-C ends Airflow; what was deployed to staging stays up",
        flush=True,
    )


def _watch(running: dict[str, subprocess.Popen[bytes]], home: Path) -> int:
    while True:
        _require_alive(running, home)
        time.sleep(1)


def _require_alive(running: dict[str, subprocess.Popen[bytes]], home: Path) -> None:
    for name, process in running.items():
        if process.poll() is not None:
            lines = (home / f"{name}.log").read_text(errors="replace").splitlines()[-10:]
            raise SystemExit("\n".join([f"airflow {name} ended:", *lines]))


def stop(running: dict[str, subprocess.Popen[bytes]]) -> None:
    """The API server last: a task that is ended by the scheduler's workers reports to it."""
    for process in reversed(running.values()):
        # The whole group, since a scheduler leaves its busy workers alone; they pass it on.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


if __name__ == "__main__":
    sys.exit(main())
