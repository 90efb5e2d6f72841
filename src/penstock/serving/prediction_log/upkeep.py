"""Keeps a prediction log in order: finished segments become Parquet, are shipped, and expire.

    python -m penstock.serving.prediction_log.upkeep FOLDER [--retention-days N] [--ship s3://…]
                                                            [--endpoint NAME]

Of a named endpoint, what expires is an entry of the ledger: in the state at PENSTOCK_STATE_URL.

The gateway starts it every few minutes, in a process of its own at low priority. It may be killed
at any time, and run beside itself.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from penstock.errors import PenstockError
from penstock.serving.config import GatewayConfig

log = logging.getLogger(__name__)

INTERVAL = 300.0  # seconds
EXPIRING, EXPIRED = "prediction.expiring", "prediction.expired"
STATE = "PENSTOCK_STATE_URL"  # by the environment: it may have a password


async def keep_up(folder: Path, config: GatewayConfig) -> None:
    """Runs the upkeep every INTERVAL seconds until it is cancelled; on the gateway's loop."""
    settings = config.settings
    days = settings.log_retention.days
    command = [sys.executable, "-m", __name__, str(folder), "--retention-days", str(days)]
    command += ["--endpoint", config.endpoint]
    if settings.log_ship:
        command += ["--ship", settings.log_ship]
    while True:
        await asyncio.sleep(INTERVAL)
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, STATE: config.state}
        )
        try:
            await process.wait()
        except asyncio.CancelledError:
            process.kill()
            raise


def upkeep(folder: Path, retention_days: int, destination: str, endpoint: str = "") -> None:
    """One round. Raises `PenstockError`; what was done stays done."""
    from penstock.serving.prediction_log.compaction import compact
    from penstock.serving.prediction_log.shipping import ship

    compact(folder)
    if destination:
        ship(folder, destination)
    if retention_days:
        _expire(folder, retention_days, endpoint)


def _expire(folder: Path, retention_days: int, endpoint: str) -> None:
    from penstock.audit.announced import announced
    from penstock.serving.prediction_log.retention import delete_dates, expired_in
    from penstock.state.database import open_state

    going = expired_in(folder, retention_days, datetime.now(UTC).date())
    if not (going and endpoint):
        delete_dates(folder, going)
        return
    told = {"dates": [str(day) for day in going], "retention": f"{retention_days}d"}
    engine = open_state(os.environ.get(STATE, ""), folder.absolute().parent)
    with announced(engine, EXPIRING, EXPIRED, endpoint, told):
        delete_dates(folder, going)


def main() -> None:
    """The entry of the process."""
    parser = argparse.ArgumentParser(prog="python -m penstock.serving.prediction_log.upkeep")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--retention-days", type=int, default=0, help="0 keeps all")
    parser.add_argument("--ship", default="", help="s3://bucket/prefix")
    parser.add_argument("--endpoint", default="", help="whose predictions these are")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    os.nice(10)
    try:
        upkeep(options.folder, options.retention_days, options.ship, options.endpoint)
    except PenstockError as error:
        raise SystemExit(f"the prediction log: {error.message} {error.hint}") from error


if __name__ == "__main__":
    main()
