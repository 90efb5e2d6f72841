"""The servers that are compared: how each is installed, started and asked.

Each is tuned as its documentation says for small models: one thread for the model, no line of a log
for each request, batches where it makes some; with one worker and with two. Which of these variants
is best here is measured. Ray Serve's HAProxy is left out: it listens on all addresses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processes import free_port

HERE = Path(__file__).parent
FILES = HERE / "peers"
VENVS = HERE / "out" / "peers"
WORLD = {  # of every server: one thread, and nothing told to its makers
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "DO_NOT_TRACK": "1",
    "BENTOML_DO_NOT_TRACK": "True",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
}
# Ray: listen on loopback alone, and write its logs seldom, as its page on throughput advises.
RAY = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1000",
    "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_FREEZE_GC_ON_STARTUP": "1",
}
BATCH = 32


@dataclass(frozen=True)
class Model:
    """The model that all serve, and where servers may keep files."""

    booster: Path  # LightGBM's text
    folder: Path  # MLflow's folder of the same
    desk: Path


@dataclass(frozen=True)
class Peer:
    """A server, in one of its variants."""

    name: str  # of its virtual environment
    variant: str
    path: str
    document: Callable[[list[float]], Any]  # a question about one row
    answer: Callable[[Any], float]  # the prediction in what it says
    command: Callable[[Model, int], Sequence[str | Path]]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.name}, {self.variant}"

    def start(self, model: Model, port: int, log: Path) -> subprocess.Popen[bytes]:
        """In a session of its own, so that all of its processes are found."""
        venv = VENVS / self.name / "bin"
        environment = {
            **os.environ,
            **WORLD,
            **self.environment,
            "PATH": f"{venv}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(FILES),
            "HOME": str(model.desk),  # what a server keeps goes with the desk
            "BENCH_MODEL": str(model.booster),
            "BENCH_PORT": str(port),
        }
        program, *rest = self.command(model, port)
        with log.open("wb") as file:
            return subprocess.Popen(
                [venv / program, *rest],
                env=environment,
                cwd=model.desk,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )


def bare(workers: int) -> Peer:
    """The booster in a bare ASGI application on uvicorn."""

    def command(_: Model, port: int) -> list[str | Path]:
        options = f"--host 127.0.0.1 --port {port} --loop uvloop --http httptools --no-access-log"
        return ["uvicorn", "bare_app:app", *options.split(), "--workers", str(workers)]

    return Peer(
        "bare", told(workers), "/", named_rows, lambda said: said["predictions"][0], command
    )


def mlflow(workers: int) -> Peer:
    def document(row: list[float]) -> Any:
        return {"dataframe_split": {"columns": [*named(row)], "data": [row]}}

    def command(model: Model, port: int) -> list[str | Path]:
        options = f"--env-manager local --host 127.0.0.1 --port {port} --workers {workers}"
        return ["mlflow", "models", "serve", "--model-uri", str(model.folder), *options.split()]

    return Peer(
        "mlflow", told(workers), "/invocations", document, lambda s: s["predictions"][0], command
    )


def bentoml(workers: int, batch: int) -> Peer:
    def command(_: Model, port: int) -> list[str | Path]:
        options = ["--working-dir", str(FILES), "--host", "127.0.0.1", "--port", str(port)]
        return ["bentoml", "serve", "bentoml_service:Bench", *options]

    return Peer(
        "bentoml", told(workers, batch), "/predict", lambda row: {"rows": [row]},
        lambda said: said[0], command, counts(workers, batch),
    )  # fmt: skip


def litserve(workers: int, batch: int) -> Peer:
    return Peer(
        "litserve", told(workers, batch), "/predict", lambda row: {"row": row},
        lambda said: said["prediction"], script("litserve_server.py"), counts(workers, batch),
    )  # fmt: skip


def kserve(workers: int) -> Peer:
    return Peer(
        "kserve", told(workers), "/v1/models/bench:predict", lambda row: {"instances": [row]},
        lambda said: said["predictions"][0], script("kserve_server.py"), counts(workers),
    )  # fmt: skip


def ray(workers: int, batch: int) -> Peer:
    return Peer(
        "ray", told(workers, batch), "/", lambda row: {"row": row},
        lambda said: said["prediction"], script("ray_serve_app.py"),
        {**RAY, **counts(workers, batch)},
    )  # fmt: skip


def mlserver(workers: int, batch: int) -> Peer:
    """With no worker the model is in the process of the server."""

    def document(row: list[float]) -> Any:
        tensor = {"name": "rows", "shape": [1, len(row)], "datatype": "FP64", "data": row}
        return {"inputs": [tensor]}

    def command(model: Model, port: int) -> list[str | Path]:
        folder = model.desk / f"mlserver-{workers}-{batch}"
        folder.mkdir(exist_ok=True)
        server = {"host": "127.0.0.1", "http_port": port, "grpc_port": free_port()}
        server |= {"debug": False, "gzip_enabled": False, "parallel_workers": workers}
        (folder / "settings.json").write_text(json.dumps({**server, "metrics_endpoint": None}))
        batches = {"max_batch_size": batch, "max_batch_time": 0.001} if batch > 1 else {}
        served = {"name": "bench", "implementation": "mlserver_runtime.Bench", **batches}
        served["parameters"] = {"uri": str(model.booster)}
        (folder / "model-settings.json").write_text(json.dumps(served))
        return ["mlserver", "start", folder]

    return Peer(
        "mlserver", told(workers, batch), "/v2/models/bench/infer", document,
        lambda said: said["outputs"][0]["data"][0], command,
    )  # fmt: skip


def install(name: str) -> str:
    """Makes a virtual environment as serving_peers.txt says; what went wrong, or ""."""
    wanted = requirements()[name]
    venv = VENVS / name
    stamp = venv / "installed.txt"
    if stamp.is_file() and stamp.read_text() == wanted:
        return ""
    print(f"installing {wanted}", flush=True)
    uv, python = Path(sys.executable).with_name("uv"), venv / "bin" / "python"
    if uv.is_file():
        make = [str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(venv)]
        fill = [str(uv), "pip", "install", "--quiet", "--python", str(python), *wanted.split()]
    else:
        make = [sys.executable, "-m", "venv", "--clear", str(venv)]
        fill = [str(python), "-m", "pip", "install", "--quiet", *wanted.split()]
    for command in (make, fill):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return (done.stderr.strip() or done.stdout.strip())[-500:]
    stamp.write_text(wanted)
    return ""


def requirements() -> dict[str, str]:
    lines = (HERE / "serving_peers.txt").read_text().splitlines()
    pairs = (line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    return {name: " ".join(wanted.split()) for name, wanted in pairs}


def script(name: str) -> Callable[[Model, int], Sequence[str | Path]]:
    return lambda _model, _port: ["python", FILES / name]


def counts(workers: int, batch: int = 1) -> dict[str, str]:
    return {"BENCH_WORKERS": str(workers), "BENCH_BATCH": str(batch)}


def told(workers: int, batch: int = 1) -> str:
    return f"{workers} worker{'s' * (workers != 1)}" + (", batches" if batch > 1 else "")


def named(row: list[float]) -> dict[str, float]:
    return {f"x{place}": value for place, value in enumerate(row)}


def named_rows(row: list[float]) -> Any:
    return {"rows": [named(row)]}


PEERS = (
    *(mlflow(workers) for workers in (1, 2)),
    *(bentoml(workers, batch) for workers in (1, 2) for batch in (1, BATCH)),
    *(litserve(workers, batch) for workers in (1, 2) for batch in (1, BATCH)),
    *(kserve(workers) for workers in (1, 2)),
    *(mlserver(workers, batch) for workers in (0, 2) for batch in (1, BATCH)),
    *(ray(workers, batch) for workers in (1, 2) for batch in (1, BATCH)),
)
