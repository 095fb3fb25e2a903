"""Build a corpus of real, free music from Debian packages.

    python build_corpus.py OUT                    # everything, 35 h of music
    python build_corpus.py OUT --licences cc      # only what shipped weights may be trained on

Needs Debian or Ubuntu (`apt-get`, `dpkg-deb`) with package lists (`apt-get update`). OUT then holds `manifest.jsonl`,
one line per track, `clips.jsonl` and `tempo.jsonl`, labelled clips, `audio/` and `copyright/`.
A second run does nothing; an interrupted one goes on with the package it was at.
"""

import argparse
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

import numpy as np
import recordings
import splits
from catalogue import Package, load_packages
from recordings import Encoding
from tqdm import tqdm
from tracks import Options, build_package, fingerprint_file
from unpack import PackageGone, fetch

from muq_hf.training.acoustic_fingerprint import find_duplicates


CLIP_SECONDS = 10
TEMPO_CLIP_SECONDS = 20
CLIP_PLACES = (0.2, 0.5, 0.8)  # middles of a track's three clips, in parts of its length
MIN_ALBUM_TRACKS = 8  # of an album that is a class of clips.jsonl


def main() -> None:
    args = parse_arguments()
    options = Options(Encoding(args.format, args.compression, args.level_db), args.licences, args.min_seconds)
    packages = [package for package in load_packages(args.table) if package.may_hold(options.licences)]
    check_settings(args.output, asdict(options))
    missing = [package for package in packages if not state_file(args.output, package).exists()]
    started = time.monotonic()
    gone = build(missing, args, options)
    if are_manifests_older(args.output, packages):
        write_manifests(args.output, packages)
    report(args.output, gone, time.monotonic() - started if len(gone) < len(missing) else None)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--licences", choices=("all", "cc"), default="all", help="cc: CC, PD, BSD and MIT music only")
    parser.add_argument("--format", choices=tuple(recordings.FORMATS), default="vorbis")
    parser.add_argument("--compression", type=float, help="soundfile's compression_level, 0 … 1; Opus: at most .94")
    parser.add_argument("--level-db", type=float, default=-23.0, help="RMS of every track, dB re full scale")
    parser.add_argument("--min-seconds", type=float, default=20.0, help="leave out shorter tracks")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--downloads", type=Path, help="keep the .deb files here (default: each goes when it is done)")
    parser.add_argument("--table", type=Path, default=Path(__file__).with_name("packages.json"))
    return parser.parse_args()


def check_settings(output: Path, settings: dict) -> None:
    """One folder holds one edition of the corpus: refuse to mix settings."""
    file = output / "settings.json"
    if not file.exists():
        output.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(settings, indent=1) + "\n")
    elif (before := json.loads(file.read_text())) != settings:
        raise SystemExit(f"{output} was built with {before}, not {settings}: give the same options or another folder")


def build(packages: list[Package], args: argparse.Namespace, options: Options) -> dict[str, str]:
    """Build what is missing; returns {package id: reason} of those that could not be had."""
    gone: dict[str, str] = {}
    downloads = args.downloads or args.output / "downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(args.workers) as pool, tqdm(total=len(packages), unit=" packages") as bar:
        running = {}

        def finish(future: Future) -> None:
            package, deb = running.pop(future)
            try:
                state = future.result()
            except PackageGone as error:
                gone[package.id] = str(error)
            else:
                write_text(state_file(args.output, package), json.dumps(state, ensure_ascii=False, indent=1))
                if args.downloads is None:
                    deb.unlink()
            bar.set_postfix_str(package.id)
            bar.update()

        for package in packages:
            try:
                deb = fetch(package, downloads)
            except PackageGone as error:
                gone[package.id] = str(error)
                bar.update()
                continue
            running[pool.submit(build_package, package, deb, args.output, options)] = package, deb
            for future in [future for future in running if future.done()]:  # what is done stays if the next download fails
                finish(future)
        for future in as_completed(list(running)):
            finish(future)
    if args.downloads is None:
        shutil.rmtree(downloads)
    return gone


def are_manifests_older(output: Path, packages: list[Package]) -> bool:
    """Whether a package was done after they were written, or none were."""
    manifest = output / "manifest.jsonl"
    states = [file.stat().st_mtime_ns for package in packages if (file := state_file(output, package)).exists()]
    return not manifest.exists() or manifest.stat().st_mtime_ns < max(states, default=0)


def write_manifests(output: Path, packages: list[Package]) -> None:
    """clips.jsonl, tempo.jsonl and, last, manifest.jsonl from the packages' states."""
    states = [state_file(output, package) for package in packages]
    tracks = [track for state in states if state.exists() for track in json.loads(state.read_text())["tracks"]]
    copies = find_duplicates({t["id"]: np.load(fingerprint_file(output, t["id"])) for t in tracks})
    by_track, by_album = splits.load("tracks"), splits.load("albums")
    for track in tracks:
        track["duplicate_of"] = copies.get(track["id"])
        original = track["duplicate_of"] or track["id"]
        track["split"] = by_track.get(original) or splits.by_hash(original)
        track["album_split"] = by_album.get(track["album"]) or splits.by_hash(track["album"])
    write_lines(output / "clips.jsonl", album_clips(tracks))
    write_lines(output / "tempo.jsonl", tempo_clips(tracks))
    write_lines(output / "manifest.jsonl", tracks)


def album_clips(tracks: list[dict]) -> Iterator[dict]:
    """Three clips of every track of the larger albums, for album classification and same-track retrieval."""
    originals = [track for track in tracks if track["duplicate_of"] is None]
    sizes = Counter(track["album"] for track in originals)
    for track in originals:
        if sizes[track["album"]] >= MIN_ALBUM_TRACKS and track["duration"] >= len(CLIP_PLACES) * CLIP_SECONDS:
            labels = {name: track[name] for name in ("album", "album_split", "licence")} | {"track": track["id"]}
            yield from clips(track, CLIP_SECONDS, track["split"], labels)


def tempo_clips(tracks: list[dict]) -> Iterator[dict]:
    """Three clips of every song whose tempo is known, for testing only."""
    for track in tracks:
        if track["tempo"]:
            yield from clips(track, TEMPO_CLIP_SECONDS, "test", {"tempo": track["tempo"]})


def clips(track: dict, seconds: float, split: str, labels: dict) -> Iterator[dict]:
    for place in CLIP_PLACES:
        start = min(max(0.0, place * track["duration"] - seconds / 2), track["duration"] - seconds)
        times = {"start": round(start, 3), "end": round(start + seconds, 3)}
        yield {"path": track["path"], **times, "split": split, "group": track["id"], "labels": labels}


def report(output: Path, gone: dict[str, str], seconds: float | None) -> None:
    """Print what there is, by licence, and what could not be had."""
    tracks = [json.loads(line) for line in (output / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    hours: Counter[str] = Counter()
    for track in tracks:
        hours[track["licence"]] += track["duration"] / 3600
    size = sum((output / track["path"]).stat().st_size for track in tracks)
    for licence, value in hours.most_common():
        print(f"{value:6.2f} h  {licence}")
    num_copies = sum(track["duplicate_of"] is not None for track in tracks)
    print(f"{sum(hours.values()):6.2f} h  in {len(tracks)} tracks ({num_copies} of them copies), {size / 1e6:.0f} MB")
    print("nothing to do" if seconds is None else f"built in {seconds / 60:.1f} minutes")
    for package, reason in gone.items():
        print(f"not to be had: {package} ({reason})")


def state_file(output: Path, package: Package) -> Path:
    """Its presence says that the package is done."""
    return output / "state" / f"{package.id}.json"


def write_lines(path: Path, rows: Iterator[dict] | list[dict]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


if __name__ == "__main__":
    main()
