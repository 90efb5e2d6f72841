"""Rows in Amazon DynamoDB: nothing to run, and as much as one pays for.

In feature_store.yaml:

    online_store:
      type: penstock.features.online_stores.dynamodb.DynamoDBOnlineStore
      table: penstock-features      # made where it is missing, and paid for by request
      region: eu-central-1
      endpoint_url: ""              # empty: Amazon's own

One table for all views. Its hash key is a SHA-256 of view and entity key, so that traffic spreads
evenly. Reads are eventually consistent: a write is seen within about a second. Credentials are
those of boto3. Loaded as a Feast plugin only.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Literal

from feast.repo_config import FeastConfigBaseModel, RepoConfig

from penstock.errors import DataError, PenstockError, ResourceError
from penstock.features.online_stores.backend import Combine, Row
from penstock.features.online_stores.store import PackedOnlineStore

KEYS_A_READ = 100  # BatchGetItem's own limit
LARGEST = 400 * 1024  # bytes of an item
OVERHEAD = 256  # of an item's other attributes, and some to spare
ATTEMPTS = 8
WRITERS = 8


class DynamoDBOnlineStoreConfig(FeastConfigBaseModel):
    """`table`, `region`, and `endpoint_url` where it is not Amazon's own."""

    type: Literal["penstock.features.online_stores.dynamodb.DynamoDBOnlineStore"] = (
        "penstock.features.online_stores.dynamodb.DynamoDBOnlineStore"
    )
    table: str = "penstock-features"
    region: str = "us-east-1"
    endpoint_url: str | None = None
    timeout: float = 5.0


class DynamoDBOnlineStore(PackedOnlineStore):
    """One packed row an entity and view in DynamoDB."""

    def open_rows(self, config: RepoConfig) -> DynamoDBRows:
        about = config.online_store
        return DynamoDBRows(about.table, about.region, about.endpoint_url or None, about.timeout)


class DynamoDBRows:
    """A `RowStore` in a table: id (B), space (S), held (B), version (N)."""

    remote = True

    def __init__(self, table: str, region: str, endpoint: str | None, timeout: float) -> None:
        self._table, self._region = table, region
        self._endpoint, self._timeout = endpoint, timeout

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        with self._asking():
            return boto3.client(
                "dynamodb",
                region_name=self._region,
                endpoint_url=self._endpoint,
                config=Config(
                    connect_timeout=self._timeout,
                    read_timeout=self._timeout,
                    max_pool_connections=2 * WRITERS,
                    retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                ),
            )

    def read_many(self, asked: Sequence[tuple[str, Sequence[bytes | None]]]) -> list[list[Row]]:
        named = [[None if k is None else _id(space, k) for k in keys] for space, keys in asked]
        found = self._items({name for names in named for name in names if name is not None})
        return [
            [found[name]["held"]["B"] if name in found else None for name in names]
            for names in named
        ]

    def merge(self, space: str, keys: Sequence[bytes], combine: Combine) -> None:
        names = [_id(space, key) for key in keys]
        left = list(range(len(keys)))
        with ThreadPoolExecutor(WRITERS) as writers:
            while left:
                there = self._items({names[i] for i in left}, consistent=True)
                items = [there.get(names[i]) for i in left]
                rows = combine(left, [item["held"]["B"] if item else None for item in items])
                changed = [
                    (i, item, row)
                    for i, item, row in zip(left, items, rows, strict=True)
                    if row is not None
                ]
                for i, _, row in changed:
                    _require_small(space, keys[i], row)
                won = writers.map(lambda c: self._put(space, names[c[0]], c[1], c[2]), changed)
                left = [i for (i, _, _), done in zip(changed, list(won), strict=True) if not done]

    def _put(self, space: str, name: bytes, old: Any, row: bytes) -> bool:
        """Whether nobody else has written since the old item was read."""
        version = int(old["version"]["N"]) if old else 0
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(id)"}
        if old:
            condition = {
                "ConditionExpression": "version = :old",
                "ExpressionAttributeValues": {":old": {"N": str(version)}},
            }
        item = {
            "id": {"B": name},
            "space": {"S": space},
            "held": {"B": row},
            "version": {"N": str(version + 1)},
        }
        client = self._client
        with self._asking():
            try:
                client.put_item(TableName=self._table, Item=item, **condition)
            except client.exceptions.ConditionalCheckFailedException:
                return False
        return True

    def delete(self, space: str, keys: Sequence[bytes]) -> int:
        gone = 0
        with self._asking(), contextlib.suppress(self._client.exceptions.ResourceNotFoundException):
            for key in keys:
                name = {"id": {"B": _id(space, key)}}
                was = self._client.delete_item(
                    TableName=self._table, Key=name, ReturnValues="ALL_OLD"
                )
                gone += "Attributes" in was
        return gone

    def drop(self, space: str) -> None:
        """Reads through the whole table, as DynamoDB has no shorter way."""
        with self._asking(), contextlib.suppress(self._client.exceptions.ResourceNotFoundException):
            pages = self._client.get_paginator("scan").paginate(
                TableName=self._table,
                FilterExpression="#space = :space",
                ExpressionAttributeNames={"#space": "space"},
                ExpressionAttributeValues={":space": {"S": space}},
                ProjectionExpression="id",
            )
            names = [item["id"]["B"] for page in pages for item in page["Items"]]
            for name in [*names, _note(space)]:
                self._client.delete_item(TableName=self._table, Key={"id": {"B": name}})

    def require_lasting(self) -> None:
        """It keeps what it has: items have no time to live."""

    def get_note(self, space: str) -> Row:
        item = self._items({_note(space)}, consistent=True).get(_note(space))
        note: Row = item["held"]["B"] if item else None
        return note

    def put_note(self, space: str, note: bytes) -> None:
        item = {"id": {"B": _note(space)}, "held": {"B": note}, "version": {"N": "1"}}
        self._made(lambda: self._client.put_item(TableName=self._table, Item=item))

    def teardown(self) -> None:
        """Nothing more than the views, which are dropped: the table may hold other projects'."""

    def _items(self, names: set[bytes], consistent: bool = False) -> dict[bytes, Any]:
        """Items by id; those that DynamoDB puts off are asked for again."""
        found: dict[bytes, Any] = {}
        waiting = sorted(names)
        attempt = 0
        while waiting:
            part, waiting = waiting[:KEYS_A_READ], waiting[KEYS_A_READ:]
            asked = {
                "Keys": [{"id": {"B": name}} for name in part],
                "ConsistentRead": consistent,
            }
            answer = self._answer({self._table: asked})
            for item in answer["Responses"].get(self._table, ()):
                found[item["id"]["B"]] = item
            put_off = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", ())
            if put_off:
                attempt += 1
                if attempt > ATTEMPTS:
                    raise self._refused("it puts reads off again and again")
                waiting += [key["id"]["B"] for key in put_off]
                time.sleep(min(0.05 * 2**attempt, 2.0))
        return found

    def _answer(self, asked: dict[str, Any]) -> Any:
        with self._asking():
            try:
                return self._client.batch_get_item(RequestItems=asked)
            except self._client.exceptions.ResourceNotFoundException:
                return {"Responses": {}}  # there is no table yet

    def _made(self, work: Callable[[], Any]) -> None:
        """Does it, and makes the table first if there is none."""
        missing = self._client.exceptions.ResourceNotFoundException
        with self._asking():
            try:
                work()
            except missing:
                with contextlib.suppress(self._client.exceptions.ResourceInUseException):
                    self._client.create_table(
                        TableName=self._table,
                        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "B"}],
                        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
                        BillingMode="PAY_PER_REQUEST",
                    )
                self._client.get_waiter("table_exists").wait(
                    TableName=self._table, WaiterConfig={"Delay": 1}
                )
                work()

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except PenstockError:
            raise
        except (BotoCoreError, ClientError) as error:
            raise self._refused(str(error)) from error

    def _refused(self, why: str) -> ResourceError:
        where = f" at {self._endpoint}" if self._endpoint else f" in {self._region}"
        return ResourceError(
            f"DynamoDB's table {self._table!r}{where} cannot be used: {why}",
            hint="check the region, the endpoint, the credentials and their permissions",
        )


def _id(space: str, key: bytes) -> bytes:
    return hashlib.sha256(b"row\x00" + space.encode() + b"\x00" + key).digest()


def _note(space: str) -> bytes:
    return hashlib.sha256(b"view\x00" + space.encode()).digest()


def _require_small(space: str, key: bytes, row: bytes) -> None:
    if len(row) + len(space) + OVERHEAD > LARGEST:
        raise DataError(
            f"the row of {space!r} for key {key.hex()} has {len(row):,} bytes, and DynamoDB keeps "
            f"none above {LARGEST:,}",
            hint="shorten the view's windows, or keep it in Redis or LMDB",
        )
