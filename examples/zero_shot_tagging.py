"""Which words fit which of the six clips: transformers' own zero-shot pipeline with MuQ-MuLan.

    python examples/zero_shot_tagging.py [--model MODEL] [--labels "baroque orchestra" metal …]

MODEL: folder or Hub id of a MuQ-MuLan. Without one a small random model shows the steps: its scores mean nothing.
`muq-hf tag FILES --labels labels.txt` does the same from the command line. Ten seconds on a laptop without MODEL.
"""

import argparse
import tempfile
from pathlib import Path

from random_mulan import write_random_mulan
from transformers import pipeline

from muq_hf.audio import load_audio


CLIPS = Path(__file__).parent / "audio"
LABELS = ("baroque orchestra", "heavy metal", "Celtic folk", "electronic ambient", "breakbeat")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="folder or Hub id of a MuQ-MuLan; default: a random one")
    parser.add_argument("--labels", nargs="+", default=LABELS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.model is None:
            print("No --model: a small random MuQ-MuLan (seed 0) shows the steps; its scores mean nothing.\n")
            write_random_mulan(scratch)
        classify = pipeline("zero-shot-audio-classification", model=arguments.model or scratch)
    for path in sorted(CLIPS.glob("*.ogg")):
        wave = load_audio(path, classify.feature_extractor.sampling_rate)
        best = classify(wave, candidate_labels=list(arguments.labels), hypothesis_template="{} music")[:2]
        print(f"{path.stem:22}", "  ".join(f"{row['score']:.3f} {row['label']}" for row in best))


if __name__ == "__main__":
    main()
