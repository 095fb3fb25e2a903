"""mteb's own audio tasks on a MuQ-MuLan folder: zero-shot tags, and a classifier on frozen vectors, of music of your own.

    pip install "mteb[audio]"
    python examples/mteb_tasks.py [MODEL]                 # the six clips of examples/audio, in pieces of 3 s
    mteb run -m OWNER/NAME -t GTZANGenre ESC50_Zeroshot   # real tasks and a model that you put on the Hub; needs a network

MODEL: a MuQ-MuLan's folder, default muq-mulan-tiny. A task is a class that says where the data is, and what its labels are
called in words.
"""

import sys
import tempfile
from pathlib import Path

import datasets
import mteb
from mteb.abstasks import AbsTaskClassification, AbsTaskZeroShotClassification
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.cache import ResultCache
from mteb.models import SentenceTransformerEncoderWrapper

from muq_hf import MUQ_MULAN_TINY, MuQMuLanConfig
from muq_hf.audio import load_audio


CLIPS = Path(__file__).parent / "audio"
LABELS = {  # the beginning of a file's name: what the music is
    "bach": "a baroque orchestra",
    "folk": "folk music with fiddle and whistle",
    "metal": "heavy metal with distorted guitars",
    "electronic": "electronic music with synthesizers",
    "breakbeat": "fast electronic drums",
}
SECONDS = 3
RATE = 24_000  # Hz


def pieces() -> datasets.DatasetDict:
    """Every clip in pieces of 3 s; the even ones to train a classifier on, the odd ones to test."""
    rows = {"train": [], "test": []}
    for label, name in enumerate(LABELS):
        for file in sorted(CLIPS.glob(f"{name}*.ogg")):
            wave = load_audio(file, RATE)
            for number in range(len(wave) // (SECONDS * RATE)):
                piece = wave[number * SECONDS * RATE : (number + 1) * SECONDS * RATE]
                row = {"audio": {"array": piece, "sampling_rate": RATE}, "label": label}
                rows["train" if number % 2 == 0 else "test"].append(row)
    return datasets.DatasetDict({split: datasets.Dataset.from_list(items) for split, items in rows.items()})


def metadata(name: str, kind: str, category: str, modalities: list[str]) -> TaskMetadata:
    return TaskMetadata(
        name=name,
        description="Pieces of the clips in examples/audio.",
        reference=None,
        dataset={"path": "local", "revision": "1"},
        type=kind,
        category=category,
        modalities=modalities,
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="accuracy",
        domains=["Music"],
    )


class LocalMusic:
    """Data that is made here and not fetched from the Hub."""

    input_column_name = "audio"
    label_column_name = "label"

    def load_data(self, *args, **kwargs) -> None:
        self.dataset, self.data_loaded = pieces(), True


class LocalZeroShot(LocalMusic, AbsTaskZeroShotClassification):
    metadata = metadata("LocalZeroShot", "AudioZeroshotClassification", "a2t", ["audio", "text"])

    def get_candidate_labels(self) -> list[str]:
        return list(LABELS.values())


class LocalClassification(LocalMusic, AbsTaskClassification):
    metadata = metadata("LocalClassification", "AudioClassification", "a2c", ["audio"])


def main(folder: str = MUQ_MULAN_TINY) -> None:
    rate = MuQMuLanConfig.from_pretrained(folder).sampling_rate
    model = SentenceTransformerEncoderWrapper(folder, target_sampling_rate=rate)  # else mteb resamples to 16 kHz first
    # Of a Hub id mteb reads this in sentence_bert_config.json, of a folder not at all.
    model.mteb_model_meta = model.mteb_model_meta.model_copy(update={"modalities": ["audio", "text"]})
    with tempfile.TemporaryDirectory() as scratch:
        results = mteb.evaluate(model, [LocalZeroShot(), LocalClassification()], cache=ResultCache(scratch))
    for task in results.task_results:
        print(f"{task.task_name}: accuracy {task.get_score():.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
