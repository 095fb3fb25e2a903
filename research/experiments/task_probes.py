"""What a frozen model hears: linear probes on tasks of the benchmark (`muq-hf probe`), the small suite, one seed of probes."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from muq_hf.evaluation.encoders import Encoder
from muq_hf.evaluation.features import extract
from muq_hf.evaluation.guards import refuse_leak, training_music
from muq_hf.evaluation.models import is_checkpoint, load_encoder
from muq_hf.evaluation.probes import ProbeResult, run_probes
from muq_hf.evaluation.targets import PER_FRAME, TARGETS
from muq_hf.evaluation.tasks import Task, find_tasks, load_task


BEST, MEAN, LAST = "best layer", "mean of layers", "last layer"


def score_names(tasks: Sequence[str], where: Sequence[str] = (BEST, LAST)) -> tuple[str, ...]:
    """Names of the scores that `probe_tasks` gives."""
    return tuple(f"{task}, {place}" for task in tasks for place in where)


def probe_tasks(model: str | Path, tasks: Sequence[str], corpus: Sequence[Path], cache: Path) -> dict[str, float]:
    """Each task's own score on its test split: of the layer that validation chose, of the last one, and the mean over all.

    The mean varies least from one training to another.

    model: a folder or whatever else `muq-hf probe --model` takes; corpus: folders that research/corpus wrote.
    """
    encoder = load_encoder(str(model))
    scores = {}
    for task in find_tasks(tasks):
        result = _probe(str(model), encoder, task, corpus, cache)
        by_layer = [result.layers[layer][0][task.primary] for layer in encoder.layer_names]
        values = (result.linear[0][task.primary], statistics.mean(by_layer), by_layer[-1])
        scores |= zip(score_names([task.name], (BEST, MEAN, LAST)), values, strict=True)
    return scores


def probe_layers(model: str | Path, tasks: Sequence[str], corpus: Sequence[Path], cache: Path) -> dict[str, dict[str, float]]:
    """Task → layer → the task's own score on its test split. Arguments: see `probe_tasks`."""
    encoder = load_encoder(str(model))
    scores = {}
    for task in find_tasks(tasks):
        result = _probe(str(model), encoder, task, corpus, cache)
        scores[task.name] = {layer: result.layers[layer][0][task.primary] for layer in encoder.layer_names}
    return scores


def _probe(model: str, encoder: Encoder, task: Task, corpus: Sequence[Path], cache: Path) -> ProbeResult:
    clips = load_task(task, corpus, small=True, held_out=False)
    trained_on = training_music(model) if is_checkpoint(model) else None
    if trained_on is not None:
        refuse_leak(clips, trained_on, encoder.name)
    per_frame = task.kind in PER_FRAME
    features = extract(encoder, clips, cache, per_frame=per_frame, equalised=task.equalised, progress=False)
    target = TARGETS[task.kind](features.clips, task.label)
    return run_probes(features, target, task.primary, seeds=1, probes=["linear"])
