"""Small collections: tables of chosen vectors, and one of real clips with the package's own model."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from checks import EXAMPLE_AUDIO

from muq_hf.checkpoints import MUQ_MULAN_TINY
from muq_hf.inference.embedding import embed_files


SETTINGS = {"pool": "joint", "fingerprint": "f", "model": "m", "revision": "r", "chunk_length_s": 5.0, "window_length_s": 5.0}


@pytest.fixture
def write_table():
    """write_table(path, rows, **settings): rows are (path, start, end, vector)."""

    def write(path, rows, **settings):
        paths, starts, ends, vectors = zip(*rows, strict=True) if rows else ((), (), (), ())
        size = len(vectors[0]) if rows else 4
        columns = {
            "path": pa.array(paths, pa.string()),
            "start": pa.array(starts, pa.float64()),
            "end": pa.array(ends, pa.float64()),
            "layer": pa.array([-1] * len(rows), pa.int32()),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(np.ravel(vectors), pa.float32()), size),
        }
        table = pa.table(columns).replace_schema_metadata({"muq_hf": json.dumps(SETTINGS | settings)})
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
        return path

    return write


@pytest.fixture(scope="session")
def music(tmp_path_factory):
    """The example clips, two of them in a folder of their own."""
    folder = tmp_path_factory.mktemp("music")
    for clip in EXAMPLE_AUDIO.glob("*.ogg"):
        place = folder / "metal" if clip.name.startswith("metal") else folder
        place.mkdir(exist_ok=True)
        shutil.copy(clip, place)
    return folder


@pytest.fixture(scope="session")
def table(music, tmp_path_factory):
    output = tmp_path_factory.mktemp("table") / "songs.parquet"
    embed_files(music, MUQ_MULAN_TINY, output, chunk_length_s=5, workers=0, progress=False)
    return output
