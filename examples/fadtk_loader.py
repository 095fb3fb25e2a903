"""MuQ in fadtk (pip install fadtk; run with 1.1.0): the Fréchet distance of two folders of music on MuQ's frames.

    python examples/fadtk_loader.py REFERENCE GENERATED [MODEL]

Prints fadtk's distance and this package's own, of the same frames. fadtk keeps them beside the music, in half
precision unless they are doubles.

fadtk reads music with torchaudio, which needs torchcodec; `decode` puts 24 kHz WAV files where fadtk looks first instead.
"""

import sys
from pathlib import Path

import numpy as np
import soundfile
import torch
from fadtk.fad import FrechetAudioDistance
from fadtk.model_loader import ModelLoader

from muq_hf import MUQ_TINY, MuQConfig, MuQModel
from muq_hf.audio import find_audio, load_audio
from muq_hf.evaluation.distances import frechet_distance


class MuQLoader(ModelLoader):
    """The last layer's frames, [25 per second, features]."""

    def __init__(self, folder: str = MUQ_TINY):
        self.folder = folder
        super().__init__(name=Path(folder).name, num_features=MuQConfig.from_pretrained(folder).hidden_size, sr=24_000)

    def load_model(self):
        self.model = MuQModel.from_pretrained(self.folder).to(self.device).eval()

    def _get_embedding(self, audio: np.ndarray) -> torch.Tensor:
        return self.model(torch.from_numpy(audio).float()[None].to(self.device)).last_hidden_state[0].double()


def decode(file: Path, rate: int) -> None:
    target = file.parent / "convert" / str(rate) / f"{file.stem}.wav"
    target.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(target, load_audio(file, rate), rate, subtype="PCM_16")


def main(reference: str, generated: str, *model: str) -> None:
    fad = FrechetAudioDistance(MuQLoader(*model), audio_load_worker=1)
    rows = {}
    for folder in (reference, generated):
        files = [file for file in find_audio([folder]) if file.parent == Path(folder)]
        for file in files:
            decode(file, fad.ml.sr)
            fad.cache_embedding_file(file)
        rows[folder] = np.concatenate([fad.read_embedding_file(file) for file in files]).astype(np.float64)
    print(f"fadtk: {fad.score(reference, generated):.6g}")
    print(f"muq_hf: {frechet_distance(rows[generated], rows[reference]):.6g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
