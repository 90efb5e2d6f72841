"""Load on one URL by `wrk`, or where it is missing by Penstock's own client, which is slower."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRK = shutil.which("wrk")
SCRIPT = """
local bodies = {%s}
local requests, place = {}, 0
wrk.method = "POST"
%s
function init()
  for number, body in ipairs(bodies) do requests[number] = wrk.format(nil, nil, nil, body) end
end
function request()
  place = place %% #requests + 1
  return requests[place]
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("\\nDONE %%d %%d %%d %%f %%f\\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.timeout + e.status,
    latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Load:
    """What clients saw who each sent the next request when the last was answered."""

    connections: int
    requests_s: float
    p50_ms: float
    p99_ms: float
    errors: int  # answers other than 2xx, and requests without an answer

    @property
    def valid(self) -> bool:
        return self.errors == 0 and self.requests_s > 0


@dataclass(frozen=True)
class Questions:
    """What is sent in turn."""

    bodies: Sequence[bytes]
    headers: Mapping[str, str]
    script: Path  # of wrk

    @classmethod
    def of(cls, documents: Sequence[Any], headers: Mapping[str, str], script: Path) -> Questions:
        bodies = [json.dumps(document).encode() for document in documents]
        headers = {"Content-Type": "application/json", **headers}
        texts = ",\n".join(f"[==[{body.decode()}]==]" for body in bodies)
        lines = "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items())
        script.write_text(SCRIPT % (texts, lines))
        return cls(bodies, headers, script)


def load(url: str, questions: Questions, connections: int, seconds: float) -> Load:
    """A closed loop: latencies leave out the wait of requests that would have come meanwhile."""
    if WRK is None:
        return _by_our_client(url, questions, connections, seconds)
    command = [WRK, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    said = subprocess.run(
        [*command, "-s", str(questions.script), url], capture_output=True, text=True, check=False
    )
    lines = [line for line in said.stdout.splitlines() if line.startswith("DONE ")]
    if not lines:
        return Load(connections, 0.0, float("inf"), float("inf"), 1)  # it could not connect
    requests, span, errors, p50, p99 = map(float, lines[0].split()[1:])
    return Load(connections, requests / (span / 1e6), p50 / 1e3, p99 / 1e3, int(errors))


def _by_our_client(url: str, questions: Questions, connections: int, seconds: float) -> Load:
    from datetime import timedelta

    from penstock.gates.load_test import run_load

    seen = run_load(url, questions.bodies, connections, timedelta(seconds=seconds))
    return Load(connections, seen.qps, seen.quantile(0.5), seen.quantile(0.99), seen.errors)
