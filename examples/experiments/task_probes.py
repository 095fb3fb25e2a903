"""What a frozen model hears: linear probes on tasks of the benchmark (`muq-hf probe`), the small suite, one seed of probes."""

from collections.abc import Sequence
from pathlib import Path

from muq_hf.evaluation.encoders import load_encoder
from muq_hf.evaluation.features import extract
from muq_hf.evaluation.probes import run_probes
from muq_hf.evaluation.targets import TARGETS
from muq_hf.evaluation.tasks import find_tasks, load_task


def probe_tasks(model: str | Path, tasks: Sequence[str], corpus: Sequence[Path], cache: Path) -> dict[str, float]:
    """Each task's own score on its test split, of the layer that validation chose and of the last one.

    model: a folder or whatever else `muq-hf probe --model` takes; corpus: folders that examples/corpus wrote.
    """
    encoder = load_encoder(str(model))
    scores = {}
    for task in find_tasks(tasks):
        clips = load_task(task, corpus, small=True, held_out=False)
        features = extract(encoder, clips, cache, equalised=task.equalised, progress=False)
        target = TARGETS[task.kind](features.clips, task.label)
        result = run_probes(features, target, task.primary, seeds=1, probes=["linear"])
        scores[f"{task.name}, best layer"] = result.linear[0][task.primary]
        scores[f"{task.name}, last layer"] = result.layers[encoder.layer_names[-1]][0][task.primary]
    return scores
