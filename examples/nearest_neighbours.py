"""For each clip of a table written by `muq-hf embed`, print the clip that sounds most alike to the model.

muq-hf embed examples/audio --model MODEL --output embeddings.parquet
python examples/nearest_neighbours.py embeddings.parquet
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", help="Parquet file with one row per clip")
    table = pq.read_table(parser.parse_args().table)

    names = [Path(path).stem for path in table["path"].to_pylist()]
    vectors = np.stack(table["embedding"].to_numpy())  # [N, D]
    vectors = vectors - vectors.mean(axis=0)  # what all clips share says nothing about any
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T  # [N, N]
    np.fill_diagonal(cosines, -np.inf)

    width = max(map(len, names))
    print(f"{'clip':{width}}  {'nearest':{width}}  cosine")
    for name, row in zip(names, cosines, strict=True):
        print(f"{name:{width}}  {names[row.argmax()]:{width}}  {row.max():6.3f}")


if __name__ == "__main__":
    main()
