"""For each clip of a table written by `muq-hf embed`, print the one that sounds most alike to the model; draw all similarities.

muq-hf embed examples/audio --output embeddings.parquet
python examples/nearest_neighbours.py embeddings.parquet [--picture similarity.png]
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", help="Parquet file with one row per clip")
    parser.add_argument("--picture", type=Path, help="PNG of the similarities of all pairs (needs matplotlib)")
    arguments = parser.parse_args()

    table = pq.read_table(arguments.table)
    names = [Path(path).stem for path in table["path"].to_pylist()]
    if len(names) < 2:
        parser.error(f"{arguments.table} holds {len(names)} clip: a nearest one takes two.")
    cosines = similarities(np.stack(table["embedding"].to_numpy()))
    if arguments.picture:
        draw(names, cosines, arguments.picture)

    np.fill_diagonal(cosines, -np.inf)
    width = max(map(len, names))
    print(f"{'clip':{width}}  {'nearest':{width}}  cosine")
    for name, row in zip(names, cosines, strict=True):
        print(f"{name:{width}}  {names[row.argmax()]:{width}}  {row.max():6.3f}")


def similarities(vectors: np.ndarray) -> np.ndarray:
    """[N, D] → [N, N] cosines of what distinguishes the clips: what all share says nothing about any."""
    vectors = vectors - vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors @ vectors.T


def draw(names: list[str], cosines: np.ndarray, picture: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(cosines, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(names)), names)
    figure.colorbar(image, label="cosine")
    figure.savefig(picture, dpi=120)
    print(f"similarities: {picture}\n")


if __name__ == "__main__":
    main()
