"""A comparison as JSON, and as one HTML page with a map of the clips and players for the most striking ones."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from ..audio import AudioError, load_audio
from ..storage.whole_files import replace_text, write_json
from .comparison import SCORES
from .music_sets import MusicSet


PLAYED_CLIPS = 6  # of each list
PLAYED_SECONDS = 10.0
PLAYED_RATE = 24_000  # Hz
MAP_SIZE, MAP_MARGIN = (880, 480), 16  # pixels
MAP_POINTS = 2_000  # of each side
STYLE = """
:root { color-scheme: light dark; --ink: light-dark(#1d2430, #e8ebf0); --soft: light-dark(#667085, #98a2b3);
  --line: light-dark(#d9dee6, #344054); --generated: light-dark(#c2410c, #fb923c); --reference: light-dark(#1d4ed8, #7ba7f7); }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: light-dark(#fff, #10151d);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; } p.note, small { color: var(--soft); }
table { border-collapse: collapse; max-width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem 1.6rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
table.scores td { white-space: nowrap; } td.caption { white-space: nowrap; padding-top: .75rem; }
.player { display: flex; align-items: center; flex-wrap: wrap; gap: 0 .7rem; padding: .15rem 0; }
svg { max-width: 100%; height: auto; border: 1px solid var(--line); border-radius: 6px; }
circle.generated { fill: var(--generated); } circle.reference { fill: var(--reference); opacity: .55; }
.key.generated { color: var(--generated); } .key.reference { color: var(--reference); }
audio { width: 17rem; max-width: 100%; height: 2rem; } .player small { overflow-wrap: anywhere; }
@media (max-width: 40rem) { table.scores td, td.caption { white-space: normal; } }
"""


def write_comparison(report: dict, sides: Sequence[tuple[MusicSet, MusicSet | None]], folder: Path) -> list[Path]:
    """comparison.json and comparison.html → the files. sides: the sets behind the results, a pair for each model."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "comparison.json", folder / "comparison.html"]
    write_json(files[0], report)
    replace_text(files[1], comparison_page(report, sides))
    return files


def comparison_page(report: dict, sides: Sequence[tuple[MusicSet, MusicSet | None]]) -> str:
    """The page as HTML, with pictures and audio inside."""
    generated, reference = sides[0]
    result = next(r for r in reversed(report["results"]) if r["model"] == generated.model)
    parts = [f"<h1>{_text(report['title'])}</h1>", _summary(report), _score_table(report["results"])]
    if report.get("adherence"):
        parts.append(_adherence(report["adherence"]))
    parts.append(_map(generated, reference, result))
    if reference is not None and "realism" in result["clips"][0]:
        parts += [_outliers(result), _copies(result)]
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{_text(report["title"])}</title>'
    return f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n'


def interval_text(score: dict) -> str:
    """A score with its interval, as a cell of a table."""
    if "refused" in score:
        return f"– ({score['refused']})"
    text = number_text(score["value"])
    if "low" in score:
        text += f" [{number_text(score['low'])}, {number_text(score['high'])}]"
    return text + (f" (R² of the fit {score['r2']:.2f})" if "r2" in score else "")


def number_text(value: float) -> str:
    """A number with three or four digits."""
    return f"{value:.4g}" if abs(value) >= 1 else f"{value:.3f}"


def _summary(report: dict) -> str:
    lines = [f"<li>{_text(line)}</li>" for line in report["notes"]]
    return f"<ul>{''.join(lines)}</ul>"


def _score_table(results: Sequence[dict]) -> str:
    names = [name for name in SCORES if any(name in result["scores"] for result in results)]
    heads = "".join(f"<th>{_text(result['model'])}<br><small>{_text(result['layer'])}</small></th>" for result in results)
    rows = []
    for name in names:
        title, better = SCORES[name]
        arrow = {"low": "lower is nearer", "high": "higher is better", "": ""}[better]
        cells = "".join(f"<td>{_text(interval_text(result['scores'][name]))}</td>" for result in results)
        rows.append(f"<tr><td>{_text(title)}</td>{cells}<td><small>{arrow}</small></td></tr>")
    note = "95 % intervals in brackets, from halves of the files. Distances of different models or layers cannot be compared."
    head = f"<tr><th></th>{heads}<th></th></tr>"
    return f"<h2>Distances</h2><table class='scores'>{head}{''.join(rows)}</table><p class='note'>{note}</p>"


def _adherence(found: dict) -> str:
    rows = "".join(
        f"<tr><td>{title}</td><td>{_text(interval_text(found[name]))}</td></tr>"
        for name, title in (
            ("adherence", "cosine of clip and prompt"),
            ("shuffled", "the same with shuffled prompts"),
            ("above_shuffled", "difference"),
        )
    )
    worst = sorted(found["clips"], key=lambda clip: clip["cosine"] - clip["others"])[:PLAYED_CLIPS]
    rows_of_clips = [
        (f"{clip['cosine'] - clip['others']:+.3f} above other prompts: “{clip['prompt']}”", [clip]) for clip in worst
    ]  # fmt: skip
    about = f"{found['model']}, {found['prompted']} clips, {found['prompts']} different prompts."
    return f"<h2>Text adherence</h2><table class='scores'>{rows}</table><p class='note'>{_text(about)}</p>" + _players(
        "Least like their prompt", rows_of_clips
    )


def _outliers(result: dict) -> str:
    clips = sorted(result["clips"], key=lambda clip: clip["realism"])[:PLAYED_CLIPS]
    outside = sum(clip["is_outside"] for clip in result["clips"])
    note = (
        f"{outside} of {len(result['clips'])} generated clips are farther from every reference clip than that clip's k-th "
        "neighbour. Realism is 1 at that distance and less beyond it; of the reference it counts the denser half alone."
    )
    return _players("Farthest from the reference", [(f"realism {clip['realism']:.2f}", [clip]) for clip in clips], note)


def _copies(result: dict) -> str:
    clips = sorted(result["clips"], key=lambda clip: -clip["nearest"]["cosine"])[:PLAYED_CLIPS]
    note = "The generated clip first, then its nearest clip of the reference."
    if "copy_cosine" in result:
        near = sum(clip["is_near_copy"] for clip in result["clips"])
        note += f" {near} are nearer than 99 % of the reference's files are to one another (cosine {result['copy_cosine']:.4f})."
    rows = [(f"cosine {clip['nearest']['cosine']:.4f}", [clip, clip["nearest"]]) for clip in clips]
    return _players("Nearest to a clip of the reference", rows, note)


def _players(title: str, rows: Sequence[tuple[str, list[dict]]], note: str = "") -> str:
    """rows: (caption, clips to play)."""
    lines = []
    for caption, clips in rows:
        players = "".join(f"<div class='player'>{_player(clip)}</div>" for clip in clips)
        lines.append(f"<tr><td class='caption'>{_text(caption)}</td><td>{players}</td></tr>")
    return f"<h2>{title}</h2>" + (f"<p class='note'>{_text(note)}</p>" if note else "") + f"<table>{''.join(lines)}</table>"


def _player(clip: dict) -> str:
    name = f"<small>{_text(Path(clip['path']).name)}, {clip['start']:.1f} s</small>"
    try:
        end = min(clip.get("end") or np.inf, clip["start"] + PLAYED_SECONDS)
        wave = load_audio(clip["path"], PLAYED_RATE, start=clip["start"], end=end)
    except (AudioError, ValueError):
        return name  # a table has vectors and paths; its audio may be elsewhere
    memory = io.BytesIO()
    soundfile.write(memory, wave, PLAYED_RATE, format="OGG", subtype="VORBIS")
    data = base64.b64encode(memory.getvalue()).decode()
    return f'<audio controls preload="none" src="data:audio/ogg;base64,{data}"></audio> {name}'


def _map(generated: MusicSet, reference: MusicSet | None, result: dict) -> str:
    """Scatter plot of all clips on their first two principal components, with their names as tooltips."""
    layer = result["layer"]
    sides = [("generated", generated)] + ([("reference", reference)] if reference is not None else [])
    points = [side.clip_means(layer) for _, side in sides]
    places, share = _principal_components(np.concatenate(points))
    marks, first = [], 0
    for (kind, side), own in zip(sides, points, strict=True):
        own_places = places[first : first + len(own)]
        first += len(own)
        shown = np.linspace(0, len(own) - 1, min(len(own), MAP_POINTS)).astype(int)
        for number in shown:
            x, y = own_places[number]
            name = _text(f"{kind}: {side.clips[number].path.name}, {side.clips[number].start:.1f} s")
            marks.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{name}</title></circle>')
    marks.reverse()  # the generated ones on top
    keys = " ".join(f'<span class="key {kind}">● {kind}</span>' for kind, _ in sides)
    note = (
        f"{result['model']}, {layer}: the two principal components, {100 * share:.0f} % of the variance. "
        "Point at a dot to see its clip."
    )
    width, height = MAP_SIZE
    picture = (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="map of the clips">{"".join(marks)}</svg>'
    )
    return f"<h2>Map</h2><p>{keys}</p>{picture}<p class='note'>{_text(note)}</p>"


def _principal_components(points: np.ndarray) -> tuple[np.ndarray, float]:
    """[N, D] → positions in pixels [N, 2], and the share of the variance of these two components."""
    centred = points - points.mean(axis=0)
    _, strengths, directions = np.linalg.svd(centred, full_matrices=False)
    places = centred @ directions[:2].T
    places = np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
    span = np.maximum(places.max(axis=0) - places.min(axis=0), np.finfo(float).tiny)
    room = np.array(MAP_SIZE) - 2 * MAP_MARGIN
    total = float(np.sum(strengths**2))
    return MAP_MARGIN + (places - places.min(axis=0)) / span * room, float(np.sum(strengths[:2] ** 2)) / total if total else 1.0


def _text(value) -> str:
    return html.escape(str(value))
