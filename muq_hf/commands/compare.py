"""`muq-hf compare`: its arguments, and what it prints. Torch is imported when it runs."""

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from .exit_codes import DONE, DONE_WITH_FAILURES
from .options import Device, Quiet


EXAMPLES = """
muq-hf compare generated/ --reference real/ --clip-seconds 10
muq-hf compare generated/ --reference real/ --model OpenMuQ/MuQ-large-msd-iter mel --layer 4 10 -1
muq-hf compare generated/ --reference real/ --save-reference real-tables/
muq-hf compare generated/ --reference real-tables/ --prompts prompts.jsonl
"""
SETS, SCORING = "Models and clips", "Scores"


@dataclass(frozen=True)
class Embedding:
    """How music becomes vectors, by which models, and where that is computed."""

    models: list[str] | None
    layers: list[int]
    clip_seconds: float | None
    row_seconds: float | None
    equalise: bool
    cache: Path
    device: str
    trust_remote_code: bool
    workers: int
    progress: bool


def run(
    generated: Annotated[
        Path, typer.Argument(metavar="GENERATED", help="the music to judge: folder, manifest, or table of `muq-hf embed`")
    ],
    reference: Annotated[
        Path | None, typer.Option(metavar="SOURCE", help="the music to judge it by: the same, or the folder of --save-reference")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(metavar="FILE.jsonl", help='{"path": ..., "prompt": ...} for each generated file')
    ] = None,
    save_reference: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="write the reference's vectors, a table for each model, to use again")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL...", help="encoders as in `muq-hf probe` (default: muq-tiny, or the tables')", rich_help_panel=SETS
        ),
    ] = None,
    layer: Annotated[
        list[int], typer.Option(metavar="N...", help="hidden states: 0 is the front end, -1 the last layer", rich_help_panel=SETS)
    ] = [-1],
    clip_seconds: Annotated[
        float | None,
        typer.Option(metavar="S", min=0.1, help="cut files into clips (default: a file is a clip)", rich_help_panel=SETS),
    ] = None,
    row_seconds: Annotated[
        float | None,
        typer.Option(metavar="S", help="several rows a clip, means of so many seconds (default: one)", rich_help_panel=SETS),
    ] = None,
    equalise: Annotated[
        bool, typer.Option("--equalise", help="bring all clips to one loudness, and to 10 kHz of bandwidth", rich_help_panel=SETS)
    ] = False,
    text_model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="of --prompts (default: muq-mulan-tiny)", rich_help_panel=SCORING)
    ] = None,
    neighbours: Annotated[
        int, typer.Option(metavar="K", min=1, help="of precision, recall, density and coverage", rich_help_panel=SCORING)
    ] = 5,
    resamples: Annotated[
        int, typer.Option(metavar="N", min=0, help="halves of the files for the intervals; 0: none", rich_help_panel=SCORING)
    ] = 100,
    seed: Annotated[int, typer.Option(metavar="N", help="of the halves and subsets", rich_help_panel=SCORING)] = 0,
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="for comparison.json and comparison.html")] = Path("comparison"),
    cache: Annotated[Path | None, typer.Option(metavar="FOLDER", help="for features (default: OUTPUT/features)")] = None,
    device: Device = "auto",
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help="run model code from the Hub")] = False,
    workers: Annotated[int, typer.Option(metavar="N", min=1, help="threads that decode audio")] = 2,
    quiet: Quiet = False,
) -> int:
    """Fréchet distance and its limit, kernel distance, precision, recall, density, coverage, and Vendi score of generated music
    against a reference, with 95 % intervals; with --prompts text adherence beside that of shuffled prompts; for each generated
    clip how far outside the reference it lies, and its nearest clip there.

    Refused are sets of different models, layers, clip lengths or sampling rates, and clips that are on both sides; a score that
    needs more clips says how many.
    """
    if reference is None and save_reference is not None:
        raise ValueError("--save-reference FOLDER needs --reference.")
    for source in (generated, reference):
        if source is not None and not source.exists():
            raise ValueError(f"there is no {source}.")
    from ..evaluation.comparison import Choices, compare_sets
    from ..evaluation.comparison_page import write_comparison

    embedding = Embedding(
        models=model,
        layers=layer,
        clip_seconds=clip_seconds,
        row_seconds=row_seconds,
        equalise=equalise,
        cache=cache or output / "features",
        device=device,
        trust_remote_code=trust_remote_code,
        workers=workers,
        progress=not quiet,
    )
    tell = (lambda text: None) if quiet else (lambda text: print(text, file=sys.stderr))
    sides = _from_tables(generated, reference, embedding) or _from_audio(generated, reference, embedding, save_reference, tell)
    results = []
    for one, other in sides:
        results += compare_sets(one, other, Choices(neighbours, resamples, seed), tell)
    report = {
        "title": f"{generated.name}" + (f" compared with {reference.name}" if reference else ""),
        "notes": _notes(sides),
        "results": results,
        "adherence": _adherence(prompts, text_model, device, sides[0][0].clips, tell) if prompts else None,
    }
    files = write_comparison(report, sides, output)
    _print_report(report)
    print(f"written: {', '.join(map(str, files))}")
    failures = {failure for pair in sides for side in pair if side is not None for failure in side.failures}
    for failure in sorted(failures):
        print(f"left out: {failure}", file=sys.stderr)
    return DONE_WITH_FAILURES if failures else DONE


def _from_tables(generated: Path, reference: Path | None, embedding: Embedding) -> list:
    """(generated, reference or None) of each model, where a side is a table; none where both are audio."""
    from ..evaluation.music_sets import read_table, table_settings, tables_in

    reference_tables = tables_in(reference) if reference else []
    generated_tables = tables_in(generated)
    if generated_tables and reference and not reference_tables:
        raise ValueError(f"{generated} is a table and {reference} is audio: give the reference as a table too.")
    if generated_tables:
        own = [read_table(table) for table in generated_tables]
        others = [read_table(table) for table in reference_tables]
        if not others:
            return [(side, None) for side in own]
        return [(side, next((other for other in others if other.model == side.model), others[0])) for side in own]
    sides = []
    for table in reference_tables:
        settings = table_settings(table)
        if embedding.models and settings["model"] not in embedding.models and settings.get("spec") not in embedding.models:
            continue
        embed = _like_embed if "weights" in settings else _like_saved
        sides.append((embed(generated, settings, embedding), read_table(table)))
    if reference_tables and not sides:
        raise ValueError(f"no table in {reference} is of {' or '.join(embedding.models)}.")
    return sides


def _from_audio(generated: Path, reference: Path | None, embedding: Embedding, save_reference: Path | None, tell) -> list:
    """Both sides embedded by every model that was named."""
    from ..checkpoints import MUQ_TINY, model_or_default, short_name
    from ..evaluation.music_sets import write_table

    sides = []
    for spec in embedding.models or [model_or_default(None, MUQ_TINY)]:
        encoder = _encoder(spec, embedding)
        own = _embedded(generated, encoder, embedding)
        other = _embedded(reference, encoder, embedding) if reference else None
        sides.append((own, other))
        if save_reference:
            settings = {
                "layers": embedding.layers,
                "clip_seconds": embedding.clip_seconds,
                "row_seconds": embedding.row_seconds,
                "equalised": embedding.equalise,
            }
            name = re.sub(r"[^\w.-]+", "-", short_name(spec)).strip("-")
            tell(f"written: {write_table(other, save_reference / f'{name}.parquet', spec, settings)}")
    return sides


def _like_saved(generated: Path, settings: dict, embedding: Embedding):
    """The generated music, embedded as a table of --save-reference was."""
    from ..checkpoints import relocate_own_weights

    as_saved = replace(
        embedding,
        layers=settings["layers"],
        clip_seconds=embedding.clip_seconds or settings["clip_seconds"],
        row_seconds=settings["row_seconds"],
        equalise=settings["equalised"],
    )
    return _embedded(generated, _encoder(relocate_own_weights(settings["spec"]), embedding), as_saved)


def _like_embed(generated: Path, settings: dict, embedding: Embedding):
    """The generated music, embedded by `muq-hf embed` as the reference's table was."""
    from ..checkpoints import relocate_own_weights
    from ..evaluation.music_sets import read_table
    from ..inference.embedding import embed_files

    table = embedding.cache / f"generated-{settings['fingerprint']}.parquet"
    is_joint = settings["pool"] == "joint"
    options = {} if is_joint else {"layer": settings["layers"], "pool": settings["pool"]}
    embed_files(
        [generated],
        relocate_own_weights(settings["model"]),
        table,
        chunk_length_s=settings["chunk_length_s"],
        window_length_s=settings["window_length_s"],
        stride_length_s=settings["stride_length_s"],
        device=embedding.device,
        dtype=settings["dtype"],
        overwrite=True,
        progress=embedding.progress,
        **options,
    )
    return read_table(table)


def _encoder(spec: str, embedding: Embedding):
    from ..devices import resolve_device
    from ..evaluation.models import load_encoder

    return load_encoder(spec, str(resolve_device(embedding.device)), embedding.trust_remote_code)


def _embedded(source: Path, encoder, embedding: Embedding):
    from ..evaluation.music_sets import embed_clips, find_clips

    clips, failures = find_clips(source, embedding.clip_seconds)
    music = embed_clips(
        str(source),
        clips,
        encoder,
        embedding.layers,
        embedding.cache,
        embedding.row_seconds,
        embedding.equalise,
        embedding.workers,
        embedding.progress,
    )
    return replace(music, failures=(*failures, *music.failures))


def _adherence(prompts: Path, text_model: str | None, device: str, clips, tell) -> dict:
    from ..checkpoints import MUQ_MULAN_TINY, model_or_default, short_name
    from ..devices import resolve_device
    from ..evaluation.adherence import read_prompts, text_adherence
    from ..evaluation.text_tagging import load_joint

    texts = read_prompts(prompts)
    name = model_or_default(text_model, MUQ_MULAN_TINY)
    tell(f"text adherence: {short_name(name)}")
    model, processor = load_joint(name)
    model = model.to(resolve_device(device)).eval()
    return text_adherence(model, processor, clips, texts, short_name(name))


def _notes(sides) -> list[str]:
    """What the sets are, in sentences."""
    notes = []
    for kind, side in zip(("Generated", "Reference"), sides[0], strict=True):
        if side is not None:
            files = len(set(side.files))
            length = f"{float(sorted(side.seconds)[len(side.seconds) // 2]):.1f} s"
            notes.append(f"{kind}: {side.source}, {len(side.clips)} clips of {length} (median) from {files} files.")
            if all(rate != rate for rate in side.rates):
                notes.append(f"{kind}: the table does not say the files' sampling rates, so they are not compared.")
    return notes


def _print_report(report: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    from ..evaluation.comparison import SCORES
    from ..evaluation.comparison_page import interval_text

    for note in report["notes"]:
        print(note)
    table = Table("score")
    results = report["results"]
    for result in results:
        table.add_column(f"{result['model']}\n{result['layer']}", overflow="fold")
    for name, (title, _) in SCORES.items():
        if name in results[0]["scores"]:
            table.add_row(title, *(interval_text(result["scores"][name]) for result in results))
    Console(highlight=False, markup=False).print(table)
    if any("refused" in score for result in results for score in result["scores"].values()):
        print("More rows: more music, shorter clips (--clip-seconds), or several rows a clip (--row-seconds 1).")
    for result in results:
        if "is_outside" in result["clips"][0]:
            outside = sum(clip["is_outside"] for clip in result["clips"])
            nearest = max(result["clips"], key=lambda clip: clip["nearest"]["cosine"])
            print(
                f"{result['model']}, {result['layer']}: {outside} of {len(result['clips'])} clips lie outside the reference; "
                f"nearest to one of its clips: {nearest['path']} to {nearest['nearest']['path']}, "
                f"cosine {nearest['nearest']['cosine']:.4f}"
            )
    if report["adherence"]:
        found = report["adherence"]
        texts = [f"{name.replace('_', ' ')} {interval_text(found[name])}" for name in ("adherence", "shuffled", "above_shuffled")]
        print(f"text adherence ({found['model']}, {found['prompted']} clips): " + ", ".join(texts))
