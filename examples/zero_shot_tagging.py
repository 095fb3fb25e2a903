"""Which words fit which of the six clips: transformers' own zero-shot pipeline with MuQ-MuLan.

    python examples/zero_shot_tagging.py [--model MODEL] [--labels "baroque orchestra" metal …]

MODEL: folder or Hub id of a MuQ-MuLan; without one, the package's muq-mulan-tiny. `muq-hf tag FILES --labels labels.txt`
does the same from the command line. Ten seconds on a laptop without MODEL.
"""

import argparse
from pathlib import Path

from transformers import pipeline

from muq_hf import MUQ_MULAN_TINY
from muq_hf.audio import load_audio


CLIPS = Path(__file__).parent / "audio"
LABELS = ("baroque orchestra", "heavy metal", "Celtic folk", "electronic ambient", "breakbeat")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=MUQ_MULAN_TINY, help="folder or Hub id of a MuQ-MuLan; default: muq-mulan-tiny")
    parser.add_argument("--labels", nargs="+", default=LABELS)
    arguments = parser.parse_args()
    classify = pipeline("zero-shot-audio-classification", model=arguments.model)
    for path in sorted(CLIPS.glob("*.ogg")):
        wave = load_audio(path, classify.feature_extractor.sampling_rate)
        best = classify(wave, candidate_labels=list(arguments.labels), hypothesis_template="{} music")[:2]
        print(f"{path.stem:22}", "  ".join(f"{row['score']:.3f} {row['label']}" for row in best))


if __name__ == "__main__":
    main()
