"""What a read of some features means, worked out once and used until the registry changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from feast.feature_service import FeatureService
from feast.feature_view import FeatureView
from feast.protos.feast.types.Value_pb2 import RepeatedValue
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.type_map import python_values_to_proto_values
from feast.utils import _get_online_request_context
from feast.value_type import ValueType

from penstock.features.online_stores.keys import Key, KeyCodec
from penstock.features.online_stores.layout import Layout, layout_of
from penstock.features.online_stores.response import Columns
from penstock.features.online_stores.values import ValueCodec, codec_of

Entities = dict[str, list[Any]]
MOST_PLANS = 1024
MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class Part:
    """The features of one view."""

    space: str
    keys: KeyCodec
    columns_of_keys: tuple[str, ...]  # for each of the codec's names, as the request calls it
    columns: Columns
    reader: Any  # `latest_reader.LatestReader` or `tail_reader.TailReader`

    def keys_of(self, asked: Entities) -> list[Key]:
        """The keys of the entities asked, null where a part is, and those the reader adds."""
        if len(self.columns_of_keys) == 1:
            keys = self.keys.column(0, asked[self.columns_of_keys[0]])
        else:
            count = len(next(iter(asked.values())))
            keys = self.keys.encode([asked[name] for name in self.columns_of_keys], count)
        keys += self.reader.beside
        return keys


@dataclass(frozen=True, slots=True)
class Plan:
    """How a request of certain features is answered."""

    parts: tuple[Part, ...]
    needed: tuple[str, ...]  # columns of keys
    echoed: Mapping[str, ValueCodec]  # join keys that the answer repeats, where they are given
    others: frozenset[str]  # names that only Feast's own path understands

    def entities(self, asked: Any) -> Entities | None:
        """The asked columns; none where Feast should say what is wrong with them."""
        columns = _of_rows(asked) if type(asked) is list else _of_columns(asked)
        if not columns:
            return None
        for name in self.needed:
            if name not in columns:
                return None
        return columns if self.others.isdisjoint(columns) else None

    def echo(self, asked: Entities) -> dict[str, tuple[ValueCodec, list[Any]]]:
        """The join keys as the answer repeats them."""
        repeated = {}
        for name, column in asked.items():
            codec = self.echoed.get(name)
            if codec:
                repeated[name] = codec, _stored(column, codec)
        return repeated


def _of_rows(rows: list[Any]) -> Entities | None:
    if len(rows) == 1:
        return {name: [value] for name, value in rows[0].items()}
    try:
        columns: Entities = {name: [row[name] for row in rows] for name in rows[0]}
    except (KeyError, IndexError):
        return None
    return columns if {*map(len, rows)} == {len(columns)} else None


def _of_columns(asked: Any) -> Entities | None:
    if not isinstance(asked, Mapping):
        return None
    columns: Entities = {
        name: list(column.val if isinstance(column, RepeatedValue) else column)
        for name, column in asked.items()
    }
    lengths = {*map(len, columns.values())}
    return columns if len(lengths) == 1 and lengths != {0} else None


def _stored(column: list[Any], codec: ValueCodec) -> list[Any]:
    kinds = {*map(type, column)}
    if codec.plain and (kinds == {int} or kinds == {str}):
        return column
    protos = [value for value in column if isinstance(value, ValueProto)]
    if len(protos) != len(column):
        protos = python_values_to_proto_values(column, codec.kind)
    return [codec.stored(proto) for proto in protos]


@dataclass
class Plans:
    """The plans of one registry, as it is now: forgotten when it changes or its cache expires."""

    make_reader: Callable[[Layout, tuple[tuple[str, str], ...]], Any]
    _plans: dict[Any, Plan | None] = field(default_factory=dict)
    _proto: Any = None
    _version: str = ""
    _expires: float = 0.0

    def find(
        self, registry: Any, project: str, features: Any, full_feature_names: bool
    ) -> Plan | None:
        """None: only Feast's own path can answer, or say what is wrong."""
        if type(features) is list:
            key: Any = (*features, full_feature_names, project)
        elif isinstance(features, FeatureService):
            key = (FeatureService, features.name, full_feature_names, project)
        else:
            return None
        proto: Any = getattr(registry, "cached_registry_proto", None)
        current = proto is not None and proto is self._proto
        if current and proto.version_id == self._version and time.time() < self._expires:
            plan: Plan | None = self._plans.get(key, MISSING)
            if plan is not MISSING:
                return plan
        return self._made(key, registry, project, features, full_feature_names)

    def _made(
        self, key: Any, registry: Any, project: str, features: Any, full_feature_names: bool
    ) -> Plan | None:
        context = _get_online_request_context(registry, project, features, full_feature_names)
        self._renew(registry)
        plan = self._plan(context, project, features, full_feature_names)
        if self._proto is not None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def _renew(self, registry: Any) -> None:
        """Begins anew if the registry has been read again since."""
        proto = getattr(registry, "cached_registry_proto", None)
        created = getattr(registry, "cached_registry_proto_created", None)
        ttl = getattr(registry, "cached_registry_proto_ttl", None)
        if proto is None or created is None or ttl is None:
            self._plans.clear()
            self._proto = None
            return
        lives = ttl.total_seconds() or float("inf")
        version, expires = proto.version_id, created.timestamp() + lives
        if proto is not self._proto or version != self._version or expires != self._expires:
            self._plans.clear()
            self._proto, self._version, self._expires = proto, version, expires

    def _plan(
        self, context: Any, project: str, features: Any, full_feature_names: bool
    ) -> Plan | None:
        refs, on_demand, names, types, join_keys, grouped, _, needed, _ = context
        stock = on_demand or needed or getattr(features, "precompute_online", False)
        views = [view for view, _ in grouped]
        if stock or any(view.projection.version_tag is not None for view in views):
            return None
        parts = []
        for view, asked in grouped:
            # Feast 0.67 keeps them in a set; the answer has them in the order of the request.
            alias = view.projection.name_to_use() + ":"
            ordered = (ref.removeprefix(alias) for ref in refs if ref.startswith(alias))
            wanted = [name for name in ordered if name in asked]
            wanted += sorted(set(asked) - set(wanted))
            parts.append(self._part(view, wanted, project, full_feature_names))
        needed_keys = dict.fromkeys(name for part in parts for name in part.columns_of_keys)
        kinds = {name: types.get(name, ValueType.UNKNOWN) for name in join_keys}
        return Plan(
            parts=tuple(parts),
            needed=tuple(needed_keys),
            echoed={
                name: codec_of(kind.name)
                for name, kind in kinds.items()
                if kind != ValueType.UNKNOWN
            },
            # Names of entities, which Feast 0.67 deprecates, and keys whose type it infers.
            others=(frozenset(names) - join_keys)
            | {name for name, kind in kinds.items() if kind == ValueType.UNKNOWN},
        )

    def _part(
        self, view: FeatureView, wanted: list[str], project: str, full_feature_names: bool
    ) -> Part:
        layout = layout_of(project, view)
        kinds = {field.name: field.dtype.to_value_type().name for field in view.features}
        fields = tuple((name, kinds[name]) for name in wanted)
        codecs = tuple(codec_of(kind) for _, kind in fields)
        renamed = view.projection.join_key_map
        alias = view.projection.name_to_use()
        return Part(
            space=layout.space,
            keys=layout.codec,
            columns_of_keys=tuple(renamed.get(name, name) for name in layout.codec.names),
            columns=Columns(
                view=alias,
                names=tuple(f"{alias}__{name}" if full_feature_names else name for name in wanted),
                codecs=codecs,
                plain=all(codec.plain for codec in codecs),
            ),
            reader=self.make_reader(layout, fields),
        )
