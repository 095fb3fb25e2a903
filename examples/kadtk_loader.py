"""MuQ in kadtk (pip install kadtk; run with 1.1.0): the kernel distance of two folders of music on MuQ's seconds.

    python examples/kadtk_loader.py REFERENCE GENERATED [MODEL]

Prints kadtk's distance and this package's own, of the same rows. kadtk keeps them beside the music, in half
precision unless they are doubles.

kadtk reads music with torchaudio, which needs torchcodec; `decode` puts 24 kHz WAV files where kadtk looks first instead.
"""

import logging
import sys
from pathlib import Path

import numpy as np
import soundfile
import torch
from kadtk.emb_loader import EmbeddingLoader
from kadtk.kad import KernelAudioDistance
from kadtk.model_loader import ModelLoader

from muq_hf import MUQ_TINY, MuQConfig, MuQModel
from muq_hf.audio import find_audio, load_audio
from muq_hf.evaluation.distances import kernel_distance, median_distance


class MuQLoader(ModelLoader):
    """Means of the last layer's frames over seconds, [seconds, features]."""

    def __init__(self, folder: str = MUQ_TINY):
        self.folder = folder
        super().__init__(name=Path(folder).name, num_features=MuQConfig.from_pretrained(folder).hidden_size, sr=24_000)

    def load_model(self):
        self.model = MuQModel.from_pretrained(self.folder).to(self.device).eval()

    def _get_embedding(self, audio: np.ndarray) -> torch.Tensor:
        frames = self.model(torch.from_numpy(audio).float()[None].to(self.device)).last_hidden_state[0].double()
        return self.postprocess_resoultion(audio, frames)  # kadtk's own, name and all


def decode(file: Path, rate: int) -> None:
    target = file.parent / "convert" / str(rate) / f"{file.stem}.wav"
    target.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(target, load_audio(file, rate), rate, subtype="PCM_16")


def main(reference: str, generated: str, *model: str) -> None:
    loader = MuQLoader(*model)
    embeddings = EmbeddingLoader(loader, audio_load_worker=1)
    rows = {}
    for folder in (reference, generated):
        for file in [file for file in find_audio([folder]) if file.parent == Path(folder)]:
            decode(file, loader.sr)
            embeddings.cache_embedding_file(file)
        rows[folder] = np.asarray(embeddings.load_embeddings(folder), dtype=np.float64)
    # kadtk takes the median distance of the set that it is given second.
    kad = KernelAudioDistance(loader, "cpu", median_distance(rows[reference]), 1, logging.getLogger("kadtk"))
    print(f"kadtk: {float(kad.score(reference, generated)):.6g}")
    print(f"muq_hf: {kernel_distance(rows[generated], rows[reference]):.6g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
