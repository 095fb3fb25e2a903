"""A collection as a folder for `hf upload --repo-type space`: in a Docker container with the server, or as files alone."""

import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from huggingface_hub import SpaceCard, SpaceCardData
from packaging.requirements import Requirement
from safetensors.numpy import save_file

from ..checkpoints import OWN, short_name
from ..hub.folders import new_folder
from ..inference.segments import WindowPlan
from ..storage.safe_text import markdown_text
from ..version import __version__
from . import hubs
from .credits import FILE_NAME, Credit, credit_of, write_credits
from .desk import Desk
from .library import Library
from .npm_packages import ONNXRUNTIME_WEB, copy_files
from .query_encoder import PART_SECONDS, QueryEncoder
from .song_table import place_of, read_settings_of, read_song_table, table_files
from .waveforms import peaks_of


PACKAGE = Path(__file__).parent.parent
PORT = 7860  # that Spaces expect
TABLE = "songs.parquet"
LICENCE_FILES = ("README*", "LICENSE*", "LICENCE*", "COPYING*")  # beside the music: licences whose text must come along
DOCKERFILE = """\
FROM python:3.11-slim
RUN useradd --create-home --uid 1000 user
WORKDIR /home/user/app
COPY requirements.txt .
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch=={torch} && \\
    pip install --no-cache-dir --requirement requirements.txt
COPY --chown=user . .
RUN python -m compileall -q muq_hf && chown user .
USER user
EXPOSE {port}
CMD python -m muq_hf serve {table} --host 0.0.0.0 --port {port} --allow-host "${{SPACE_HOST:-localhost}}"
"""
ADDRESS = re.compile(r"https?://[\w.~:/?#@!$&'*+,;=%()-]+", re.ASCII)
BODY = """\
# {title}

Search {count} by words or by a song of your own, listen, and see them as a map. {how}

Made by `muq-hf export space` of muq_hf {version}. Model: {model}{licence}. The music has licences of its own:

| file | title | author | licence | source |
|---|---|---|---|---|
{rows}
"""


def write_space(table: str | os.PathLike, output: str | os.PathLike, credits: dict[str, Credit], title: str) -> None:
    """A Docker Space: the server, its page, the music, the table and the model in a new folder `output`.

    Docker and not Gradio: the server is this package alone, so nothing else is imported at the start, and the image holds music
    and weights, so nothing is downloaded. Raises ValueError for songs that are gone or have no licence.
    """
    with new_folder(output) as folder:
        kept = _copy_music(Path(table), folder, credits)
        settings = read_settings_of(folder / TABLE)
        used = [Path(own).name for own in OWN if own == settings["model"] or Path(own).name == Path(settings["model"]).name]
        unused = [Path(own).name for own in OWN if Path(own).name not in used]
        shutil.copytree(PACKAGE, folder / "muq_hf", ignore=shutil.ignore_patterns("__pycache__", *unused))
        torch_version, requirements = _requirements()
        (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in requirements))
        (folder / "Dockerfile").write_text(DOCKERFILE.format(torch=torch_version, port=PORT, table=TABLE))
        how = "The search runs on this Space."
        data = SpaceCardData(title=title, emoji="🎧", colorFrom="red", colorTo="yellow", sdk="docker", app_port=PORT)
        _write_card(folder, data, title, how, short_name(settings["model"]), kept)


def write_static_space(
    table: str | os.PathLike,
    output: str | os.PathLike,
    credits: dict[str, Credit],
    title: str,
    export_model: Callable[[str, Path], object],
    progress: Callable[[str], None] = lambda line: None,
) -> None:
    """A static Space: the page, the vectors, and the model as ONNX files that run in the visitor's browser.

    `export_model(model, folder)` writes audio_model.onnx, text_model.onnx and tokenizer.json. Raises ValueError as `write_space`,
    and for a tokenizer that the page cannot read.
    """
    with new_folder(output) as folder:
        kept = _copy_music(Path(table), folder, credits)
        encoder, _ = QueryEncoder.of_table(read_settings_of(folder / TABLE))
        if encoder.model.processor.tokenizer.backend_tokenizer.model.__class__.__name__ != "WordPiece":
            raise ValueError("the page reads BERT's WordPiece tokenizer; this model has another one: export without --static.")
        progress("Exporting the model …")
        export_model(encoder.name, folder / "model")
        progress("Drawing the songs …")
        _write_collection(folder, Library(folder / TABLE, encoder), title)
        copy_files(ONNXRUNTIME_WEB, folder / "onnxruntime")
        for name in ("local.js", "local_model.js", "tokenizer.js"):
            shutil.copy(PACKAGE / "serving" / name, folder)
        page = (PACKAGE / "serving" / "page.html").read_text("utf-8")
        (folder / "index.html").write_text(page.replace("<html ", "<html data-local ", 1), "utf-8")
        for file in folder.glob(f"{TABLE}*"):
            file.unlink()
        how = "The model runs in your browser: nothing that you search with leaves your machine."
        data = SpaceCardData(title=title, emoji="🎧", colorFrom="red", colorTo="yellow", sdk="static", app_file="index.html")
        _write_card(folder, data, title, how, short_name(encoder.name), kept)


def _copy_music(table: Path, folder: Path, credits: dict[str, Credit]) -> dict[str, Credit]:
    """Songs, table with relative paths, and attribution.jsonl → credits by path in `folder`."""
    paths = read_song_table(table).paths
    if not paths:
        raise ValueError(f"{table} has no songs.")
    places = {path: place_of(path, table) for path in paths}
    gone = [path for path, place in places.items() if not place.is_file()]
    if gone:
        raise ValueError(f"{len(gone)} of {len(paths)} songs are no longer there, for instance {gone[0]}: embed the music again.")
    found = {path: credit_of(path, credits) for path in paths}
    unknown = [path for path, credit in found.items() if credit is None]
    if unknown:
        raise ValueError(
            f"{len(unknown)} of {len(paths)} songs have no licence, for instance {unknown[0]}. A Space publishes them: name the "
            "licence of all (--licence NAME), or give a list with path, title, author and licence (--credits FILE)."
        )
    root = os.path.commonpath([place.parent.absolute() for place in places.values()])
    names = {path: Path("audio", os.path.relpath(place.absolute(), root)).as_posix() for path, place in places.items()}
    for path, name in names.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(places[path], folder / name)
    for pattern in LICENCE_FILES:
        for file in Path(root).glob(pattern):
            shutil.copyfile(file, folder / "audio" / file.name)
    _copy_table(table, folder, names)
    kept = {names[path]: credit for path, credit in found.items()}
    write_credits(folder / FILE_NAME, kept)
    return kept


def _copy_table(table: Path, folder: Path, names: dict[str, str]) -> None:
    """One table from all fragments, whose paths start at its folder; a model's folder of one's own comes along."""
    writer = None
    for file in table_files(table):
        content = pq.read_table(file)
        metadata = dict(content.schema.metadata)
        settings = json.loads(metadata[b"muq_hf"])
        model = Path(settings["model"])
        if model.is_dir() and settings["model"] not in OWN:
            shutil.copytree(model, folder / "weights", dirs_exist_ok=True)
            settings["model"] = "./weights"
        elif settings["model"] in OWN:
            settings["model"] = model.name
        metadata[b"muq_hf"] = json.dumps(settings).encode()
        path = pa.array([names[path] for path in content["path"].to_pylist()], pa.string())
        content = content.set_column(content.schema.get_field_index("path"), "path", path)
        if "model" in content.schema.names:
            named = pa.array([settings["model"]] * len(content), pa.string())
            content = content.set_column(content.schema.get_field_index("model"), "model", named)
        content = content.replace_schema_metadata(metadata)
        writer = writer or pq.ParquetWriter(folder / TABLE, content.schema)
        writer.write_table(content.cast(writer.schema))
    writer.close()


def _write_collection(folder: Path, library: Library, title: str) -> None:
    """collection.json and collection.safetensors: what the server would have answered, for local.js."""
    collection, desk = library.collection, Desk(library)
    songs = [desk.song(song).model_dump() | {"audio": collection.paths[song]} for song in range(len(collection))]
    config = library.encoder.model.model.config
    settings = collection.settings
    chunk_length_s = settings["chunk_length_s"] or PART_SECONDS
    plan = WindowPlan.from_seconds(config.audio_config, chunk_length_s, settings["window_length_s"], 0.0)
    about = {
        "title": title,
        "labels": collection.labels,
        "songs": songs,
        "facets": desk.facets().model_dump(),
        "map": desk.map("pca").model_dump(),
        "sampling_rate": plan.sampling_rate,
        "min_samples": plan.window.min_samples,
        "chunk": plan.chunk,
        "min_last_chunk": plan.min_last_chunk,
        "same_recording": {"length": hubs.SAME_LENGTH, "course": list(hubs.SAME_COURSE.items()), "vector": hubs.SAME_VECTOR},
    }
    (folder / "collection.json").write_text(json.dumps(about, ensure_ascii=False), "utf-8")
    offsets = {
        f"{kind}_offsets_{name}": getattr(collection.offsets[kind], name)
        for kind in ("text", "audio")
        for name in ("of_songs", "of_rows")
    }
    arrays = {
        "vectors": collection.vectors.astype(np.float32),
        "song_vectors": collection.song_vectors,
        "spans": collection.spans,
        "first": collection.first.astype(np.int32),
        "label_vectors": collection.label_vectors,
        "label_mean": collection.label_mean,
        "label_deviation": collection.label_deviation,
        "peaks": _all_peaks(library),
        **offsets,
    }
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "collection.safetensors")
    (folder / "collection.safetensors").chmod(0o644)  # the library writes files that their owner alone may read


def _all_peaks(library: Library) -> np.ndarray:
    """[S, n] uint8; short songs are stretched to as many peaks as the others have."""
    rows = [peaks_of(library.collection.place(song)) for song in range(len(library.collection))]
    width = max(map(len, rows))
    return np.array([np.asarray(row)[np.arange(width) * len(row) // width] for row in rows], np.uint8)


def _requirements() -> tuple[str, list[str]]:
    """→ torch's version, and what the server needs besides, each in the version that is installed here."""
    lines = []
    for text in importlib.metadata.requires("muq-hf") or []:
        requirement = Requirement(text)
        if requirement.name != "torch" and (requirement.marker is None or requirement.marker.evaluate({"extra": "serve"})):
            lines.append(f"{requirement.name}=={importlib.metadata.version(requirement.name)}")
    return importlib.metadata.version("torch").partition("+")[0], sorted(set(lines))


def _write_card(folder: Path, data: SpaceCardData, title: str, how: str, model: str, credits: dict[str, Credit]) -> None:
    data.license = "other"
    data.tags = ["music", "search", "muq"]
    rows = "\n".join(f"| {_credit_cells(path, credit)} |" for path, credit in credits.items())
    own = " (CC-BY-SA-4.0)" if model in {Path(folder).name for folder in OWN} else ""
    count = f"{len(credits)} songs"
    shown = {"title": markdown_text(title), "model": markdown_text(model)}
    body = BODY.format(**shown, count=count, how=how, version=__version__, licence=own, rows=rows)
    SpaceCard(f"---\n{data.to_yaml()}\n---\n{body}").save(folder / "README.md")


def _credit_cells(path: str, credit: Credit) -> str:
    """Cells of Markdown. The texts are strangers': they are shown as they are, and only a plain address is a link."""
    source = f"<{credit.source}>" if ADDRESS.fullmatch(credit.source) else markdown_text(credit.source)
    return " | ".join([*map(markdown_text, (path, credit.title, credit.author, credit.licence)), source])
