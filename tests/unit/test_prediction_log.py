"""Rows as lines, lines as rows; segments in a folder; the writer with a loop of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import shutil
import struct
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.audit.announced import announced
from penstock.audit.ledger import Ledger
from penstock.cli.predictions import export_predictions, list_predictions, show_prediction
from penstock.errors import UsageError
from penstock.project import Project
from penstock.serving.prediction_ids import written
from penstock.serving.prediction_log.compaction import compact
from penstock.serving.prediction_log.finding import may_hold, rows_of
from penstock.serving.prediction_log.reading import Selection, predictions, records
from penstock.serving.prediction_log.retention import expired
from penstock.serving.prediction_log.rows import Encoder, Names, Row, decode, is_whole
from penstock.serving.prediction_log.segments import LogFolder, Segment, segment_name
from penstock.serving.prediction_log.upkeep import STATE, upkeep
from penstock.serving.prediction_log.writer import LogWriter
from penstock.state.database import open_state

NAMES = ("visits", "age")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000


def row(prediction_id: str, at: datetime = NOON, **other: Any) -> Row:
    given = {"rows": 1, "matrix": struct.pack("<2d", 3.5, 41), "outputs": struct.pack("<d", 0.25)}
    return Row(ns(at), prediction_id, "r1", "champion", **(given | other))


def encoder() -> Encoder:
    made = Encoder("production")
    made.describe("r1", Names.of(NAMES, "churn@3", "d1"))
    return made


def lines(*rows: Row) -> list[bytes]:
    text = bytearray()
    for one in rows:
        encoder().append(one, text)
    return bytes(text).splitlines()


def write_segment(folder: Path, content: bytes, name: str = "s1") -> Path:
    """A segment whose process has died."""
    path = LogFolder(folder).segments / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def logged(folder: Path, **selection: Any) -> list[dict[str, Any]]:
    found = predictions([folder], Selection(**selection)).order(
        "arrived_at, prediction_id, row_index"
    )
    return records(found)


def ids(folder: Path, **selection: Any) -> list[str]:
    return [one["prediction_id"] for one in logged(folder, **selection)]


# Lines


def test_a_request_is_logged_with_everything_that_is_known_of_it(tmp_path: Path) -> None:
    asked = row(
        "p1",
        unit="8f3a",
        epoch="ro-1/2",
        happened={"spending": [ns(NOON) - 1_000_000_000]},
        entities={"customer_id": [42]},
        request=b"abc",
        parse_us=1,
        features_us=2,
        queue_us=3,
        model_us=4,
        total_us=11,
    )
    write_segment(tmp_path, b"\n".join(lines(asked)) + b"\n")
    assert logged(tmp_path) == [
        {
            "arrived_at": NOON,
            "endpoint": "production",
            "prediction_id": "p1",
            "row_index": 0,
            "request_rows": 1,
            "rows_left_out": 0,
            "release": "r1",
            "model": "churn@3",
            "model_digest": "d1",
            "arm": "champion",
            "unit": "8f3a",
            "epoch": "ro-1/2",
            # SHA-256 of "abc": FIPS 180-2, B.1
            "request_digest": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "status": 200,
            "error": "",
            "entities": {"customer_id": 42},
            "features": {"visits": 3.5, "age": 41.0},
            "event_times": {"spending": "2026-03-01T11:59:59Z"},
            "output": [0.25],
            "parse_us": 1,
            "features_us": 2,
            "queue_us": 3,
            "model_us": 4,
            "total_us": 11,
            "erased": None,
        }
    ]


def test_a_refused_request_has_a_row_without_values(tmp_path: Path) -> None:
    refused = Row(ns(NOON), "p1", status=400, error="RequestError")
    write_segment(tmp_path, b"\n".join(lines(refused)) + b"\n")
    (found,) = logged(tmp_path)
    assert (found["status"], found["error"]) == (400, "RequestError")
    assert found["features"] is None
    assert found["output"] is None
    assert found["model"] == ""


def test_rows_of_one_request_share_its_id_and_are_numbered() -> None:
    matrix = struct.pack("<4d", 1, 2, 3, 4)
    asked = row("p1", rows=2, matrix=matrix, outputs=struct.pack("<4d", 5, 6, 7, 8), width=2)
    first, second = map(decode, lines(asked))
    assert (first.prediction_id, first.row_index, first.request_rows) == ("p1", 0, 2)
    assert (second.prediction_id, second.row_index, second.request_rows) == ("p1", 1, 2)
    assert second.output == [7, 8]
    assert bytes(second.features) == b'{"visits":3.0,"age":4.0}'


@pytest.mark.parametrize("by_columns", [False, True])
def test_of_a_large_request_the_first_thousand_rows_are_logged(by_columns: bool) -> None:
    asked = row("p1", rows=1200, matrix=bytes(8 * 2 * 1200), outputs=bytes(8 * 1200))
    if by_columns:
        columns = [[0.0] * 1200, [0.0] * 1200]
        asked = row("p1", rows=1200, matrix=None, columns=columns, outputs=bytes(8 * 1200))
    found = [decode(line) for line in lines(asked)]
    assert len(found) == 1000
    assert {(one.request_rows, one.rows_left_out) for one in found} == {(1200, 200)}


def test_what_json_has_no_number_for_is_null() -> None:
    asked = row("p1", matrix=struct.pack("<2d", math.nan, math.inf))
    nan = struct.pack("<d", math.nan)
    assert bytes(decode(lines(asked)[0]).features) == b'{"visits":null,"age":null}'
    assert decode(lines(row("p1", outputs=nan))[0]).output == [None]


def test_features_may_be_texts_and_their_names_anything() -> None:
    made = Encoder("production")
    made.describe("r1", Names.of(('say "hi"', "größe", "class"), "m@1", "d"))
    text = bytearray()
    made.append(row("p1", matrix=None, columns=[["a\nb"], [None], [date(2026, 3, 1)]]), text)
    assert text.count(b"\n") == 1
    assert bytes(decode(bytes(text).rstrip(b"\n")).features).decode() == (
        '{"say \\"hi\\"":"a\\nb","größe":null,"class":"2026-03-01"}'
    )


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2))
def test_numbers_come_back_to_the_bit(values: list[float]) -> None:
    found = decode(lines(row("p1", matrix=struct.pack("<2d", *values)))[0])
    text = bytes(found.features).decode()
    query = "SELECT ($1->>'visits')::DOUBLE, ($1->>'age')::DOUBLE"
    (back,) = duckdb.connect().execute(query, [text]).fetchall()
    assert struct.pack("<2d", *back) == struct.pack("<2d", *values)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_line_with_a_changed_byte_is_not_whole(place: int, change: int) -> None:
    (line,) = lines(row("p1"))
    damaged = bytearray(line)
    damaged[place % len(line)] ^= change
    assert is_whole(line)
    assert not is_whole(bytes(damaged))


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_a_line_cut_short_is_not_whole(length: int) -> None:
    (line,) = lines(row("p1"))
    assert not is_whole(line[: length % len(line)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"matrix": bytes(8)},
        {"rows": 2, "matrix": bytes(16)},
        {"rows": 2, "matrix": None, "columns": [[1.0], [2.0]]},
        {"matrix": None, "columns": [["\ud800"], [1.0]]},
        {"matrix": None, "columns": [[1.0]]},
    ],
)
def test_values_that_do_not_fit_cost_the_values_and_not_the_row(
    tmp_path: Path, wrong: dict[str, Any]
) -> None:
    write_all(tmp_path, [row("p1"), row("p2", **wrong), row("p3")])
    assert ids(tmp_path) == ["p1", "p2", "p3"]
    assert logged(tmp_path, prediction_id="p2")[0]["features"] is None


# Segments


def test_segments_of_processes_that_start_at_once_have_different_names() -> None:
    assert segment_name(NOON, "web-1.example", 7, "aa") == (
        "20260301T120000000000Z-web_1_example-7-aa.jsonl"
    )
    assert segment_name(NOON, "a", 7, "aa") != segment_name(NOON, "b", 7, "aa")
    assert segment_name(NOON, "a", 7, "aa") != segment_name(NOON, "a", 7, "ab")


def test_an_open_segment_is_read_but_not_compacted(tmp_path: Path) -> None:
    segment = Segment(LogFolder(tmp_path).segments, NOON)
    segment.write(b"\n".join(lines(row("p1"))) + b"\n")
    segment.commit()
    assert compact(tmp_path) == []
    assert ids(tmp_path) == ["p1"]
    segment.close()
    (done,) = compact(tmp_path)
    assert done.rows == 1
    assert ids(tmp_path) == ["p1"]


def test_a_torn_tail_is_passed_over_until_the_rest_has_come(tmp_path: Path) -> None:
    first, second = lines(row("p1"), row("p2"))
    path = write_segment(tmp_path, first + b"\n" + second[:-40])
    assert ids(tmp_path) == ["p1"]
    path.write_bytes(first + b"\n" + second + b"\n")
    assert ids(tmp_path) == ["p1", "p2"]


def test_a_damaged_line_costs_no_other_one_and_is_kept(tmp_path: Path) -> None:
    first, second, third = lines(row("p1"), row("p2"), row("p3"))
    damaged = second.replace(b"41.0", b"14.0")
    write_segment(tmp_path, b"\n".join([first, damaged, third]) + b"\n")
    assert ids(tmp_path) == ["p1", "p3"]
    (done,) = compact(tmp_path)
    assert (done.rows, done.damaged) == (2, 1)
    assert ids(tmp_path) == ["p1", "p3"]
    assert (tmp_path / "damaged" / "s1.jsonl").read_bytes() == damaged + b"\n"


# Compaction


def test_compaction_parts_by_the_date_of_arrival_though_the_clock_went_back(tmp_path: Path) -> None:
    late = datetime(2026, 3, 2, 0, 0, 1, tzinfo=UTC)
    written = lines(row("p1", NOON), row("p2", late), row("p3", late - timedelta(seconds=2)))
    write_segment(tmp_path, b"\n".join(written) + b"\n")
    compact(tmp_path)
    files = [path.relative_to(tmp_path).as_posix() for path in LogFolder(tmp_path).list_parquet()]
    assert files == [
        "parquet/date=2026-03-01/endpoint=production/s1.parquet",
        "parquet/date=2026-03-02/endpoint=production/s1.parquet",
    ]
    assert ids(tmp_path) == ["p1", "p3", "p2"]
    assert ids(tmp_path, since=late) == ["p2"]


@pytest.mark.parametrize("written", [1, 2])  # of two Parquet files, before it was killed
def test_a_killed_compaction_neither_loses_nor_doubles_a_row(tmp_path: Path, written: int) -> None:
    content = b"\n".join(lines(row("p1"), row("p2", NOON + timedelta(days=1)))) + b"\n"
    write_segment(tmp_path, content)
    (done,) = compact(tmp_path)
    write_segment(tmp_path, content)
    for file in done.files[written:]:
        file.unlink()
    left = done.files[0].with_name(f".{done.files[0].name}.x.part")
    left.write_bytes(b"half")
    assert ids(tmp_path) == ["p1", "p2"]
    compact(tmp_path)
    assert ids(tmp_path) == ["p1", "p2"]
    assert LogFolder(tmp_path).list_segments() == []
    assert not left.exists()


def test_compacting_again_changes_nothing(tmp_path: Path) -> None:
    write_segment(tmp_path, b"\n".join(lines(row("p1"))) + b"\n")
    (done,) = compact(tmp_path)
    before = done.files[0].read_bytes()
    assert compact(tmp_path) == []
    assert done.files[0].read_bytes() == before


def test_compactions_at_once_share_the_work(tmp_path: Path) -> None:
    for number in range(6):
        write_segment(tmp_path, lines(row(f"p{number}"))[0] + b"\n", f"s{number}")
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.append(len(compact(tmp_path)))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 6
    assert ids(tmp_path) == [f"p{number}" for number in range(6)]


def test_an_empty_segment_of_a_killed_process_goes(tmp_path: Path) -> None:
    write_segment(tmp_path, b"")
    compact(tmp_path)
    assert LogFolder(tmp_path).list_segments() == []
    assert LogFolder(tmp_path).list_parquet() == []


def test_partitions_are_as_other_tools_expect_them(tmp_path: Path) -> None:
    write_segment(tmp_path, b"\n".join(lines(row("p1"))) + b"\n")
    compact(tmp_path)
    found = duckdb.sql(
        f"SELECT date::VARCHAR, endpoint, (features->>'age')::DOUBLE "
        f"FROM read_parquet('{tmp_path}/parquet/**/*.parquet', hive_partitioning=true)"
    )
    assert found.fetchall() == [("2026-03-01", "production", 41.0)]


# Reading


def test_rows_are_selected_across_parquet_and_segments_of_several_logs(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    write_segment(one, b"\n".join(lines(row("p1"))) + b"\n")
    compact(one)
    hour = timedelta(hours=1)
    write_segment(one, b"\n".join(lines(row("p2", NOON + hour))) + b"\n", "s2")
    write_segment(other, b"\n".join(lines(Row(ns(NOON), "p3", release="r2"))) + b"\n")

    def chosen(**selection: Any) -> list[str]:
        found = predictions([one, other, tmp_path / "none"], Selection(**selection))
        return sorted(one["prediction_id"] for one in records(found))

    assert chosen() == ["p1", "p2", "p3"]
    assert chosen(since=NOON + hour) == ["p2"]
    assert chosen(until=NOON + hour) == ["p1", "p3"]
    assert chosen(release="r2") == ["p3"]
    assert chosen(prediction_id="p1") == ["p1"]
    assert chosen(prediction_id="p") == []
    assert chosen(endpoint="staging") == []
    assert chosen(release="r1' OR 'a' = 'a") == []


# Retention


def test_a_date_expires_when_its_last_row_is_old_enough() -> None:
    dates = [date(2026, 3, day) for day in (1, 2, 3)]
    # Kept for 1 day, on the 3rd: the last row of the 1st is at least 24 hours old, that of the
    # 2nd may be a second old.
    assert expired(dates, 1, date(2026, 3, 3)) == [date(2026, 3, 1)]
    assert expired(dates, 0, date(2030, 1, 1)) == []


def test_expired_partitions_are_announced_and_deleted_and_the_rest_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, now = tmp_path / "predictions", datetime.now(UTC)
    old = now - timedelta(days=40)
    write_segment(folder, b"\n".join(lines(row("p1", old), row("p2", now))) + b"\n")
    compact(folder)
    (folder / "parquet" / ".expired-date=2020-01-01").mkdir()  # of a run that was killed
    monkeypatch.setenv(STATE, f"sqlite:///{tmp_path / 'state.db'}")
    upkeep(folder, 30, "", "production")
    assert ids(folder) == ["p2"]
    assert os.listdir(folder / "parquet") == [f"date={now.date()}"]
    before, after = Ledger(open_state(os.environ[STATE], tmp_path)).entries()
    assert (before.action, before.subject) == ("prediction.expiring", "production")
    assert before.details == {"dates": [str(old.date())], "retention": "30d"}
    assert (after.action, after.outcome) == ("prediction.expired", "done")
    assert after.details == before.details | {"announced": before.sequence}
    upkeep(folder, 30, "", "production")
    assert len(Ledger(open_state(os.environ[STATE], tmp_path)).entries()) == 2


def test_a_deletion_that_fails_has_been_announced(tmp_path: Path) -> None:
    engine = open_state("", tmp_path)
    deletion = announced(engine, "going", "gone", "all", {"n": 1})
    with pytest.raises(FileNotFoundError), deletion:
        (tmp_path / "nothing").unlink()
    assert [(one.action, one.outcome) for one in Ledger(engine).entries()] == [
        ("going", ""),
        ("gone", "failed"),
    ]


# One prediction, by its id


def an_id(at: datetime) -> str:
    return written("00000000000000aa", f"9c4f{int(at.timestamp()):08x}0011223344556677{7:08x}")


def test_a_prediction_is_looked_for_in_the_parts_of_its_time_alone(tmp_path: Path) -> None:
    """Also behind another endpoint, in an open segment, in one that went on over midnight."""
    late = datetime(2026, 3, 1, 23, 59, 58, tzinfo=UTC)
    begun = {"s": late - timedelta(minutes=9), "before": late - timedelta(minutes=20)}
    names = {name: segment_name(at, "host", 7, "ab")[:-6] for name, at in begun.items()}
    here, there = tmp_path / "staging", tmp_path / "production"
    wanted = [an_id(late), an_id(late + timedelta(seconds=3))]
    rows = [row(wanted[0], late), row(wanted[1], late + timedelta(seconds=3))]
    write_segment(here, b"\n".join(lines(*rows)) + b"\n", names["s"])
    compact(here)
    (elsewhere,) = here.glob("parquet/date=2026-03-01/*")
    (elsewhere / f"{names['before']}.parquet").write_bytes(b"is not read")
    open_one = row(an_id(NOON), NOON)
    write_segment(there, b"\n".join(lines(open_one)) + b"\n", segment_name(NOON, "h", 1, "c")[:-6])
    for name in (*wanted, an_id(NOON)):
        assert [one["prediction_id"] for one in rows_of([here, there], name)] == [name]
    with pytest.raises(duckdb.Error):
        rows_of([here, there], an_id(NOON + timedelta(hours=1)))  # then all are read


def test_a_prediction_of_an_older_gateway_or_of_a_wrong_clock_is_found(tmp_path: Path) -> None:
    old = "00000000000000aa-9c4f00112233445566770000002a"
    wrong = an_id(NOON - timedelta(days=400))
    content = b"\n".join(lines(row(old), row(wrong), row(an_id(NOON)))) + b"\n"
    write_segment(tmp_path, content, segment_name(NOON, "host", 7, "ab")[:-6])
    compact(tmp_path)
    for name in (old, wrong, an_id(NOON)):
        assert [one["prediction_id"] for one in rows_of([tmp_path], name)] == [name]
    assert rows_of([tmp_path], an_id(NOON + timedelta(seconds=1))) == []


@given(
    st.lists(st.tuples(st.integers(0, 20_000), st.sampled_from("ab")), max_size=12),
    st.integers(0, 20_000),
    st.integers(0, 500),
)
def test_the_parts_of_a_time_have_the_one_that_was_written_then(
    begun: list[tuple[int, str]], made: int, waited: int
) -> None:
    """For a process that ends its segments in time, wherever the row had to wait a while."""
    start = datetime(2026, 3, 1, tzinfo=UTC)
    at = {
        segment_name(start + timedelta(seconds=second), host, 1, f"{number:012x}")[:-6]: second
        for number, (second, host) in enumerate(begun)
    }
    found = may_hold(at, start + timedelta(seconds=made))
    for host in "ab":
        before = [name for name in at if f"-{host}-" in name and at[name] <= made + waited]
        holder = max(before, key=lambda name: at[name], default=None)
        if holder is not None and made - at[holder] <= 3600:
            assert at[holder] in {at[name] for name in found if f"-{host}-" in name}


# The writer


def write_all(folder: Path, rows: Sequence[Row], **settings: Any) -> None:
    writer = LogWriter(folder, "production", fsync_interval=0.001, **settings)
    writer.describe("r1", NAMES, "churn@3", "d1")
    assert all(writer.append(one) for one in rows)
    assert writer.close() == 0


def test_what_was_appended_is_there_in_order_after_closing(tmp_path: Path) -> None:
    write_all(tmp_path, [row(f"p{number:04}") for number in range(3000)])
    assert ids(tmp_path) == [f"p{number:04}" for number in range(3000)]
    assert [done.rows for done in compact(tmp_path)] == [3000]


def test_a_row_is_on_the_disk_when_its_answer_may_leave(tmp_path: Path) -> None:
    async def serve() -> None:
        writer = LogWriter(tmp_path, "production", ack_after_log=True)
        writer.describe("r1", NAMES, "churn@3", "d1")
        for number in range(5):
            safe = asyncio.Event()
            writer.append(row(f"p{number}"), safe.set)
            await safe.wait()
            assert f"p{number}" in ids(tmp_path)
        assert writer.pending == 0
        writer.close()

    asyncio.run(serve())


def test_many_answers_share_a_commit(tmp_path: Path) -> None:
    batches: list[Sequence[Row]] = []

    async def serve() -> None:
        writer = LogWriter(tmp_path, "production", ack_after_log=True, on_batch=batches.append)
        safe = asyncio.Semaphore(0)
        for number in range(500):
            writer.append(row(f"p{number}"), safe.release)
        for _ in range(500):
            await safe.acquire()
        writer.close()

    asyncio.run(serve())
    assert sum(map(len, batches)) == 500
    assert len(batches) < 50


def test_what_follows_a_commit_may_fail(tmp_path: Path) -> None:
    def fail(rows: Sequence[Row]) -> None:
        raise RuntimeError("no observations")

    write_all(tmp_path, [row("p1"), row("p2")], on_batch=fail)
    assert ids(tmp_path) == ["p1", "p2"]


def test_two_writers_of_one_folder_have_segments_of_their_own(tmp_path: Path) -> None:
    first, second = LogWriter(tmp_path, "production"), LogWriter(tmp_path, "production")
    for number in range(100):
        first.append(row(f"a{number:02}"))
        second.append(row(f"b{number:02}"))
    assert (first.close(), second.close()) == (0, 0)
    assert len(LogFolder(tmp_path).list_segments()) == 2
    assert len(set(ids(tmp_path))) == 200


def test_segments_end_by_size(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, "production", ack_after_log=True, segment_bytes=1000)

    async def serve() -> None:
        for number in range(6):
            safe = asyncio.Event()
            writer.append(row(f"p{number}"), safe.set)
            await safe.wait()

    asyncio.run(serve())
    writer.close()
    assert len(LogFolder(tmp_path).list_segments()) > 1
    assert len(ids(tmp_path)) == 6


def test_a_segment_ends_by_age_though_no_row_comes(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, "production", ack_after_log=True, segment_seconds=0.01)
    writer.append(row("p1"))
    # It is held for a while; and before it is, it may be taken for the empty one of a dead process.
    while not any(done.rows for done in compact(tmp_path)):
        pass
    assert ids(tmp_path) == ["p1"]
    assert LogFolder(tmp_path).list_segments() == []
    writer.append(row("p2"))
    writer.close()
    assert ids(tmp_path) == ["p1", "p2"]


def test_a_segment_compacted_before_it_was_held_costs_no_row(tmp_path: Path) -> None:
    for number in range(30):  # the writer opens its segment while compactions look for one
        folder = tmp_path / str(number)
        writer = LogWriter(folder, "production", ack_after_log=True, segment_seconds=0.001)
        writer.append(row("p1"))
        while writer.pending:
            compact(folder)
        assert writer.close() == 0
        assert ids(folder) == ["p1"]


def test_an_idle_writer_leaves_no_file(tmp_path: Path) -> None:
    write_all(tmp_path, [])
    assert LogFolder(tmp_path).list_segments() == []


def test_a_folder_that_cannot_be_made_is_said_and_mends_itself(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("in the way")

    async def serve() -> None:
        writer = LogWriter(tmp_path / "log", "production", fsync_interval=0.001, max_pending=2)
        safe = asyncio.Event()
        assert writer.append(row("p1"), safe.set)
        while writer.healthy:
            await asyncio.sleep(0)
        assert str(tmp_path / "log") in writer.error
        assert writer.append(row("p2"))
        assert not writer.append(row("p3"))  # two wait already
        assert not safe.is_set()
        (tmp_path / "log").unlink()
        await safe.wait()
        assert writer.healthy
        assert writer.error == ""
        assert writer.close() == 0

    asyncio.run(serve())
    assert ids(tmp_path / "log") == ["p1", "p2"]


def test_a_folder_is_seen_to_be_mended_though_no_row_comes(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("in the way")
    writer = LogWriter(tmp_path / "log", "production", fsync_interval=0.001)
    while writer.healthy:
        pass
    (tmp_path / "log").unlink()
    while not writer.healthy:
        pass
    assert writer.close() == 0


def test_a_log_deleted_under_the_writer_begins_anew(tmp_path: Path) -> None:
    async def serve() -> None:
        writer = LogWriter(tmp_path, "production", fsync_interval=0.001, ack_after_log=True)
        for number in range(3):
            safe = asyncio.Event()
            writer.append(row(f"p{number}"), safe.set)
            await safe.wait()
            assert ids(tmp_path) == [f"p{number}"]
            shutil.rmtree(LogFolder(tmp_path).segments)
        writer.close()

    asyncio.run(serve())


def test_closing_says_how_many_rows_could_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("in the way")
    writer = LogWriter(tmp_path / "log", "production", fsync_interval=0.001)
    writer.append(row("p1"))
    writer.append(row("p2"))
    assert writer.close() == 2


# The commands


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    """Whose staging endpoint has answered two requests long ago and one an instant ago."""
    project = make_project()
    folder = project.endpoint("staging") / "predictions"
    two = row("p2", rows=2, matrix=struct.pack("<4d", 1, 2, 3, math.nan), outputs=bytes(16))
    write_segment(folder, b"\n".join(lines(row("p1", total_us=1500), two)) + b"\n")
    compact(folder)
    now = datetime.now(UTC)
    refused = Row(ns(now), "p3", status=400, error="RequestError")
    write_segment(folder, b"\n".join(lines(refused)) + b"\n", "s2")
    return project


def options(project: Project, **given: Any) -> argparse.Namespace:
    usual = {"endpoint": None, "since": None, "release": None, "limit": 20, "json": False}
    opened = {"project": str(project.root), "environment": None}
    return argparse.Namespace(**(usual | opened | given))


def listed(project: Project, capsys: pytest.CaptureFixture[str], **given: Any) -> list[str]:
    list_predictions(options(project, json=True, **given))
    return [one["prediction_id"] for one in json.loads(capsys.readouterr().out)]


def test_the_latest_predictions_are_listed(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    assert listed(project, capsys) == ["p3", "p1", "p2", "p2"]
    assert listed(project, capsys, limit=2) == ["p3", "p1"]
    assert listed(project, capsys, since="1h") == ["p3"]
    assert listed(project, capsys, since="2026-03-01", release="r1") == ["p1", "p2", "p2"]
    assert listed(project, capsys, endpoint="production") == []
    list_predictions(options(project))
    _, refused, first, second, third = capsys.readouterr().out.splitlines()
    assert "400 RequestError" in refused
    assert first.split()[3:] == ["p1", "r1", "churn@3", "champion", "0.25", "1.50", "ms", "200"]
    assert "p2 #0" in second
    assert "p2 #1" in third


def test_a_prediction_is_shown_with_all_its_rows(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    show_prediction(options(project, id="p2"))
    shown = capsys.readouterr().out
    assert "prediction p2 of 2026-03-01 12:00:00.000000 UTC" in shown
    assert "  visits = 3.0\n  age = missing\n" in shown
    with pytest.raises(UsageError, match="'p9'"):
        show_prediction(options(project, id="p9"))


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_predictions_are_exported(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    target = tmp_path / f"out.{suffix}"
    export_predictions(options(project, output=str(target), release="r1", json=True))
    assert json.loads(capsys.readouterr().out)["rows"] == 3
    if suffix == "parquet":
        exported = pq.read_table(target).to_pylist()
        assert [one["prediction_id"] for one in exported] == ["p1", "p2", "p2"]
        assert exported[0]["arrived_at"] == NOON
        assert exported[0]["output"] == [0.25]
    else:
        assert len(target.read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("wrong", "named"), [({"output": "out.txt"}, "out.txt"), ({"since": "soon"}, "'soon'")]
)
def test_what_cannot_be_exported_is_named(
    project: Project, tmp_path: Path, wrong: dict[str, str], named: str
) -> None:
    given = {"output": str(tmp_path / "out.csv")} | wrong
    with pytest.raises(UsageError, match=named):
        export_predictions(options(project, **given))
