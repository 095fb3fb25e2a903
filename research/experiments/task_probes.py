"""What a frozen model hears: linear probes on tasks of the benchmark (`muq-hf probe`), the small suite, one seed of probes."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from muq_hf.evaluation.corpus_tasks import CorpusTask, find_tasks, load_task
from muq_hf.evaluation.encoders import Encoder
from muq_hf.evaluation.guards import refuse_leak, training_music
from muq_hf.evaluation.models import is_checkpoint, load_encoder
from muq_hf.evaluation.probes import ProbeResult
from muq_hf.evaluation.trial import Settings, Trial


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
    for source in find_tasks(tasks):
        result, task = _probe(str(model), encoder, source, corpus, cache), source.task
        by_layer = [result.layers[layer][0][task.primary] for layer in encoder.layer_names]
        values = (result.linear[0][task.primary], statistics.mean(by_layer), by_layer[-1])
        scores |= zip(score_names([task.name], (BEST, MEAN, LAST)), values, strict=True)
    return scores


def probe_layers(model: str | Path, tasks: Sequence[str], corpus: Sequence[Path], cache: Path) -> dict[str, dict[str, float]]:
    """Task → layer → the task's own score on its test split. Arguments: see `probe_tasks`."""
    encoder = load_encoder(str(model))
    scores = {}
    for source in find_tasks(tasks):
        result = _probe(str(model), encoder, source, corpus, cache)
        scores[source.name] = {layer: result.layers[layer][0][source.task.primary] for layer in encoder.layer_names}
    return scores


def _probe(model: str, encoder: Encoder, source: CorpusTask, corpus: Sequence[Path], cache: Path) -> ProbeResult:
    task = load_task(source, corpus, small=True, held_out=False)
    trained_on = training_music(model) if is_checkpoint(model) else None
    if trained_on is not None:
        refuse_leak(task.clips, trained_on, encoder.name)
    settings = Settings(cache, seeds=1, probes=("linear",), poolings=("mean",), progress=False, workers=1)
    return Trial.of(encoder, task, settings).fit()
