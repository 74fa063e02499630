"""Parquet files whose columns are of any type: texts and labels come of them, or an error that names the row."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.guard import outcome
from textxfer.text import read_parquet

pa: Any = pytest.importorskip("pyarrow")
pq: Any = pytest.importorskip("pyarrow.parquet")

DAY = datetime.datetime(2020, 1, 1)
COLUMNS = {
    "bool": ([True, False], pa.bool_()),
    "binary": ([b"\xff", b"a"], pa.binary()),
    "date": ([0, 1 << 30], pa.date32()),
    "decimal": ([Decimal("1.5"), Decimal("2.5")], pa.decimal128(38, 10)),
    "dictionary": (["a", "b"], pa.dictionary(pa.int8(), pa.string())),
    "double": ([float("nan"), float("inf")], pa.float64()),
    "duration": ([1, 1 << 62], pa.duration("s")),
    "list": ([["a"], ["b", None]], pa.list_(pa.string())),
    "map": ([[("a", 1)], []], pa.map_(pa.string(), pa.int8())),
    "null": ([None, None], pa.null()),
    "struct": ([{"a": 1}, {"a": None}], pa.struct([("a", pa.int8())])),
    "time": ([1, 86_399_999], pa.time32("ms")),
    "timestamp": ([DAY, DAY], pa.timestamp("us", "UTC")),
    "timestamp of the far future": ([1 << 50, -(1 << 50)], pa.timestamp("s")),
    "timestamp in a zone of nobody": ([1, 2], pa.timestamp("s", "Nowhere/At_all")),
    "timestamp to the nanosecond": ([1, 2], pa.timestamp("ns")),
    "uint64": ([(1 << 64) - 1, 0], pa.uint64()),
}


@pytest.mark.parametrize("numeric", [True, False])
@pytest.mark.parametrize("kind", COLUMNS)
def test_columns_of_all_types(tmp_path: Path, kind: str, numeric: bool) -> None:
    values, type_ = COLUMNS[kind]
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"odd": pa.array(values, type_), "text": ["one", "two"], "label": ["1", "2"]}), path)
    outcome(lambda: list(read_parquet(path, "odd", "label")), tmp_path, path.name)
    outcome(lambda: list(read_parquet(path, "text", "odd", numeric=numeric)), tmp_path, path.name)
    outcome(lambda: list(read_parquet(path, ["text", "odd"], only=("odd", "x"))), tmp_path, path.name)
