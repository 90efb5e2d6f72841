"""The shop's visitors, simulated: at every page the shop asks whether its visitor will stay.

    python users.py                            # 300 pages a second, for 20 seconds
    python users.py --rate 50 --seconds 60

Nine in ten are customers. The others come for the first time, and nothing is known of them. Asks
endpoints of this machine only.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import yaml

PRODUCTION = "http://127.0.0.1:8601"
HERE = ("127.0.0.1", "::1", "localhost")
PATIENCE = 10.0  # seconds that a page waits for its answer
OPEN = 200  # pages that wait at once, at most: beyond, visitors come later


@dataclass
class Seen:
    """What the visitors saw."""

    began: float = field(default_factory=time.monotonic)
    answered: Counter[str] = field(default_factory=Counter)  # by model version
    failed: Counter[str] = field(default_factory=Counter)  # by kind of visitor
    failed_at: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)  # seconds, of answers

    def __str__(self) -> str:
        pages, failed = len(self.took) + self.failed.total(), self.failed.total()
        took = sorted(self.took) or [0.0]
        by = ", ".join(f"{n:,} by {model}" for model, n in sorted(self.answered.items()))
        line = (
            f"{pages:,} pages in {time.monotonic() - self.began:.0f} s, "
            f"p95 {1e3 * took[int(0.95 * len(took))]:.1f} ms: answered {by or 'none'}; failed "
        )
        if not failed:
            return f"{line}0"
        new = self.failed["new"]
        whom = "all of them new" if new == failed else f"{new:,} of them new"
        span = self.failed_at[-1] - self.failed_at[0]
        return f"{line}{failed:,} ({failed / pages:.2%}), {whom}, within {span:.1f} s"


def main() -> int:
    options = _options()
    seen = Seen()
    asyncio.run(_visit(options, seen))
    print(f"{_over()}{seen}", flush=True)
    return 0 if seen.took else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url", nargs="?", default=PRODUCTION, help="(default: %(default)s)")
    parser.add_argument("--rate", type=float, default=300.0, help="pages a second (%(default)g)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long (%(default)g)")
    parser.add_argument("--new", type=float, default=0.1, help="share of new ones (%(default)g)")
    options = parser.parse_args()
    if urlsplit(options.url).hostname not in HERE:
        parser.error(f"{options.url} is not on this machine")
    if options.rate <= 0 or options.seconds <= 0:
        parser.error("--rate and --seconds are above 0")
    return options


async def _visit(options: argparse.Namespace, seen: Seen) -> None:
    """Opens pages at the rate asked for, however long the answers take."""
    ended = asyncio.Event()
    for told in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(told, ended.set)
    timeout, connector = aiohttp.ClientTimeout(PATIENCE), aiohttp.TCPConnector(limit=OPEN)
    pages: set[asyncio.Task[None]] = set()
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        for number, visitor in enumerate(_visitors(options.new)):
            due = seen.began + number / options.rate
            if due > seen.began + options.seconds or ended.is_set():
                break
            if number % int(max(options.rate / 4, 1)) == 0:
                _tell(seen)
            while (wait := due - time.monotonic()) > 0 or len(pages) >= OPEN:
                await asyncio.sleep(max(wait, 0.001))
            page = asyncio.create_task(_open(session, f"{options.url}/predict", *visitor, seen))
            pages.add(page)
            page.add_done_callback(pages.discard)
        await asyncio.gather(*pages)


def _visitors(share_of_new: float) -> Iterator[tuple[str, int]]:
    """Customers come again and again; a new one is nobody that was ever seen."""
    customers = yaml.safe_load(Path(__file__).with_name("params.yaml").read_text())
    known = customers["extract"]["customers"]
    strangers = itertools.count(random.randrange(10**9, 10**15))
    while True:
        is_new = random.random() < share_of_new
        yield ("new", next(strangers)) if is_new else ("known", random.randrange(known))


async def _open(
    session: aiohttp.ClientSession, url: str, kind: str, customer: int, seen: Seen
) -> None:
    begun = time.monotonic()
    try:
        body = {"entities": {"customer_id": [customer]}}
        async with session.post(url, json=body) as response:
            answer = await response.json()
            if response.status == 200:
                seen.answered[answer["model"]] += 1
                seen.took.append(time.monotonic() - begun)
                return
    except (aiohttp.ClientError, TimeoutError):
        pass  # no answer at all
    seen.failed[kind] += 1
    seen.failed_at.append(time.monotonic())


def _tell(seen: Seen) -> None:
    if sys.stdout.isatty():
        print(f"{_over()}{seen}", end="", flush=True)


def _over() -> str:
    """To the line's beginning, with nothing on it."""
    return "\r\033[K" if sys.stdout.isatty() else ""


if __name__ == "__main__":
    sys.exit(main())
