"""`muq-hf compare`: its arguments, and what it prints. Torch is imported when it runs."""

import re
import sys
from pathlib import Path
from types import SimpleNamespace
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

    arguments = SimpleNamespace(**locals())
    arguments.cache = cache or output / "features"
    tell = (lambda text: None) if quiet else (lambda text: print(text, file=sys.stderr))
    sides = _sides(arguments, tell)
    results = []
    for one, other in sides:
        results += compare_sets(one, other, Choices(neighbours, resamples, seed), tell)
    report = {
        "title": f"{generated.name}" + (f" compared with {reference.name}" if reference else ""),
        "notes": _notes(sides),
        "results": results,
        "adherence": _adherence(arguments, sides, tell) if prompts else None,
    }
    files = write_comparison(report, sides, output)
    _print_report(report)
    print(f"written: {', '.join(map(str, files))}")
    failures = {failure for pair in sides for side in pair if side is not None for failure in side.failures}
    for failure in sorted(failures):
        print(f"left out: {failure}", file=sys.stderr)
    return DONE_WITH_FAILURES if failures else DONE


def _sides(arguments, tell) -> list:
    """(generated, reference or None) of each model."""
    from ..evaluation.music_sets import read_table, table_settings, tables_in

    reference_tables = tables_in(arguments.reference) if arguments.reference else []
    generated_tables = tables_in(arguments.generated)
    if generated_tables and arguments.reference and not reference_tables:
        raise ValueError(
            f"{arguments.generated} is a table and {arguments.reference} is audio: give the reference as a table too."
        )
    if generated_tables:
        own = [read_table(table) for table in generated_tables]
        others = [read_table(table) for table in reference_tables]
        if not others:
            return [(side, None) for side in own]
        return [(side, next((other for other in others if other.model == side.model), others[0])) for side in own]
    sides = []
    for table in reference_tables:
        settings = table_settings(table)
        if arguments.model and settings["model"] not in arguments.model and settings.get("spec") not in arguments.model:
            continue
        own = _like_embed(arguments, settings) if "weights" in settings else _like_saved(arguments, settings, table)
        sides.append((own, read_table(table)))
    if reference_tables and not sides:
        raise ValueError(f"no table in {arguments.reference} is of {' or '.join(arguments.model)}.")
    return sides or _from_audio(arguments, tell)


def _from_audio(arguments, tell) -> list:
    """Both sides embedded by every model that was named."""
    from ..checkpoints import MUQ_TINY, model_or_default, short_name
    from ..evaluation.music_sets import write_table

    sides = []
    for spec in arguments.model or [model_or_default(None, MUQ_TINY)]:
        encoder = _encoder(arguments, spec)
        sources = [arguments.generated] + ([arguments.reference] if arguments.reference else [])
        pair = [
            _embedded(arguments, source, encoder, arguments.layer, arguments.row_seconds, arguments.equalise)
            for source in sources
        ]
        sides.append((pair[0], pair[1] if len(pair) > 1 else None))
        if arguments.save_reference:
            settings = {
                "layers": arguments.layer,
                "clip_seconds": arguments.clip_seconds,
                "row_seconds": arguments.row_seconds,
                "equalised": arguments.equalise,
            }
            name = re.sub(r"[^\w.-]+", "-", short_name(spec)).strip("-")
            tell(f"written: {write_table(pair[1], arguments.save_reference / f'{name}.parquet', spec, settings)}")
    return sides


def _like_saved(arguments, settings: dict, table: Path):
    """The generated music, embedded as a table of --save-reference was."""
    from ..checkpoints import relocate_own_weights

    encoder = _encoder(arguments, relocate_own_weights(settings["spec"]))
    arguments.clip_seconds = arguments.clip_seconds or settings["clip_seconds"]
    return _embedded(arguments, arguments.generated, encoder, settings["layers"], settings["row_seconds"], settings["equalised"])


def _like_embed(arguments, settings: dict):
    """The generated music, embedded by `muq-hf embed` as the reference's table was."""
    from ..checkpoints import relocate_own_weights
    from ..evaluation.music_sets import read_table
    from ..inference.embedding import embed_files

    table = arguments.cache / f"generated-{settings['fingerprint']}.parquet"
    is_joint = settings["pool"] == "joint"
    options = {} if is_joint else {"layer": settings["layers"], "pool": settings["pool"]}
    embed_files(
        [arguments.generated],
        relocate_own_weights(settings["model"]),
        table,
        chunk_length_s=settings["chunk_length_s"],
        window_length_s=settings["window_length_s"],
        stride_length_s=settings["stride_length_s"],
        device=arguments.device,
        dtype=settings["dtype"],
        overwrite=True,
        progress=not arguments.quiet,
        **options,
    )
    return read_table(table)


def _encoder(arguments, spec: str):
    from ..devices import resolve_device
    from ..evaluation.models import load_encoder

    return load_encoder(spec, str(resolve_device(arguments.device)), arguments.trust_remote_code)


def _embedded(arguments, source: Path, encoder, layers, row_seconds, equalised):
    from dataclasses import replace

    from ..evaluation.music_sets import embed_clips, find_clips

    clips, failures = find_clips(source, arguments.clip_seconds)
    music = embed_clips(
        str(source), clips, encoder, layers, arguments.cache, row_seconds, equalised, arguments.workers, not arguments.quiet
    )
    return replace(music, failures=(*failures, *music.failures))


def _adherence(arguments, sides, tell) -> dict:
    from ..checkpoints import MUQ_MULAN_TINY, model_or_default, short_name
    from ..devices import resolve_device
    from ..evaluation.adherence import read_prompts, text_adherence
    from ..evaluation.text_tagging import load_joint

    prompts = read_prompts(arguments.prompts)
    name = model_or_default(arguments.text_model, MUQ_MULAN_TINY)
    tell(f"text adherence: {short_name(name)}")
    model, processor = load_joint(name)
    model = model.to(resolve_device(arguments.device)).eval()
    return text_adherence(model, processor, sides[0][0].clips, prompts, short_name(name))


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
