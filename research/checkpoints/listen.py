"""What the shipped weights make of the six clips of examples/audio: vectors of music and of words, to compare machines with.

python research/checkpoints/listen.py                       # writes results/clips.json
"""

import json
from pathlib import Path

import torch
from transformers import AutoModel, AutoProcessor

from muq_hf import MUQ_MULAN_TINY, MUQ_TINY
from muq_hf.audio import load_audio


HERE = Path(__file__).resolve().parent
CLIPS = sorted((HERE.parents[1] / "examples" / "audio").glob("*.ogg"))
TEXTS = ("a baroque orchestra", "heavy metal guitars", "celtic folk music with a flute", "electronic ambient", "fast breakbeat")


def main() -> None:
    output = HERE / "results" / "clips.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(listen(), indent=1) + "\n", encoding="utf-8")
    print(f"wrote {output}")


@torch.inference_mode()
def listen() -> dict[str, dict[str, list[float]]]:
    """For each tower what it heard or read → its vector."""
    muq = AutoModel.from_pretrained(MUQ_TINY).eval()
    mulan, processor = AutoModel.from_pretrained(MUQ_MULAN_TINY).eval(), AutoProcessor.from_pretrained(MUQ_MULAN_TINY)
    names = [path.stem for path in CLIPS]
    frames = [muq(torch.from_numpy(load_audio(path))[None]).last_hidden_state for path in CLIPS]  # each [1, T, D]
    music = mulan.get_audio_features(**processor(audio=CLIPS, return_tensors="pt")).pooler_output
    words = mulan.get_text_features(**processor(text=list(TEXTS), return_tensors="pt", padding=True)).pooler_output
    return {
        "muq-tiny, mean of frames": rounded(names, torch.cat([part.mean(dim=1) for part in frames])),
        "muq-mulan-tiny, music": rounded(names, music),
        "muq-mulan-tiny, words": rounded(TEXTS, words),
    }


def rounded(names, vectors: torch.Tensor) -> dict[str, list[float]]:
    return {name: [round(value, 6) for value in vector.tolist()] for name, vector in zip(names, vectors, strict=True)}


if __name__ == "__main__":
    main()
