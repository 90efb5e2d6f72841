"""One person's rows in the prediction log, in feedback and in the state database are destroyed; all
others stay as they were, byte for byte."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.blanking import blank_lines
from penstock.serving.feedback_erasing import erase_feedback
from penstock.serving.feedback_log import FeedbackLog
from penstock.serving.outcome_sender import OutcomeSender
from penstock.serving.prediction_log.columns import SCHEMA, table_of
from penstock.serving.prediction_log.compaction import compact
from penstock.serving.prediction_log.erasing import EMPTIED, Whose, erase_rows, find, without
from penstock.serving.prediction_log.reading import ALL, answer, predictions, records
from penstock.serving.prediction_log.rows import Encoder, Names, Row, decode
from penstock.serving.prediction_log.segments import LogFolder
from penstock.serving.prediction_log.writer import LogWriter
from penstock.state.outcomes import Outcome

ANN = Whose("customer_id", "42", frozenset({"00000000000000aa"}))
KEPT = [name for name in SCHEMA.names if name not in EMPTIED]


def row(number: int, customer: Any, unit: str = "", value: float = 0.5, rows: int = 1) -> Row:
    return Row(
        1_772_366_400_000_000_000 + number * 1_000_000,
        f"p{number}",
        "r1",
        unit=unit,
        rows=rows,
        matrix=struct.pack(f"<{rows}d", *[value] * rows),
        outputs=struct.pack(f"<{rows}d", *[value] * rows),
        entities={"customer_id": [customer] * rows, "shop": ["a"] * rows},
        request=f"{customer}".encode(),
    )


def lines(rows: list[Row]) -> list[bytes]:
    made, text = Encoder("staging"), bytearray()
    made.describe("r1", Names.of(["amount"], "churn@3", "d1"))
    for one in rows:
        made.append(one, text)
    return bytes(text).splitlines()


def write_segment(folder: Path, content: bytes, name: str = "s1") -> None:
    path = LogFolder(folder).segments / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def theirs(one: Row) -> bool:
    (customer, *_) = (one.entities or {})["customer_id"]
    same = not isinstance(customer, bool) and customer in (42, 42.0, "42")
    return same or one.unit in ANN.units


customers = st.sampled_from([42, 42.0, "42", 421, 4, "042", "42 ", None, True, -42, 42.5])
units = st.sampled_from(["", "00000000000000aa", "00000000000000ab"])
rows_of_a_part = st.lists(
    st.builds(row, st.integers(0, 9), customers, units, st.floats(width=64), st.integers(1, 3)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(rows_of_a_part, st.booleans())
def test_a_rewritten_part_lacks_one_person_and_nothing_else(rows: list[Row], older: bool) -> None:
    table = table_of([decode(line) for line in lines(rows)])
    if older:  # as an older Penstock compacted it
        table = table.drop_columns(["erased", "event_times"])
    gone = pa.array([theirs(one) for one in rows for _ in range(one.rows)])
    made = without(table, ANN)

    others = made.filter(pc.invert(gone))
    assert others.select(table.column_names).equals(table.filter(pc.invert(gone)))
    kept = [name for name in KEPT if name in table.column_names]
    assert made.select(kept).equals(table.select(kept))
    for name, empty in EMPTIED.items():
        if name in made.column_names:
            assert set(map(str, made.filter(gone)[name].to_pylist())) <= {str(empty)}
    assert without(made, ANN).equals(made)


def test_a_reader_misses_nothing_while_parts_are_written_anew(tmp_path: Path) -> None:
    people = range(15)
    for part in range(2):
        rows = [row(number, number % len(people), rows=3) for number in range(300)]
        write_segment(tmp_path, b"\n".join(lines(rows)) + b"\n", f"s{part}")
    compact(tmp_path)

    def erase_everybody() -> None:
        for person in people:
            whose = Whose("customer_id", str(person))
            erase_rows(tmp_path, find(tmp_path, whose), whose)

    sums = "count(*), count(DISTINCT prediction_id), count_if(erased), count(entities)"
    seen = list[tuple[int, ...]]()
    with ThreadPoolExecutor(1) as pool:
        erasing = pool.submit(erase_everybody)
        while not erasing.done():
            seen += answer([tmp_path], ALL, lambda found: found.aggregate(sums).fetchall())
        erasing.result()
    assert {(rows, names) for rows, names, *_ in seen} == {(1800, 300)}
    # Each row is whole: its keys, or the word that it was erased. And none comes back.
    assert {gone + keys for *_, gone, keys in seen} == {1800}
    assert [gone for *_, gone, _ in seen] == sorted(gone for *_, gone, _ in seen)


def test_a_person_is_erased_from_the_log_while_it_is_written(tmp_path: Path) -> None:
    old = [row(1, 42), row(2, 43), row(3, 44, rows=2), row(4, 9, "00000000000000aa")]
    whole = lines(old)
    torn = whole[0][:-30]  # a gateway died in it
    write_segment(tmp_path, b"\n".join([*whole, torn]))
    writer = LogWriter(tmp_path, "staging")
    writer.describe("r1", ["amount"], "churn@3", "d1")
    writer.append(row(5, 42))
    while writer.pending:
        pass
    compact(tmp_path)
    others = "prediction_id NOT IN ('p1', 'p4', 'p5')"
    order = "prediction_id, row_index"
    before = records(predictions([tmp_path]).filter(others).order(order))

    found = find(tmp_path, ANN)
    assert (found.things, found.open_rows, found.damaged) == ({("p1", 0), ("p4", 0)}, 1, 1)
    erase_rows(tmp_path, found, ANN)
    assert records(predictions([tmp_path]).filter(others).order(order)) == before
    again = find(tmp_path, ANN)
    assert (again.rows, again.open_rows, again.damaged) == (0, 1, 0)  # the open one is untouched

    assert writer.close() == 0
    erase_rows(tmp_path, find(tmp_path, ANN), ANN)
    after = records(predictions([tmp_path]).order(order))
    gone = [one for one in after if one["erased"]]
    assert [one["prediction_id"] for one in gone] == ["p1", "p4", "p5"]
    assert {(one["output"], one["request_digest"]) for one in gone} == {(None, "")}
    assert [one for one in after if not one["erased"]] == before
    left = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b'"customer_id":42,' not in left
    assert find(tmp_path, ANN).rows == 0


ERASE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from penstock.serving.prediction_log.erasing import Whose, erase_rows, find
whose = Whose("customer_id", "42")
found = find(Path(sys.argv[1]), whose)
print(len(found.parts), flush=True)
erase_rows(Path(sys.argv[1]), found, whose)
"""


def test_a_killed_erasure_is_finished_by_the_next(tmp_path: Path) -> None:
    for number in range(40):
        rows = [row(number * 50 + i, 42 if i % 2 else 43) for i in range(50)]
        write_segment(tmp_path, b"\n".join(lines(rows)) + b"\n", f"s{number:02}")
    compact(tmp_path)
    others = predictions([tmp_path]).filter("entities->>'customer_id' = '43'")
    before = records(others.order("prediction_id"))
    killed = subprocess.Popen(
        [sys.executable, "-c", ERASE, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert killed.stdout is not None
    assert killed.stdout.readline() == "40\n"
    while killed.poll() is None and len(find(tmp_path, ANN).parts) > 35:
        pass
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    for part in LogFolder(tmp_path).list_parquet():
        assert pq.read_metadata(part).num_rows == 50  # whole, each
    found = find(tmp_path, ANN)
    erase_rows(tmp_path, found, ANN)
    assert find(tmp_path, ANN).rows == 0
    after = records(predictions([tmp_path]).filter("erased IS NULL").order("prediction_id"))
    assert after == before


def test_feedback_is_blanked_under_its_writer_and_the_rest_is_sent_once(tmp_path: Path) -> None:
    ann, bob = ("1" * 16 + "-" + "0" * 28), ("2" * 16 + "-" + "0" * 28)
    kept = FeedbackLog(tmp_path, "staging")
    sent: list[Outcome] = []
    sender = OutcomeSender(tmp_path, "staging", sent.extend)
    try:
        kept.keep(b'{"prediction_id": "%s", "label": 1}' % bob.encode())
        kept.keep(b'{"prediction_id": "%s", "label": 0.125}' % ann.encode())
        sender.send()
        kept.keep(b'{"unit_hash": "00000000000000aa", "metric": "revenue", "value": 987654.5}')
        kept.keep(b'{"prediction_id": "%s", "row": 1, "label": 1}' % ann.encode())  # another's
        assert erase_feedback(tmp_path, {(ann, 0)}, ANN.units) == 2
        kept.keep(b'{"prediction_id": "%s", "row": 2, "label": 1}' % bob.encode())
        sender.send()
    finally:
        sender.close()
        kept.close()
    (file,) = tmp_path.glob("*.jsonl")
    erased = (b"0.125", b"987654.5", b"00000000000000aa")
    assert not any(text in file.read_bytes() for text in erased)
    assert [(one.subject, one.event) for one in sent] == [
        (bob, "0"), (ann, "0"), (ann, "1"), (bob, "2"),
    ]  # fmt: skip
    assert erase_feedback(tmp_path, {(ann, 0)}, ANN.units) == 0


def test_only_whole_lines_are_blanked(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"keep\nmeant\nmeant, but not ended")
    assert blank_lines(file, lambda line: line.startswith(b"meant")) == 1
    assert file.read_bytes() == b"keep\n     \nmeant, but not ended"
