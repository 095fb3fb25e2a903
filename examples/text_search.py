"""Find the clip that fits a sentence best: music and text as vectors of one space.

    python examples/text_search.py "calm piano, rainy mood" [--model MODEL]

MODEL: folder or Hub id of a MuQ-MuLan. Without one a small random model shows the steps: its scores mean nothing.
For a whole collection use `muq-hf embed` once and `muq-hf search` on its table. Ten seconds on a laptop without MODEL.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from random_mulan import write_random_mulan
from transformers import AutoModel, AutoProcessor

import muq_hf  # noqa: F401  (registers the Auto classes)


CLIPS = Path(__file__).parent / "audio"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", help="what the music should be like")
    parser.add_argument("--model", help="folder or Hub id of a MuQ-MuLan; default: a random one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.model is None:
            print("No --model: a small random MuQ-MuLan (seed 0) shows the steps; its scores mean nothing.\n")
            write_random_mulan(scratch)
        model = AutoModel.from_pretrained(arguments.model or scratch).eval()
        processor = AutoProcessor.from_pretrained(arguments.model or scratch)
    paths = sorted(CLIPS.glob("*.ogg"))
    with torch.no_grad():
        music = model.get_audio_features(**processor(audio=paths, return_tensors="pt")).pooler_output  # [6, P], length 1
        words = model.get_text_features(**processor(text=arguments.text, return_tensors="pt")).pooler_output  # [1, P]
    cosines = (music @ words.T)[:, 0]
    for index in cosines.argsort(descending=True):
        print(f"{cosines[index]:+.3f}  {paths[index].stem}")


if __name__ == "__main__":
    main()
