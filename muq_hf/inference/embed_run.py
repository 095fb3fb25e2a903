"""A run in its folder: who may write there, with which settings, which shards are done, and which files failed.

`part-000012.parquet` is the fragment of shard 12: it is there when the shard is done. `_muq_hf/` holds all else:
    settings.json   what makes the vectors comparable; a continued run must bring the same
    plan.parquet    which file, in which version, belongs to which shard
    failures/       part-000012.jsonl for the files of shard 12 that could not be embedded
    lock            one run at a time
Readers of datasets pass over names that begin with "_".
"""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from ..storage.json_lines import to_json_lines
from ..storage.remote import Folder
from ..storage.run_lock import RunLock
from .decoding_worker import FileFailure
from .embed_settings import EmbedSettings
from .parquet_store import to_parquet, without_paths
from .shard_plan import PLAN_NAME, ShardPlan, fragment_name, shard_number
from .sources import path_text


STATE = "_muq_hf"
SETTINGS_NAME = f"{STATE}/settings.json"
FAILURES = f"{STATE}/failures"
ATTEMPTS = f"{STATE}/attempts"
READS_AT_ONCE = 16


class EmbedRun:
    """See the module. `shared`: one of several that follow the same plan."""

    def __init__(self, folder: Folder, shared: bool = False):
        self.folder = folder
        self.lock = RunLock(folder / STATE, shared=shared)

    @staticmethod
    def exists(folder: Folder) -> bool:
        return folder.exists(SETTINGS_NAME)

    def stored_settings(self) -> tuple[EmbedSettings, dict]:
        """→ the settings of the run, and what else was written with them."""
        try:
            content = json.loads(self.folder.read(SETTINGS_NAME))
            return EmbedSettings.from_dict(content.pop("settings")), content
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            place = self.folder.place(SETTINGS_NAME)
            raise ValueError(f"{place} cannot be read ({error}): use --overwrite to start again.") from error

    def create(self, settings: EmbedSettings, **more) -> None:
        """`more`: what else a continued run must know. Written last: with it, the run exists."""
        content = json.dumps({"settings": settings.to_dict(), **more}, indent=2, ensure_ascii=False)
        self.folder.write(SETTINGS_NAME, content.encode("utf-8"))

    def done(self) -> list[int]:
        """Numbers of the shards whose fragment is there."""
        numbers = map(shard_number, self.folder.names())
        return sorted(number for number in numbers if number is not None)

    def write_shard(self, number: int, fragment: bytes, failures: list[FileFailure]) -> None:
        """The fragment comes last: with it, the shard is done."""
        name = f"{FAILURES}/{fragment_name(number).removesuffix('.parquet')}.jsonl"
        if failures:
            self.folder.write(name, failure_lines(failures).encode("utf-8"))
        else:
            self.folder.delete(name)
        self.folder.write(fragment_name(number), fragment)

    def failures(self, plan: ShardPlan, numbers: Iterable[int] | None = None) -> list[FileFailure]:
        """Those of the shards that are done, all or `numbers`, with their paths as they are in the plan.

        A file that went to another shard since then is left out.
        """
        found, done = [], set(self.done())
        done &= set(plan.numbers.tolist() if numbers is None else numbers)
        for name in self.folder.names(FAILURES):
            number = shard_number(name.removeprefix(f"{FAILURES}/").replace(".jsonl", ".parquet"))
            if number not in done:
                continue
            paths = {path_text(path): path for path, _ in plan.shard(number).files}
            for line in map(json.loads, self.folder.read(name).decode("utf-8").splitlines()):
                if line["path"] in paths:
                    found.append(FileFailure(paths[line["path"]], line["reason"], line["message"]))
        return found

    def drop_rows(self, stale: dict[int, set[str]]) -> None:
        """Take these files' rows out of the fragments: shard → paths."""
        for number, paths in stale.items():
            table = pq.read_table(self.folder.open(fragment_name(number)))
            self.folder.write(fragment_name(number), to_parquet(without_paths(table, paths)))

    def fragments(self, numbers: Iterable[int]) -> Iterable[pa.Table]:
        for number in numbers:
            yield pq.read_table(self.folder.open(fragment_name(number)))

    def num_rows(self) -> int:
        """Of all fragments, from their ends."""

        def rows(number: int) -> int:
            return pq.read_metadata(self.folder.open(fragment_name(number))).num_rows

        with ThreadPoolExecutor(READS_AT_ONCE) as readers:
            return sum(readers.map(rows, self.done()))

    def sweep(self) -> None:
        """Delete what writers that were killed left behind."""
        for within in ("", STATE, FAILURES):
            self.folder.sweep(within)

    def clear(self, settings_first: bool = True) -> None:
        """Delete what the run wrote, and nothing else; the lock stays.

        settings_first: a removal that is cut off leaves no run; else it leaves one that can be continued.
        """
        if settings_first:
            self.folder.delete(SETTINGS_NAME)
        for number in self.done():
            self.folder.delete(fragment_name(number))
        for name in [*self.folder.names(FAILURES), *self.folder.names(ATTEMPTS), PLAN_NAME, SETTINGS_NAME]:
            self.folder.delete(name)
        self.sweep()

    def remove(self) -> None:
        """Delete the run, and its folder if nothing else is in it."""
        self.clear()
        self.lock.release(remove=True)
        for within in (FAILURES, ATTEMPTS, STATE, ""):
            self.folder.remove_if_empty(within)


def failure_lines(failures: list[FileFailure]) -> str:
    """JSON lines of {"path", "reason", "message"}; bytes of names that are no UTF-8 are written \\xNN."""
    return to_json_lines({"path": path_text(f.path), "reason": f.reason, "message": path_text(f.message)} for f in failures)
