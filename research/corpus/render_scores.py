"""Render scores to audio with exact labels: key, mode, meter, dance type, tempo, beats, instruments, chords.

    pip install -r requirements.txt && pip install --no-deps tinysoundfont==0.3.7
    python render_scores.py OUT

The scores are those inside the music21 wheel (read where they are, copied nowhere), the soundfonts come from Debian
packages (`apt-get download`). OUT then holds `tasks/*.jsonl`, the manifests, and `audio/`. The same seed gives the
same corpus. A second run does nothing; an interrupted one goes on where it was.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import recordings
import splits
from arrange import Item, chord_clips, perform, single_notes
from build_corpus import check_settings, write_lines, write_text
from recordings import Encoding
from scores import Piece, load_pieces
from synth import FONTS, TAIL_SECONDS, Renderer, font_package
from tasks import TASKS
from tqdm import tqdm
from unpack import fetch, unpack


BATCH = 32  # items a worker takes at once
SILENCE_DB = -80.0  # a soundfont that lacks the instrument, or a note of it, gives nothing

_renderer: Renderer | None = None  # of this worker process


def main() -> None:
    args = parse_arguments()
    encoding = Encoding(args.format, args.compression, args.level_db)
    check_settings(args.output, asdict(encoding) | {"seed": args.seed})
    started = time.monotonic()
    get_fonts(args.output / "fonts", args.downloads or args.output / "downloads")
    items = list(plan(load_pieces(args.output / "pieces.jsonl.gz", args.workers), args.seed))
    silent_list = args.output / "silent.json"
    silent = set(json.loads(silent_list.read_text())) if silent_list.exists() else set()
    missing = [i for i in items if i.id not in silent and not (args.output / audio_path(i, encoding)).exists()]
    read = time.monotonic()
    silent |= render_all(missing, args.output, encoding, args.workers)
    items = [item for item in items if item.id not in silent]
    if missing or not all((args.output / "tasks" / f"{name}.jsonl").exists() for name in TASKS):
        write_text(silent_list, json.dumps(sorted(silent), indent=1) + "\n")
        write_tasks(items, args.output, encoding)
    for file in sorted((args.output / "tasks").glob("*.jsonl")):
        print(f"{sum(1 for _ in open(file)):6d} items  {file}")
    print(f"{sum(map(duration, items)) / 3600:.1f} h of rendered music in {len(items)} files")
    if silent:
        print(f"{len(silent)} items left out, their soundfont has no such note: {silent_list}")
    if missing:
        rendered, spent = sum(map(duration, missing)), time.monotonic() - read
        print(f"scores read in {read - started:.0f} s, rendered in {spent:.0f} s, ×{rendered / spent:.0f} real time")
    else:
        print("nothing to do")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    add_rendering_options(parser)
    return parser.parse_args()


def add_rendering_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", choices=tuple(recordings.FORMATS), default="vorbis")
    parser.add_argument("--compression", type=float, help="soundfile's compression_level, 0 … 1")
    parser.add_argument("--level-db", type=float, default=-23.0, help="RMS of every item, dB re full scale")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--downloads", type=Path, help="folder for the soundfonts' .deb files (default: OUT/downloads)")


def get_fonts(folder: Path, downloads: Path, names: Iterable[str] = FONTS) -> None:
    """Put the soundfonts' files into `folder`."""
    for name in names:
        font = FONTS[name]
        if not (folder / font.file).exists():
            folder.mkdir(parents=True, exist_ok=True)
            downloads.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                deb = fetch(font_package(name), downloads)
                (found,) = unpack(font_package(name), deb, Path(scratch))
                shutil.move(found.file, folder / font.file)


def plan(pieces: list[Piece], seed: int) -> Iterator[Item]:
    """All items, in a fixed order. Groups are split by a hash of their name; test items have the held-out font."""
    for piece in pieces:
        split = splits.by_hash(piece.group)
        fonts = [name for name, font in FONTS.items() if (font.split == "test") == (split == "test")]
        if piece.kind == "analysed":
            yield from chord_clips(piece, split, fonts, seed)
        else:
            yield perform(piece, split, fonts, seed)
    yield from single_notes({name: font.split for name, font in FONTS.items()}, seed)


def duration(item: Item) -> float:
    """Seconds of the rendered item."""
    return max(event.onset + event.duration for event in item.events) + TAIL_SECONDS


def audio_path(item: Item, encoding: Encoding) -> Path:
    return Path("audio") / f"{item.id}{encoding.suffix}"


def render_all(items: list[Item], output: Path, encoding: Encoding, workers: int) -> set[str]:
    """Render what is missing; returns the ids of the items that came out silent, which are not written."""
    silent: set[str] = set()
    batches = [(items[start : start + BATCH], output, encoding) for start in range(0, len(items), BATCH)]
    with (
        tqdm(total=len(items), unit=" items", disable=not items) as bar,
        ProcessPoolExecutor(workers, initializer=load_renderer, initargs=(output / "fonts",)) as pool,
    ):
        for (batch, _, _), silent_of_batch in zip(batches, pool.map(render_batch, batches), strict=True):
            silent |= silent_of_batch
            bar.update(len(batch))
    return silent


def load_renderer(fonts: Path) -> None:
    global _renderer
    _renderer = Renderer(fonts)


def render_batch(batch: tuple[list[Item], Path, Encoding]) -> set[str]:
    items, output, encoding = batch
    silent = set()
    for item in items:
        samples = _renderer.render(item.events, item.font, item.programs)
        if recordings.rms_db(samples) < SILENCE_DB:
            silent.add(item.id)
        else:
            recordings.write(output / audio_path(item, encoding), recordings.set_level(samples, encoding.level_db), encoding)
    return silent


def write_tasks(items: list[Item], output: Path, encoding: Encoding) -> None:
    rows = [
        {
            "id": item.id,
            "kind": item.kind,
            "path": str(Path("..") / audio_path(item, encoding)),  # from tasks/
            "duration": round(duration(item), 3),
            "split": item.split,
            "group": item.group,
            "font": item.font,
            "labels": item.labels,
        }
        for item in items
    ]
    for name, select in TASKS.items():
        write_lines(output / "tasks" / f"{name}.jsonl", select(rows))


if __name__ == "__main__":
    main()
