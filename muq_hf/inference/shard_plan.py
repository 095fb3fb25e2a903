"""Which file is embedded in which shard: a table of a million rows in a few seconds, and what a later run changes in it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..storage.remote import Folder
from .file_lists import FILES_SCHEMA


FILES_PER_SHARD = 2048
PLAN_SCHEMA = FILES_SCHEMA.append(pa.field("shard", pa.int32()))
PLAN_NAME = "_muq_hf/plan.parquet"
ROWS_PER_GROUP = 65_536


@dataclass(frozen=True)
class Shard:
    """Files that are embedded together: (path, version) in order."""

    number: int
    files: list[tuple[str, str]]

    @property
    def fragment(self) -> str:
        return fragment_name(self.number)


def fragment_name(number: int) -> str:
    return f"part-{number:06d}.parquet"


def shard_number(fragment: str) -> int | None:
    """The inverse of `fragment_name`; None for other names."""
    digits = fragment.removeprefix("part-").removesuffix(".parquet")
    return int(digits) if digits.isdecimal() and fragment_name(int(digits)) == fragment else None


class ShardPlan:
    """A table (path, version, shard), sorted by shard; within a shard files keep their order."""

    def __init__(self, table: pa.Table):
        self.table = table
        shards = self.table["shard"].to_numpy()
        is_first = np.ones(len(shards), bool)
        np.not_equal(shards[1:], shards[:-1], out=is_first[1:])
        self._firsts = np.flatnonzero(is_first)
        self.numbers = shards[self._firsts]
        self._ends = np.append(self._firsts[1:], len(shards))

    @classmethod
    def of_files(cls, files: pa.Table, files_per_shard: int, first: int = 0) -> "ShardPlan":
        """Shards of `files_per_shard` files in their order, numbered from `first`."""
        shards = pa.array(first + np.arange(len(files), dtype=np.int32) // np.int32(files_per_shard), pa.int32())
        return cls(files.append_column(PLAN_SCHEMA.field("shard"), shards))

    @classmethod
    def load(cls, folder: Folder) -> "ShardPlan":
        """Raises FileNotFoundError."""
        if not folder.exists(PLAN_NAME):
            raise FileNotFoundError(f"{folder.address} holds no plan of `muq-hf embed`.")
        return cls(pq.read_table(folder.open(PLAN_NAME), schema=PLAN_SCHEMA))

    def save(self, folder: Folder) -> None:
        options = {"row_group_size": ROWS_PER_GROUP, "compression": "zstd", "use_dictionary": ["shard"]}
        folder.write_by(PLAN_NAME, lambda file: pq.write_table(self.table, file, **options))

    def __len__(self) -> int:
        """Files in all shards."""
        return len(self.table)

    def shard(self, number: int) -> Shard:
        """Raises ValueError for a number that the plan does not have."""
        place = int(np.searchsorted(self.numbers, number))
        if place == len(self.numbers) or self.numbers[place] != number:
            raise ValueError(f"the plan has no shard {number}.")
        rows = self.table.slice(self._firsts[place], self._ends[place] - self._firsts[place])
        paths = map(os.fsdecode, rows["path"].to_pylist())
        return Shard(int(number), list(zip(paths, rows["version"].to_pylist(), strict=True)))

    def paths(self, numbers: Iterable[int] | None = None) -> list[str]:
        """Of these shards, or of all."""
        column = self.table["path"]
        if numbers is not None:
            column = column.filter(pa.array(np.isin(self.table["shard"].to_numpy(), np.fromiter(numbers, np.int64))))
        return list(map(os.fsdecode, column.to_pylist()))

    def num_files(self, numbers: Iterable[int]) -> int:
        """Files of these shards."""
        chosen = np.isin(self.numbers, np.fromiter(numbers, np.int64))
        return int((self._ends - self._firsts)[chosen].sum())

    def updated(
        self, files: pa.Table, done: Iterable[int], failed: Iterable[str], files_per_shard: int
    ) -> tuple["ShardPlan", dict[int, set[str]]]:
        """The plan for `files`, and the rows that fragments must lose first: shard → paths.

        Shards that are `done` keep their files, but for those that changed and those that `failed` and are tried again; the
        other shards keep what is still asked for. All else goes into new shards.
        """
        old = self.table
        is_done = np.isin(old["shard"].to_numpy(), np.fromiter(done, np.int64))
        place = pc.index_in(files["path"], value_set=old["path"].combine_chunks()).to_numpy(zero_copy_only=False)
        is_known = ~np.isnan(place.astype(np.float64))
        place = np.where(is_known, place, 0).astype(np.int64)
        is_asked = np.zeros(len(old), bool)
        is_asked[place[is_known]] = True
        known, before = files.filter(pa.array(is_known)), place[is_known]
        differs = pc.not_equal(known["version"], old["version"].take(pa.array(before))).to_numpy(zero_copy_only=False)
        has_changed = np.zeros(len(old), bool)
        has_changed[before[differs]] = True
        is_failed = np.zeros(len(old), bool)
        if failed := list(map(os.fsencode, failed)):
            is_failed = pc.is_in(old["path"], value_set=pa.array(failed, pa.large_binary())).to_numpy(zero_copy_only=False)
        is_kept = np.where(is_done, ~has_changed & ~(is_failed & is_asked), is_asked)
        versions = old["version"]
        if has_changed.any():  # also of what is only planned: it is not done under its old version
            newest = np.array(versions.to_pylist(), dtype=object)
            newest[before] = known["version"].to_pylist()
            versions = pa.array(newest, pa.large_string())
        kept = old.set_column(1, FILES_SCHEMA.field("version"), versions).filter(pa.array(is_kept))
        is_new = ~is_known
        is_new[is_known] = ~is_kept[before]
        first = int(self.numbers[-1]) + 1 if len(self.numbers) else 0
        added = ShardPlan.of_files(files.filter(pa.array(is_new)), files_per_shard, first)
        stale: dict[int, set[str]] = {}
        for row in np.flatnonzero(is_done & ~is_kept):
            stale.setdefault(old["shard"][row].as_py(), set()).add(os.fsdecode(old["path"][row].as_py()))
        return ShardPlan(pa.concat_tables([kept, added.table])), stale
