"""MusiCNN (Pons and Serra 2019, arXiv 1909.06654) as an encoder for `muq-hf probe`, without TensorFlow.

    pip download --no-deps musicnn          # 29 MB; ISC licence
    muq-hf probe --model research/peers/musicnn.py:MusiCNN --suite small --corpus CORPUS

The wheel is looked for in the current folder, or at the path in the environment variable MUSICNN_WHEEL.
`MusiCNN` holds the weights trained on MagnaTagATune, `MusiCNNMSD` those trained on the Million Song Dataset.

    python research/peers/musicnn.py SONG …  # the five strongest tags of each file
"""

import os
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers.audio_utils import mel_filter_bank

from muq_hf.evaluation.encoders import Encoder, to_frame_rate
from muq_hf.storage.fingerprint import fingerprint


sys.path.insert(0, str(Path(__file__).parent))
from tf_checkpoint import read_checkpoint  # noqa: E402


SAMPLING_RATE = 16_000  # Hz
N_FFT, HOP, MEL_BANDS = 512, 256, 96
PATCH_FRAMES = 187  # 3 s, what the model was trained on
BATCH_NORM_EPS = 1e-3  # TensorFlow's default
MTT_TAGS = (
    "guitar,classical,slow,techno,strings,drums,electronic,rock,fast,piano,ambient,beat,violin,vocal,synth,female,indian,opera,"
    "male,singing,vocals,no vocals,harpsichord,loud,quiet,flute,woman,male vocal,no vocal,pop,soft,sitar,solo,man,classic,choir,"
    "voice,new age,dance,male voice,female vocal,beats,harp,cello,no voice,weird,country,metal,female voice,choral"
).split(",")
MSD_TAGS = (
    "rock,pop,alternative,indie,electronic,female vocalists,dance,00s,alternative rock,jazz,beautiful,metal,chillout,"
    "male vocalists,classic rock,soul,indie rock,Mellow,electronica,80s,folk,90s,chill,instrumental,punk,oldies,blues,hard rock,"
    "ambient,acoustic,experimental,female vocalist,guitar,Hip-Hop,70s,party,country,easy listening,sexy,catchy,funk,electro,"
    "heavy metal,Progressive rock,60s,rnb,indie pop,sad,House,happy"
).split(",")


class MusiCNN(Encoder):
    """Front end (561), three convolutions (64 each) and the 200 units before the tags, which there is one of for each 3 s."""

    checkpoint = "MTT_musicnn"
    sampling_rate = SAMPLING_RATE
    min_samples = 2 * N_FFT
    layer_names = ("front end", "cnn1", "cnn2", "cnn3", "penultimate")

    def __init__(self):
        self.name = self.checkpoint
        folder = f"musicnn/{self.checkpoint}"
        with zipfile.ZipFile(_find_wheel()) as wheel:
            index, data = wheel.read(f"{folder}/.index"), wheel.read(f"{folder}/.data-00000-of-00001")
        self._variables = {name: torch.tensor(value) for name, value in read_checkpoint(index, data).items()}
        self.fingerprint = fingerprint("musicnn 1", index, data)
        filters = mel_filter_bank(N_FFT // 2 + 1, MEL_BANDS, 0, SAMPLING_RATE / 2, SAMPLING_RATE, "slaney", "slaney")
        self._filters = torch.tensor(filters, dtype=torch.float32)  # [257, 96]

    @torch.inference_mode()
    def states(self, waves: np.ndarray) -> list[torch.Tensor]:
        maps = self._maps(self._patches(waves))  # each [B·P, T, D]
        penultimate = self._penultimate(torch.cat(maps, dim=2))  # [B·P, 200]
        return [states.reshape(len(waves), -1, states.shape[-1]) for states in (*maps, penultimate)]

    @torch.inference_mode()
    def frames(self, waves: np.ndarray) -> list[np.ndarray]:
        maps = self._maps(self._log_mel(waves))
        # Every task has the same layers: for frames, the penultimate place holds all maps side by side.
        return [to_frame_rate(f, waves.shape[1], SAMPLING_RATE).numpy() for f in (*maps, torch.cat(maps, dim=2))]

    @torch.inference_mode()
    def tags(self, waves: np.ndarray) -> np.ndarray:
        """[B, S] → probability of each tag [B, 50], the mean over patches of 3 s."""
        hidden = self._penultimate(torch.cat(self._maps(self._patches(waves)), dim=2))
        probabilities = (hidden @ self._get("dense_1/kernel") + self._get("dense_1/bias")).sigmoid()
        return probabilities.reshape(len(waves), -1, probabilities.shape[1]).mean(dim=1).numpy()

    def _log_mel(self, waves: np.ndarray) -> torch.Tensor:
        """[B, S] → [B, T, 96], 62.5 frames per second; through half precision as the original."""
        spectrum = torch.stft(
            torch.from_numpy(waves), N_FFT, HOP, window=torch.hann_window(N_FFT), pad_mode="reflect", return_complex=True
        )
        mel = spectrum.abs().square().transpose(1, 2) @ self._filters
        return torch.log10(10_000 * mel.half().float() + 1)

    def _patches(self, waves: np.ndarray) -> torch.Tensor:
        """→ [B·P, 187, 96]; what is left of a clip is dropped, a clip shorter than 3 s is one patch."""
        mel = self._log_mel(waves)
        frames = min(PATCH_FRAMES, mel.shape[1])
        count = mel.shape[1] // frames
        return mel[:, : count * frames].reshape(-1, frames, MEL_BANDS)

    def _maps(self, mel: torch.Tensor) -> list[torch.Tensor]:
        """[B, T, 96] → front end [B, T, 561] and three convolutions [B, T, 64]."""
        x = self._batch_norm(mel[:, None], 0)  # [B, 1, T, 96]
        timbral = [self._block(F.pad(x, (0, 0, 3, 3)), number) for number in (0, 1)]
        temporal = []
        for number in (2, 3, 4):
            length = self._get(_numbered("conv2d", number) + "/kernel").shape[0]
            left = (length - 1) // 2
            temporal.append(self._block(F.pad(x, (0, 0, left, length - 1 - left)), number))
        front = torch.cat([*timbral, *temporal], dim=2)  # [B, T, 561]
        cnn1 = self._full_width(front, 5)
        cnn2 = self._full_width(cnn1, 6) + cnn1
        cnn3 = self._full_width(cnn2, 7) + cnn2
        return [front, cnn1, cnn2, cnn3]

    def _block(self, x: torch.Tensor, number: int) -> torch.Tensor:
        """Convolution, ReLU, batch norm, maximum over all bands: → [B, T, C]."""
        y = self._batch_norm(self._convolve(x, number), number + 1)
        return y.amax(dim=3).transpose(1, 2)

    def _full_width(self, x: torch.Tensor, number: int) -> torch.Tensor:
        """A convolution of seven frames over all features: [B, T, D] → [B, T, 64]."""
        y = self._batch_norm(self._convolve(F.pad(x, (0, 0, 3, 3))[:, None], number), number + 1)
        return y.squeeze(3).transpose(1, 2)

    def _penultimate(self, features: torch.Tensor) -> torch.Tensor:
        """[B, T, 753] → [B, 200]: maximum and mean over time, side by side for each feature, then a dense layer."""
        pooled = torch.stack([features.amax(dim=1), features.mean(dim=1)], dim=2).flatten(1)
        hidden = F.relu(self._batch_norm(pooled, 9) @ self._get("dense/kernel") + self._get("dense/bias"))
        return self._batch_norm(hidden, 10)

    def _convolve(self, x: torch.Tensor, number: int) -> torch.Tensor:
        name = _numbered("conv2d", number)
        return F.relu(F.conv2d(x, self._get(f"{name}/kernel").permute(3, 2, 0, 1), self._get(f"{name}/bias")))

    def _batch_norm(self, x: torch.Tensor, number: int) -> torch.Tensor:
        name = _numbered("batch_normalization", number)
        statistics = [self._get(f"{name}/{part}") for part in ("moving_mean", "moving_variance", "gamma", "beta")]
        return F.batch_norm(x, *statistics, eps=BATCH_NORM_EPS)

    def _get(self, name: str) -> torch.Tensor:
        return self._variables[name]


class MusiCNNMSD(MusiCNN):
    checkpoint = "MSD_musicnn"


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


def _find_wheel() -> Path:
    named = os.environ.get("MUSICNN_WHEEL")
    found = [Path(named)] if named else sorted(Path.cwd().glob("musicnn-*.whl"))
    if not found or not found[0].is_file():
        raise ValueError("MusiCNN's weights are missing: run `pip download --no-deps musicnn` here, or set MUSICNN_WHEEL.")
    return found[0]


if __name__ == "__main__":
    from muq_hf.audio import load_audio

    model = MusiCNN()
    for path in sys.argv[1:]:
        probabilities = model.tags(load_audio(path, SAMPLING_RATE)[None])[0]
        strongest = np.argsort(-probabilities)[:5]
        print(f"{path}: " + ", ".join(f"{MTT_TAGS[i]} {probabilities[i]:.2f}" for i in strongest))
