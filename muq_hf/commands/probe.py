"""`muq-hf probe`: frozen features of any audio model on the corpus's tasks or on a labelled set of one's own."""

import argparse
import sys
from pathlib import Path

from .extras import require


EPILOG = """\
examples:
  muq-hf probe --list
  muq-hf probe --model RUN/final --suite small --corpus CORPUS
  muq-hf probe --model m-a-p/MERT-v1-95M RUN/final mel --manifest my_songs.csv --trust-remote-code
  muq-hf probe --model RUN/final --manifest gtzan:/data/GTZAN

models: a folder or Hub id of MuQ or of any audio encoder of transformers; mel; chroma; random:tiny (base, large, a MuQ's folder);
FILE.py:CLASS, an adapter (see research/peers). manifests: CSV with `path`, `split` and one of `label` (class), `labels` (tags,
a;b;c), `value` (numbers), `segments` (file of start, end, name), `events` (file of times); JSONL with `path`, `split`, `start`,
`end`, `group` and `labels`; gtzan:FOLDER, magnatagatune:FOLDER, nsynth:FOLDER. Where no `split` is given, 15 % of the groups
(`group`, else files) are the test split and 15 % the valid split, by a hash of their names; where only train and test are, valid
is drawn from train. Heads are fitted on at most 6,000 rows of the train split, clips or frames, drawn for each seed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("--list", action="store_true", help="name the tasks and stop")
    parser.add_argument("--model", nargs="+", help="what to compare, in one table (default: the package's muq-tiny)")
    parser.add_argument("--suite", choices=("small", "full"), help="the tasks of the corpus, with fewer clips or with all")
    parser.add_argument("--corpus", type=Path, nargs="+", default=[Path("corpus")], help="folders that research/corpus wrote")
    parser.add_argument("--tasks", nargs="+", help="only these tasks of the suite")
    parser.add_argument("--held-out", action="store_true", help="recordings only of albums that shipped weights never trained on")
    parser.add_argument("--manifest", help="a labelled set of your own")
    parser.add_argument("--label", help="key of the manifest's labels to probe (default: all)")
    parser.add_argument("--kind", help="kind of the label where the manifest does not tell: key, pitch, tempo, chord …")
    parser.add_argument("--no-baselines", action="store_true", help="only the named models, without mel and random weights")
    parser.add_argument("--probes", nargs="+", choices=("linear", "mlp"), default=["linear", "mlp"])
    parser.add_argument("--seeds", type=int, default=3, help="fits of each probe, but one where nothing is random (default: 3)")
    parser.add_argument("--check", action="store_true", help="say where shuffled labels or recording cues give more than chance")
    parser.add_argument("--output", type=Path, default=Path("probe_results"), help="folder for JSON, Markdown and PNG")
    parser.add_argument("--cache", type=Path, help="folder for features (default: OUTPUT/features)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--trust-remote-code", action="store_true", help="run model code from the Hub (MERT needs it)")
    parser.add_argument("--workers", type=int, default=2, help="threads that decode audio, processes that fit")


def run(arguments: argparse.Namespace) -> int:
    if arguments.list:
        print(task_list())
        return 0
    if (arguments.suite is None) == (arguments.manifest is None):
        raise ValueError("choose one of --suite small|full and --manifest FILE; --list names the tasks.")
    if arguments.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {arguments.seeds}.")
    require("sklearn", "mir_eval", "matplotlib")

    from ..checkpoints import MUQ_TINY, or_own, short_name
    from ..evaluation.benchmark import Settings, evaluate
    from ..evaluation.report import markdown_table, write_report

    arguments.model = arguments.model or [or_own(None, MUQ_TINY)]
    questions = _suite_questions(arguments) if arguments.suite else _manifest_questions(arguments)
    models = _models(arguments)
    settings = Settings(
        cache=arguments.cache or arguments.output / "features",
        seeds=arguments.seeds,
        probes=tuple(arguments.probes),
        check=arguments.check,
        workers=arguments.workers,
    )
    arguments.model = list(map(short_name, arguments.model))
    said = {name: str(value) for name, value in vars(arguments).items() if name not in ("run", "command", "debug", "list")}
    files: list[Path] = []

    def save(rows: list[dict]) -> None:
        files[:] = write_report(rows, said, arguments.output)

    rows = evaluate(models, questions, settings, save=save)
    print(f"\n{markdown_table(rows)}\nwritten: {', '.join(map(str, files))}")
    return 0


def task_list() -> str:
    from ..evaluation.tasks import TASKS

    width = max(len(task.name) for task in TASKS)
    lines = [f"{task.name:{width}}  {'real' if task.real else 'rendered':8}  {task.primary:16} {task.summary}" for task in TASKS]
    return "\n".join(lines)


def _suite_questions(arguments) -> list:
    from ..evaluation.benchmark import Question
    from ..evaluation.tasks import find_tasks, load_task

    questions = []
    for task in find_tasks(arguments.tasks):
        clips = load_task(task, arguments.corpus, arguments.suite == "small", arguments.held_out)
        questions.append(Question(task.name, clips, task.label, task.kind, task.primary, task.equalised, task.redraw))
    return questions


def _manifest_questions(arguments) -> list:
    from ..evaluation.benchmark import Question
    from ..evaluation.builders import read_labelled
    from ..evaluation.labelled_clips import label_kind, with_label

    name, clips = read_labelled(arguments.manifest)
    labels = [arguments.label] if arguments.label else sorted({label for clip in clips for label in clip.labels})
    questions = []
    for label in labels:
        labelled = with_label(clips, label)
        try:
            kind = arguments.kind or label_kind([clip.labels[label] for clip in labelled])
            questions.append(Question.of(name if len(labels) == 1 else f"{name} {label}", labelled, label, kind))
        except ValueError as error:
            if len(labels) == 1:
                raise
            print(f"{label} is left out: {error}", file=sys.stderr)
    if not questions:
        raise ValueError(f"none of the labels {', '.join(labels)} can be probed: choose one --label and its --kind.")
    return questions


def _models(arguments) -> list:
    """Encoders with what they say of their training music; unless refused, mel and random weights of the first MuQ's size too."""
    from ..devices import resolve_device
    from ..evaluation.encoders import MuQEncoder
    from ..evaluation.guards import training_music
    from ..evaluation.models import RANDOM, is_checkpoint, load_encoder

    device = str(resolve_device(arguments.device))
    specs = list(dict.fromkeys(arguments.model))
    encoders = {spec: load_encoder(spec, device, arguments.trust_remote_code) for spec in specs}
    extra = ["cues"] if arguments.check else []
    if not arguments.no_baselines:
        muq = next((spec for spec in specs if isinstance(encoders[spec], MuQEncoder)), None)
        has_random = any(spec.startswith(RANDOM) for spec in specs)
        extra += ["mel", *([f"{RANDOM}{muq}"] if muq and not has_random else [])]
    for spec in extra:
        if spec not in encoders:
            encoders[spec] = load_encoder(spec, device)
    return [(encoder, training_music(spec) if is_checkpoint(spec) else None) for spec, encoder in encoders.items()]
