"""The scores inside the music21 wheel → pieces with labels that can be trusted.

Left out: Palestrina (rights reserved), Essen (non-commercial), and the labels that are often wrong: the mode that the
chorale files state, keys that change or that the encoder doubts, beats of bars that do not fill their meter.
"""

import gzip
import importlib.util
import json
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import abc_tunes
from abc_tunes import Bar, beat_grid, beat_length


TUNE_BOOKS = ("ryansMammoth", "oneills1850", "airdsAirs")
MAX_PARTS = 9  # each has a MIDI channel, and the tenth is for drums
OPENING_NOTES = 12  # tunes that start with the same intervals are one group
MIN_CHORD_AGREEMENT = 0.8  # of an analysed piece's sounding time that its chord labels must explain
PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
CHORD_QUALITIES = {
    (0, 4, 7): "maj", (0, 3, 7): "min", (0, 3, 6): "dim", (0, 4, 8): "aug",
    (0, 4, 7, 10): "7", (0, 4, 7, 11): "maj7", (0, 3, 7, 10): "min7", (0, 3, 6, 10): "hdim7", (0, 3, 6, 9): "dim7",
}  # fmt: skip


@dataclass
class Piece:
    """Times in quarters. `None` is a label that is not known or not to be trusted."""

    id: str
    kind: str  # "tune", "chorale" or "analysed"
    title: str
    group: str  # pieces of one group stay in one split
    parts: list[list[tuple[float, float, int]]]  # per part (onset, duration, MIDI pitch)
    meter: tuple[int, int] | None = None
    key: tuple[int, str] | None = None  # tonic 0-11, mode
    dance: str | None = None  # "reel", "jig", "hornpipe" or "slip jig"
    beats: list[tuple[float, bool]] | None = None  # onset, whether a downbeat
    chords: list[tuple[float, float, int, str]] | None = None  # onset, end, root 0-11, quality in Harte's shorthand

    @property
    def quarters(self) -> float:
        return max(onset + duration for part in self.parts for onset, duration, _ in part)


def load_pieces(cache: Path, workers: int) -> list[Piece]:
    """All pieces, from `cache` or else read from music21's corpus (minutes)."""
    if not cache.exists():
        pieces = read_corpus(corpus_folder(), workers)
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_name(cache.name + ".part")
        with gzip.open(partial, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(asdict(piece)) + "\n" for piece in pieces)
        partial.rename(cache)
    with gzip.open(cache, "rt", encoding="utf-8") as file:
        return [Piece(**json.loads(line)) for line in file]


def corpus_folder() -> Path:
    spec = importlib.util.find_spec("music21")
    if spec is None:
        raise SystemExit("music21 is not installed: pip install -r requirements.txt")
    return Path(spec.submodule_search_locations[0]) / "corpus"


def read_corpus(folder: Path, workers: int) -> list[Piece]:
    books = [path for book in TUNE_BOOKS for path in sorted((folder / book).glob("*.abc"))]
    chorales = sorted((folder / "bach").glob("*.mxl"))
    analyses = sorted([*folder.glob("bach/choraleAnalyses/*.rntxt"), *folder.glob("monteverdi/*.rntxt")])
    jobs = [(read_tunes, path) for path in books] + [(read_chorale, path) for path in chorales]
    jobs += [(read_analysed, path) for path in analyses]
    with ProcessPoolExecutor(workers) as pool:
        pieces = [piece for found in pool.map(_read, jobs, chunksize=8) for piece in found]
    return group_pieces(pieces)


def _read(job: tuple[Callable[[Path], Iterable[Piece]], Path]) -> list[Piece]:
    return list(job[0](job[1]))


def read_tunes(path: Path) -> Iterable[Piece]:
    """The tunes of one ABC file; those that the reader does not fully understand are left out."""
    for number, text in enumerate(abc_tunes.split_book(path.read_text(encoding="utf-8", errors="replace"))):
        try:
            tune = abc_tunes.parse_tune(text)
        except abc_tunes.AbcError:
            continue
        title = tune.fields.get("T", "")
        yield Piece(
            id=f"{path.parent.name}/{path.stem}-{number}",
            kind="tune",
            title=title,
            group="tune: " + normal_title(title),
            parts=[[(float(onset), float(duration), pitch) for onset, duration, pitch in tune.notes]],
            meter=tune.meter,
            key=tune.key,
            dance=dance_type(tune.fields.get("R", "")),
            beats=[(float(onset), down) for onset, down in tune.beats] if tune.beats else None,
        )


def dance_type(rhythm: str) -> str | None:
    name = re.sub(r"[^a-z]", "", rhythm.lower())
    return {
        "reel": "reel", "jig": "jig", "doublejig": "jig", "hornpipe": "hornpipe", "slipjig": "slip jig",
    }.get(name)  # fmt: skip


def normal_title(title: str) -> str:
    """`The Fire-Fly -- Reel` and `Fire Fly, The` → `fire fly`."""
    title = re.sub(r"\s--?\s.*", "", title.lower())
    title = re.sub(r"[^a-z0-9 ]", "", title.replace("-", " "))
    return " ".join(word for word in title.split() if word not in ("the", "a", "reel", "jig", "hornpipe"))


def read_chorale(path: Path) -> Iterable[Piece]:
    """A chorale. Its key is the analysed one if the last bass note is its tonic; the one in the file is not read."""
    score = _parse(path)
    parts = _parts(score)
    if not 4 <= len(parts) <= MAX_PARTS:
        return
    analysed = score.analyze("key")
    tonic = analysed.tonic.pitchClass
    meter, beats = _meter_and_beats(score)
    yield Piece(
        id=f"bach/{path.stem}",
        kind="chorale",
        title=path.stem,
        group=f"chorale: {path.stem}",
        parts=parts,
        meter=meter,
        key=(tonic, analysed.mode) if parts[-1][-1][2] % 12 == tonic else None,
        beats=beats,
    )


def read_analysed(path: Path) -> Iterable[Piece]:
    """A piece with a Roman-numeral analysis, if the analysis agrees with the notes."""
    score_path = path.with_suffix(".mxl")
    if bwv := re.search(r"^BWV:\s*([\d.]+)", path.read_text(encoding="utf-8"), re.MULTILINE):
        score_path = path.parents[1] / f"bwv{bwv[1]}.mxl"
    if not score_path.exists():
        return
    score, analysis = _parse(score_path), _parse(path, format="romanText")
    parts = _parts(score)
    starts = {measure.number: float(measure.offset) for measure in score.parts[0].getElementsByClass("Measure")}
    end = max(onset + duration for part in parts for onset, duration, _ in part)
    chords = in_key_of_the_notes(parts, list(_chords(analysis, starts, end)))
    if chord_agreement(parts, chords) < MIN_CHORD_AGREEMENT:
        return
    meter, beats = _meter_and_beats(score)
    yield Piece(
        id=f"analysed/{path.stem}",
        kind="analysed",
        title=path.stem,
        group=f"chorale: {score_path.stem}" if bwv else f"madrigal: {path.stem}",
        parts=parts,
        meter=meter,
        beats=beats,
        chords=chords,
    )


def _parse(path: Path, **options):
    from music21 import converter

    return converter.parse(path, forceSource=True, **options)  # forceSource: no cache of pickles in the home folder


def _parts(score) -> list[list[tuple[float, float, int]]]:
    """Notes of each part that has any, ties joined."""
    parts = []
    for part in score.parts:
        notes = [
            (float(note.offset), float(note.quarterLength), pitch.midi)
            for note in part.stripTies().flatten().notes
            for pitch in note.pitches
            if note.quarterLength > 0
        ]
        if notes:
            parts.append(notes)
    return parts


def _meter_and_beats(score) -> tuple[tuple[int, int] | None, list[tuple[float, bool]] | None]:
    signatures = {(sign.numerator, sign.denominator) for sign in score.parts[0].recurse().getElementsByClass("TimeSignature")}
    if len(signatures) != 1:
        return None, None
    meter = signatures.pop()
    if beat_length(meter) is None:
        return meter, None
    measures = score.parts[0].getElementsByClass("Measure")
    beats = beat_grid([Bar(length=Fraction(measure.duration.quarterLength)) for measure in measures], meter)
    return meter, [(float(onset), down) for onset, down in beats] if beats else None


def _chords(analysis, starts: dict[int, float], end: float) -> Iterable[tuple[float, float, int, str]]:
    """Chord labels in the score's time; each lasts until the next."""
    found = []
    for measure in analysis.recurse().getElementsByClass("Measure"):
        for numeral in measure.getElementsByClass("RomanNumeral"):
            root = numeral.root().pitchClass
            degrees = tuple(sorted({(pitch.pitchClass - root) % 12 for pitch in numeral.pitches}))
            if measure.number in starts:
                found.append((starts[measure.number] + float(numeral.offset), root, CHORD_QUALITIES.get(degrees)))
    found.sort(key=lambda chord: chord[0])
    for (onset, root, quality), (following, _, _) in zip(found, found[1:] + [(end, 0, None)], strict=True):
        if quality and following > onset:
            yield onset, following, root, quality


def in_key_of_the_notes(
    parts: list[list[tuple[float, float, int]]], chords: list[tuple[float, float, int, str]]
) -> list[tuple[float, float, int, str]]:
    """The chords, transposed as agrees best with the notes: some scores are in another key than their analysis."""
    transposed = [[(onset, end, (root + step) % 12, quality) for onset, end, root, quality in chords] for step in range(12)]
    return max(transposed, key=lambda moved: chord_agreement(parts, moved))


def chord_agreement(parts: list[list[tuple[float, float, int]]], chords: list[tuple[float, float, int, str]]) -> float:
    """The part of the labelled sounding time in which a note belongs to its chord label."""
    degrees = {quality: set(steps) for steps, quality in CHORD_QUALITIES.items()}
    sounding = explained = 0.0
    for onset, end, root, quality in chords:
        for part in parts:
            for start, duration, pitch in part:
                shared = min(end, start + duration) - max(onset, start)
                if shared > 0:
                    sounding += shared
                    explained += shared * ((pitch - root) % 12 in degrees[quality])
    return explained / sounding if sounding else 0.0


def group_pieces(pieces: list[Piece]) -> list[Piece]:
    """Put pieces with one title, or with one opening (whatever its key), into one group, so that none leaks."""
    leader: dict[str, str] = {}

    def find(group: str) -> str:
        while leader.setdefault(group, group) != group:
            group = leader[group]
        return group

    first_with: dict[tuple[int, ...], str] = {}
    for piece in pieces:
        pitches = [pitch for _, _, pitch in piece.parts[0][: OPENING_NOTES + 1]]
        opening = tuple(after - before for before, after in zip(pitches, pitches[1:], strict=False))
        other = first_with.setdefault(opening, piece.group)
        leader[find(piece.group)] = find(other)
    for piece in pieces:
        piece.group = find(piece.group)
    return pieces
