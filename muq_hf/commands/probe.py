"""`muq-hf probe`: frozen features of any audio model on the corpus's tasks or on a labelled set of one's own."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from .exit_codes import DONE
from .extras import require
from .options import POOLS, Device


EXAMPLES = """
muq-hf probe --list
muq-hf probe --model RUN/final --suite small --corpus CORPUS
muq-hf probe --model m-a-p/MERT-v1-95M RUN/final mel --manifest my_songs.csv --trust-remote-code
muq-hf probe --model RUN/final --manifest gtzan:/data/GTZAN
"""
PROBES = ("linear", "mlp")
DATA, SCORING = "Music and labels", "Scoring"


def run(
    model: Annotated[
        list[str] | None, typer.Option(metavar="MODEL...", help="what to compare, in one table (default: the package's muq-tiny)")
    ] = None,
    list_tasks: Annotated[bool, typer.Option("--list", help="name the tasks and stop")] = False,
    suite: Annotated[
        Literal["small", "full"] | None,
        typer.Option(help="the tasks of the corpus, with fewer clips or with all", rich_help_panel=DATA),
    ] = None,
    corpus: Annotated[
        list[Path], typer.Option(metavar="FOLDER...", help="folders that research/corpus wrote", rich_help_panel=DATA)
    ] = [Path("corpus")],
    tasks: Annotated[
        list[str] | None, typer.Option(metavar="TASK...", help="some tasks of the suite (default: all)", rich_help_panel=DATA)
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option("--held-out", help="recordings only of albums that shipped weights never trained on", rich_help_panel=DATA),
    ] = False,
    manifest: Annotated[str | None, typer.Option(help="a labelled set of your own", rich_help_panel=DATA)] = None,
    label: Annotated[
        str | None, typer.Option(help="key of the manifest's labels to probe (default: all)", rich_help_panel=DATA)
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="kind of the label where the manifest does not tell: key, pitch, tempo, chord ...", rich_help_panel=DATA
        ),
    ] = None,
    no_baselines: Annotated[
        bool, typer.Option("--no-baselines", help="the named models alone, without mel and random weights")
    ] = False,
    probes: Annotated[
        list[str], typer.Option(metavar="PROBE...", help=f"some of {', '.join(PROBES)}", rich_help_panel=SCORING)
    ] = list(PROBES),
    pools: Annotated[
        list[str],
        typer.Option(
            metavar="POOL...",
            help=f"how frames become one vector: {', '.join(POOLS)}; validation chooses one of several",
            rich_help_panel=SCORING,
        ),
    ] = ["mean", "mean+std"],
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="fits of each probe, one where nothing is random", rich_help_panel=SCORING)
    ] = 3,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="say where shuffled labels or recording cues give more than chance", rich_help_panel=SCORING
        ),
    ] = False,
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="for JSON, Markdown and PNG")] = Path("probe_results"),
    cache: Annotated[Path | None, typer.Option(metavar="FOLDER", help="for features (default: OUTPUT/features)")] = None,
    device: Device = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="run model code from the Hub (MERT needs it)")
    ] = False,
    workers: Annotated[int, typer.Option(metavar="N", help="threads that decode audio, processes that fit")] = 2,
) -> int:
    """Models: a folder or Hub id of MuQ or of any audio encoder of transformers; mel; chroma; random:tiny (base, large, a MuQ's
    folder); FILE.py:CLASS, an adapter (see research/peers).

    Manifests: CSV with `path`, `split` and one of `label` (class), `labels` (tags, a;b;c), `value` (numbers), `segments` (file
    of start, end, name), `events` (file of times); JSONL with `path`, `split`, `start`, `end`, `group` and `labels`;
    gtzan:FOLDER, magnatagatune:FOLDER, nsynth:FOLDER.

    Where no `split` is given, 15 % of the groups (`group`, else files) are the test split and 15 % the valid split, by a hash of
    their names; where only train and test are, valid is drawn from train. Heads are fitted on at most 6,000 rows of the train
    split, clips or frames, drawn for each seed. Of every model's layers and of --pools, validation chooses one; the rows
    "linear, mean" and so on say what each pooling gives.
    """
    if list_tasks:
        print(task_list())
        return DONE
    if (suite is None) == (manifest is None):
        raise ValueError("choose one of --suite small|full and --manifest FILE; --list names the tasks.")
    for name, chosen, valid in (("--probes", probes, PROBES), ("--pools", pools, POOLS)):
        if unknown := [each for each in chosen if each not in valid]:
            raise ValueError(f"{name} are {', '.join(valid)}, got {', '.join(unknown)}.")
    require("sklearn", "mir_eval", "matplotlib")

    from ..checkpoints import MUQ_TINY, model_or_default, short_name
    from ..evaluation.benchmark import evaluate
    from ..evaluation.report import markdown_table, write_report
    from ..evaluation.trial import Settings

    named = model or [model_or_default(None, MUQ_TINY)]
    chosen_tasks = _suite_tasks(suite, corpus, tasks, held_out) if suite else _manifest_tasks(manifest, label, kind)
    models = _models(named, device, trust_remote_code, with_baselines=not no_baselines, with_cues=check)
    settings = Settings(
        cache=cache or output / "features",
        seeds=seeds,
        probes=tuple(probes),
        poolings=tuple(pools),
        check=check,
        workers=workers,
    )
    used = {
        "model": list(map(short_name, named)),
        "suite": suite,
        "corpus": corpus,
        "tasks": tasks,
        "held_out": held_out,
        "manifest": manifest,
        "label": label,
        "kind": kind,
        "no_baselines": no_baselines,
        "probes": probes,
        "pools": pools,
        "seeds": seeds,
        "check": check,
        "output": output,
        "cache": cache,
        "device": device,
        "trust_remote_code": trust_remote_code,
        "workers": workers,
    }
    used = {name: str(value) for name, value in used.items()}
    files: list[Path] = []

    def save(rows: list[dict]) -> None:
        files[:] = write_report(rows, used, output)

    rows = evaluate(models, chosen_tasks, settings, save=save)
    print(f"\n{markdown_table(rows)}\nwritten: {', '.join(map(str, files))}")
    return DONE


def task_list() -> str:
    from ..evaluation.corpus_tasks import CORPUS_TASKS

    tasks = [source.task for source in CORPUS_TASKS]
    width = max(len(task.name) for task in tasks)
    lines = [f"{task.name:{width}}  {'real' if task.real else 'rendered':8}  {task.primary:16} {task.summary}" for task in tasks]
    return "\n".join(lines)


def _suite_tasks(suite: str, corpus: list[Path], tasks: list[str] | None, held_out: bool) -> list:
    from ..evaluation.corpus_tasks import find_tasks, load_task

    return [load_task(source, corpus, suite == "small", held_out) for source in find_tasks(tasks)]


def _manifest_tasks(manifest: str, label: str | None, kind: str | None) -> list:
    """A task for each label of the manifest, or for the one that was chosen."""
    from ..evaluation.builders import read_labelled
    from ..evaluation.label_kinds import kind_of, own_task
    from ..evaluation.labelled_clips import with_label

    name, clips = read_labelled(manifest)
    labels = [label] if label else sorted({each for clip in clips for each in clip.labels})
    tasks = []
    for each in labels:
        labelled = with_label(clips, each)
        try:
            own_kind = kind or kind_of([clip.labels[each] for clip in labelled])
            tasks.append(own_task(name if len(labels) == 1 else f"{name} {each}", labelled, each, own_kind))
        except ValueError as error:
            if len(labels) == 1:
                raise
            print(f"{each} is left out: {error}", file=sys.stderr)
    if not tasks:
        raise ValueError(f"none of the labels {', '.join(labels)} can be probed: choose one --label and its --kind.")
    return tasks


def _models(named: list[str], device: str, trust_remote_code: bool, with_baselines: bool, with_cues: bool) -> list:
    """(encoder, files it was trained on) of each model, and of the baselines: mel, and random weights of the first MuQ's size."""
    from ..devices import resolve_device
    from ..evaluation.encoders import MuQEncoder
    from ..evaluation.guards import training_music
    from ..evaluation.models import RANDOM, is_checkpoint, load_encoder

    device = str(resolve_device(device))
    specs = list(dict.fromkeys(named))
    encoders = {spec: load_encoder(spec, device, trust_remote_code) for spec in specs}
    extra = ["cues"] if with_cues else []
    if with_baselines:
        muq = next((spec for spec in specs if isinstance(encoders[spec], MuQEncoder)), None)
        has_random = any(spec.startswith(RANDOM) for spec in specs)
        extra += ["mel", *([f"{RANDOM}{muq}"] if muq and not has_random else [])]
    for spec in extra:
        if spec not in encoders:
            encoders[spec] = load_encoder(spec, device)
    return [(encoder, training_music(spec) if is_checkpoint(spec) else None) for spec, encoder in encoders.items()]
