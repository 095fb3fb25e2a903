"""Find the clip that fits a sentence best: music and text as vectors of one space.

    python examples/text_search.py "calm piano, rainy mood" [--model MODEL]

MODEL: folder or Hub id of a MuQ-MuLan; without one, the package's muq-mulan-tiny. For a whole collection use
`muq-hf embed --mulan` once and `muq-hf search` on its table. Ten seconds on a laptop without MODEL.
"""

import argparse
from pathlib import Path

import torch
from transformers import AutoModel, AutoProcessor

from muq_hf import MUQ_MULAN_TINY


CLIPS = Path(__file__).parent / "audio"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", help="what the music should be like")
    parser.add_argument("--model", default=MUQ_MULAN_TINY, help="folder or Hub id of a MuQ-MuLan; default: muq-mulan-tiny")
    arguments = parser.parse_args()
    model = AutoModel.from_pretrained(arguments.model).eval()
    processor = AutoProcessor.from_pretrained(arguments.model)
    paths = sorted(CLIPS.glob("*.ogg"))
    with torch.no_grad():
        music = model.get_audio_features(**processor(audio=paths, return_tensors="pt")).pooler_output  # [6, P], length 1
        words = model.get_text_features(**processor(text=arguments.text, return_tensors="pt")).pooler_output  # [1, P]
    cosines = (music @ words.T)[:, 0]
    for index in cosines.argsort(descending=True):
        print(f"{cosines[index]:+.3f}  {paths[index].stem}")


if __name__ == "__main__":
    main()
