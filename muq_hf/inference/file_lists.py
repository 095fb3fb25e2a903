"""Inputs → a table of files with their versions: folders on a disk, object stores, and manifests of any length."""

import os
import posixpath
import re
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..audio import AUDIO_SUFFIXES
from ..storage.manifests import PATH_KEYS, BadLine, OnBadLine, is_manifest
from ..storage.remote import file_version, is_remote, list_files, open_input
from .sources import collect_inputs


FILES_SCHEMA = pa.schema({"path": pa.large_binary(), "version": pa.large_string()})
INVENTORY_COLUMNS = ("bucket", "key")  # of an S3 Inventory in Parquet
ROWS_AT_ONCE = 4_000
READ_BYTES = 1 << 20  # of a column at once: its chunk in a manifest may hold a million paths
IS_AUDIO = f"({'|'.join(map(re.escape, AUDIO_SUFFIXES))})$"  # names, in any case of letters
VERSION_COLUMNS = ("size", "e_tag")  # what tells that a file has changed, where a manifest gives it


def collect_files(inputs: str | os.PathLike | Iterable[str | os.PathLike], on_bad_line: OnBadLine | None = None) -> pa.Table:
    """→ table of `FILES_SCHEMA`, each file once, in the given order.

    Besides what `collect_inputs` takes: addresses of files and folders in an object store, and Parquet manifests there; a
    table with the columns `bucket` and `key` is an S3 Inventory. Parquet manifests are read column by column: a million
    paths take a second or two. Raises ValueError when there is no file at all, or for what cannot be read.
    """
    inputs = [os.fspath(item) for item in ([inputs] if isinstance(inputs, str | os.PathLike) else inputs)]
    parts = []
    for item in inputs:
        if item.lower().endswith(".parquet") and (is_remote(item) or not os.path.isdir(item)):
            parts += _parquet_files(item, on_bad_line)
        elif is_remote(item):
            parts.append(_remote_files(item))
        else:
            parts.append(files_table(_local_paths(item, on_bad_line)))
    pa.default_memory_pool().release_unused()  # of the readers of manifests
    files = pa.concat_tables(parts) if parts else FILES_SCHEMA.empty_table()
    if not len(files):
        raise ValueError(f"no audio file in {', '.join(inputs) or 'an empty list'}.")
    return _each_once(files)


def files_table(paths: Iterable[str]) -> pa.Table:
    """Paths → a table of files, whose versions are looked up."""
    paths = list(paths)
    columns = [pa.array(map(os.fsencode, paths), pa.large_binary()), pa.array(map(file_version, paths), pa.large_string())]
    return pa.table(columns, FILES_SCHEMA)


def paths_of(files: pa.Table) -> list[str]:
    return list(map(os.fsdecode, files["path"].to_pylist()))


def _local_paths(item: str, on_bad_line: OnBadLine | None) -> list[str]:
    """Of one input; an empty one is no error while others may hold files."""
    try:
        return collect_inputs([item], on_bad_line)
    except ValueError as error:
        if "no audio file" in str(error):
            return []
        raise


def _remote_files(address: str) -> pa.Table:
    """The file at `address` whatever its suffix, or all audio files below; hidden ones are passed over."""
    if is_manifest(address):
        raise ValueError(f"{address}: of manifests in an object store only .parquet is read; copy others to a disk.")
    found = list(list_files(address))
    if [path for path, _ in found] != [address]:
        below = len(address.rstrip("/")) + 1
        found = [item for item in found if _is_audio(item[0][below:])]
    columns = [pa.array([path.encode() for path, _ in found], pa.large_binary())]
    return pa.table([*columns, pa.array([version for _, version in found], pa.large_string())], FILES_SCHEMA)


def _is_audio(name: str) -> bool:
    is_hidden = any(part.startswith(".") for part in posixpath.normpath(name).split("/"))
    return not is_hidden and name.lower().endswith(AUDIO_SUFFIXES)


def _parquet_files(address: str, on_bad_line: OnBadLine | None) -> Iterator[pa.Table]:
    try:
        file = pq.ParquetFile(open_input(address), pre_buffer=False, buffer_size=READ_BYTES)
    except (pa.ArrowException, FileNotFoundError) as error:
        raise ValueError(f"manifest {address} cannot be read as Parquet: {error}") from error
    names = file.schema_arrow.names
    is_inventory = set(INVENTORY_COLUMNS) <= set(names)
    paths = list(INVENTORY_COLUMNS) if is_inventory else [name for name in PATH_KEYS if name in names][:1]
    if not paths:
        raise ValueError(f"manifest {address} has no column {', '.join(PATH_KEYS)}, nor bucket and key; it has {names}.")
    versions = [name for name in VERSION_COLUMNS if name in names]
    first = 1
    # In one thread: allocators keep freed memory for each thread that ever took some.
    for batch in file.iter_batches(ROWS_AT_ONCE, columns=[*paths, *versions], use_threads=False):
        path, *key = [pc.cast(batch[name], pa.large_string()) for name in paths]
        if is_inventory:
            path = _joined("/", "s3:/", path, *key)
        version = [pc.cast(batch[name], pa.large_string()) for name in versions]
        files = _files_of_batch(address, first, path, version, on_bad_line)
        if is_inventory:  # of a bucket that holds more than music
            name = files["path"].cast(pa.large_string())
            files = _filtered(files, pc.match_substring_regex(name, IS_AUDIO, ignore_case=True))
        yield files
        first += len(batch)


def _filtered(files: pa.Table, mask) -> pa.Table:
    """The rows where `mask` holds; the table itself, and no copy, where it holds in all."""
    return files if pc.all(mask).as_py() else files.filter(mask)


def _pieces(column: pa.ChunkedArray) -> Iterator[pa.Array]:
    for chunk in column.chunks:
        for first in range(0, len(chunk), ROWS_AT_ONCE):
            yield chunk.slice(first, ROWS_AT_ONCE)


def _joined(separator: str, *parts):
    """Columns or constants of text, joined row by row.

    They are what stays of a manifest. The system's allocator gives them what they need; Arrow's own rounds up by a sixth.
    """
    kind = pa.large_string()
    parts = [pa.scalar(part, kind) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*parts, pa.scalar(separator, kind), memory_pool=pa.system_memory_pool())


def _files_of_batch(address: str, first: int, path, versions: list, on_bad_line: OnBadLine | None) -> pa.Table:
    is_good = pc.fill_null(pc.greater(pc.binary_length(path), 0), False)
    for row in np.flatnonzero(~is_good.to_numpy(zero_copy_only=False)):
        error = BadLine(address, first + int(row), "no path in it.")
        if on_bad_line is None:
            raise error
        on_bad_line(error)
    is_whole = pc.or_(pc.match_substring(path, "://"), pc.starts_with(path, "/"))
    if not pc.all(is_whole).as_py():
        folder = posixpath.dirname(address) if is_remote(address) else os.path.dirname(os.path.abspath(address))
        path = pc.if_else(is_whole, path, _joined("/", folder, path))
    if versions:
        version = _joined(":", *[pc.fill_null(value, "") for value in versions])
    else:
        version = pa.array([file_version(name) for name in path.to_pylist()], pa.large_string())
    return _filtered(pa.table([path.cast(pa.large_binary()), version.cast(pa.large_string())], FILES_SCHEMA), is_good)


def _each_once(files: pa.Table) -> pa.Table:
    """Without the later ones of rows with the same path.

    Paths are told apart by hashes of 64 bits, 8 MB for a million; a table of all paths is made only where two hashes are equal.
    """
    hashes, first = np.empty(len(files), np.int64), 0
    for piece in _pieces(files["path"]):
        hashes[first : first + len(piece)] = np.fromiter(map(hash, piece.to_numpy(zero_copy_only=False)), np.int64, len(piece))
        first += len(piece)
    hashes.sort()
    if not (hashes[1:] == hashes[:-1]).any():
        return files
    path = files["path"].combine_chunks()
    places = pc.index_in(path, value_set=path).to_numpy(zero_copy_only=False)  # of the first row with this path
    is_first = places == np.arange(len(files))
    return files.filter(pa.array(is_first))
