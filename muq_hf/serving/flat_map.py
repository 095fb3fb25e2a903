"""The collection as a map: every song a point in the plane, by PCA or UMAP, computed once and stored beside the table."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from .song_table import stamp_of


METHODS = ("pca", "umap")


def available_methods() -> list[str]:
    """Those that this installation has: UMAP needs the package umap-learn."""
    return [method for method in METHODS if method == "pca" or importlib.util.find_spec("umap")]


def map_file(table: str | os.PathLike, method: str) -> Path:
    """Where the map of a table is stored: beside it, or in its folder of fragments."""
    table = Path(table)
    return table / f"_map.{method}.safetensors" if table.is_dir() else table.with_name(f"{table.name}.{method}.safetensors")


def song_map(table: str | os.PathLike, vectors: np.ndarray, method: str = "pca") -> np.ndarray:
    """vectors [S, P] → points [S, 2] in 0…1, from the stored map if the table has not changed since.

    Raises ValueError for a method that is unknown or not installed. A folder that cannot be written to is no error.
    """
    if method not in METHODS:
        raise ValueError(f"a map is made by {' or '.join(METHODS)}, got {method!r}.")
    if method not in available_methods():
        raise ValueError("a map by UMAP needs the package umap-learn: pip install umap-learn")
    file, stamp = map_file(table, method), json.dumps(stamp_of(table))
    points = _read(file, stamp, len(vectors))
    if points is None:
        points = to_unit_square({"pca": pca, "umap": umap}[method](vectors))
        temporary = file.with_name(f"{file.name}.{os.getpid()}.partial")
        try:
            save_file({"points": points}, temporary, {"table": stamp})
            os.replace(temporary, file)
        except (OSError, SafetensorError):
            temporary.unlink(missing_ok=True)
    return points


def pca(vectors: np.ndarray) -> np.ndarray:
    """[S, P] → [S, 2]: the two directions of largest variance; each points to where its longest coordinate is positive."""
    if len(vectors) < 2:
        return np.zeros((len(vectors), 2), np.float32)
    centred = vectors - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axes = axes[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    return centred @ axes


def umap(vectors: np.ndarray) -> np.ndarray:
    """[S, P] → [S, 2] by UMAP (arXiv 1802.03426) with cosine distance and a fixed seed; few songs get a PCA."""
    if len(vectors) < 16:
        return pca(vectors)
    import umap as umap_learn

    reducer = umap_learn.UMAP(n_neighbors=min(15, len(vectors) - 1), metric="cosine", random_state=0, n_jobs=1)
    return np.asarray(reducer.fit_transform(vectors), np.float32)


def to_unit_square(points: np.ndarray) -> np.ndarray:
    """Scale each axis to 0…1; the outermost half per mille is pressed to the edge, so that no outlier empties the map."""
    if not len(points):
        return points.astype(np.float32)
    low, high = np.quantile(points, [0.0005, 0.9995], axis=0)
    return np.clip((points - low) / np.maximum(high - low, 1e-9), 0, 1).astype(np.float32)


def _read(file: Path, stamp: str, songs: int) -> np.ndarray | None:
    try:
        with safe_open(file, "numpy") as content:
            if (content.metadata() or {}).get("table") != stamp:
                return None
            points = content.get_tensor("points")
            return points if points.shape == (songs, 2) else None
    except (OSError, SafetensorError):
        return None
