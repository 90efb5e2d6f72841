"""The prediction log: a durable row for every answer of a gateway.

    writer      rows from the event loop to the disk, one commit for many
    rows        a row in memory and as a line of JSON
    segments    the append-only files of such lines
    columns     lines as an Arrow table
    compaction  finished segments → Parquet, by date and endpoint
    reading     Parquet and segments as one DuckDB relation
    finding     one prediction, by its id
    retention   old partitions are deleted
    erasing     what is known of one person is destroyed
    shipping    Parquet files to object storage

The folder of an endpoint's log holds `segments/NAME.jsonl`, which may be open, and
`parquet/date=YYYY-MM-DD/endpoint=NAME/SEGMENT.parquet`. Any number of processes and hosts may write
to it: each has segments of its own.
"""
