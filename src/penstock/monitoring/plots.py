"""Two samples of a column as a small picture: inline SVG, its colours are the page's."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from penstock.profiles.profile import Numbers, Words

WIDTH, HEIGHT, FOOT = 320.0, 110.0, 16.0
WORDS = 8  # categories that are drawn
LETTERS = 14  # of a category's name


def histogram(before: Numbers, now: Numbers) -> str:
    """Bars of equal share in the reference, wide where values are rare, and the window as a line.

    Bins are drawn by their place and not by their width, so that long tails do not hide the rest.
    """
    bins = _shown_bins(before, now)
    if not bins:
        return ""
    step = WIDTH / len(bins)
    top = max(max(old, new) for _, old, new in bins) or 1.0
    room = HEIGHT - FOOT - 4
    bars, path = list[str](), list[str]()
    for place, (_, old, new) in enumerate(bins):
        left, height = place * step, room * old / top
        bars.append(_bar("before", left + 0.5, HEIGHT - FOOT - height, step - 1, height))
        y = HEIGHT - FOOT - room * new / top
        path.append(f"{'L' if path else 'M'}{left:.1f} {y:.1f}L{left + step:.1f} {y:.1f}")
    labels = _labels([label for label, _, _ in bins], step)
    return svg(f'{"".join(bars)}<path class="now" d="{"".join(path)}"/>{labels}')


def shares(before: Words, now: Words) -> str:
    """The commonest categories, the window's bar below the reference's; of buckets nothing."""
    pooled = {
        word: (before.counts.get(word, 0), now.counts.get(word, 0))
        for word in {*before.counts, *now.counts}
    }
    n, m = sum(before.counts.values()) or 1, sum(now.counts.values()) or 1
    rows = sorted(
        ((word, old / n, new / m) for word, (old, new) in pooled.items()),
        key=lambda row: -max(row[1], row[2]),
    )[:WORDS]
    if not rows:
        return ""
    top, each = max(max(old, new) for _, old, new in rows), 15.0
    drawn = []
    for place, (word, old, new) in enumerate(rows):
        y, room = place * each, WIDTH - 100
        name = word if len(word) <= LETTERS else word[: LETTERS - 1] + "…"
        drawn.append(f'<text x="90" y="{y + 10:.1f}" text-anchor="end">{escape(name)}</text>')
        drawn.append(_bar("before", 96, y + 1.5, room * old / top, 6))
        drawn.append(_bar("nowbar", 96, y + 8, room * new / top, 4))
    return svg("".join(drawn), height=len(rows) * each + 4)


def _shown_bins(before: Numbers, now: Numbers) -> list[tuple[str, float, float]]:
    """Label, and share in both, of each bin that anything is in."""
    n, m = sum(before.counts) or 1, sum(now.counts) or 1
    found = []
    for place, (old, new) in enumerate(zip(before.counts, now.counts, strict=True)):
        if old or new:
            found.append((_label(before.edges, place), old / n, new / m))
    return found


def _label(edges: Sequence[float], place: int) -> str:
    """The upper edge; of what lies beyond the last one, that it does."""
    if not edges:
        return ""
    # A value that has a bin of its own is a hair below the edge.
    edge = round(edges[min(place, len(edges) - 1)], 9)
    return f"{edge:.3g}" if place < len(edges) else f">{edge:.3g}"


def _labels(names: Sequence[str], step: float) -> str:
    every = -(-len(names) // 6)
    places = range(0, len(names), every)
    line = (
        f'<line class="axis" x1="0" x2="{WIDTH:g}" y1="{HEIGHT - FOOT:g}" y2="{HEIGHT - FOOT:g}"/>'
    )
    texts = (
        f'<text x="{(place + 0.5) * step:.1f}" y="{HEIGHT - 4:g}" '
        f'text-anchor="{_anchor(place, names)}">{escape(names[place])}</text>'
        for place in places
    )
    return line + "".join(texts)


def _anchor(place: int, names: Sequence[str]) -> str:
    """Names at the ends would be cut off if they stood in the middle of narrow bins."""
    if len(names) < 6:
        return "middle"
    return "start" if place == 0 else "end" if place == len(names) - 1 else "middle"


def _bar(kind: str, x: float, y: float, width: float, height: float) -> str:
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" '
        f'height="{max(height, 0):.1f}"/>'
    )


def svg(content: str, height: float = HEIGHT, width: float = WIDTH) -> str:
    """A picture that grows with its place."""
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img">{content}</svg>'
