"""Write the golden files in tests/assets from the published package. Run with the oracle's interpreter, from the root:

    bash tests/oracle/make_oracle.sh DIR
    DIR/bin/python -W ignore -m tests.oracle.make_goldens

Deterministic: every weight and signal comes from a seeded generator of its own. `README.md` beside this file says what
each golden holds and which property it serves.
"""

import json
import re

import numpy as np
import torch
import torchaudio

from benchmarks.oracle_worker import (
    SAMPLE_RATE,
    all_states,
    build_published,
    folded_mel,
    music_like,
    published_config,
    rvq_tokens,
)
from tests.oracle.assets import ASSETS, save, save_published, to_int16
from tests.oracle.mulan_goldens import write_mulan_goldens
from tests.oracle.training_goldens import write_pretraining_golden, write_rvq_golden


TINY_CLIP_SAMPLES = (1025, 2500, 24_000, 50_011)
MEL_CLIPS = (1025, 2500, 24_000)
TOKEN_CLIPS = (24_000, 50_011)  # tokens of the whole 960-sample blocks
DECODED_CLIP = 24_000
MASKED_CLIPS = (50_011, 24_000)
MIN_TOKEN_MARGIN = 1e-5  # cosine between the nearest and the second code; below it rounding could flip a token


def tiny_published():
    """The published class, small; the mel statistics differ from the published ones so that they must be read."""
    config = published_config(
        conv_dim=8,
        encoder_dim=32,
        encoder_depth=3,
        num_heads=4,
        intermediate_size=48,
        head_size=8 * 64,
        mel_mean=5.25,
        mel_std=16.5,
        pos_conv_size=8,
        pos_conv_groups=4,
    )
    return build_published(config, seed=1)


def write_encoder_goldens(model) -> None:
    tensors = {}
    for num_samples in TINY_CLIP_SAMPLES:
        wave = music_like(num_samples, seed=num_samples)
        mel = model.model.normalize(model.model.preprocessing(wave[None], model.model.features))["melspec_2048"]
        tensors[f"{num_samples}.wave_int16"] = to_int16(wave)
        if num_samples in MEL_CLIPS:
            tensors[f"{num_samples}.mel"] = mel[0]  # [128, F], normalised
        tensors[f"{num_samples}.hidden_states"] = all_states(model, wave)
        with torch.no_grad():
            tensors[f"{num_samples}.last_hidden_state"] = model(wave[None]).last_hidden_state[0]
    tensors["masked.last_hidden_state"] = masked_states(model)
    for num_samples in TOKEN_CLIPS:
        tokens, margins = rvq_tokens(model.model.rvq, folded_mel(model, music_like(num_samples, seed=num_samples)))
        assert margins.min() > MIN_TOKEN_MARGIN
        tensors[f"{num_samples}.tokens"] = tokens  # [T, K]
    with torch.no_grad():
        decoded = model.model.rvq.from_codes(tensors[f"{DECODED_CLIP}.tokens"].T[None])[0]
    tensors[f"{DECODED_CLIP}.decoded"] = decoded[0].T  # [T, 512], sum of the codebooks' decodings
    save(tensors, ASSETS / "goldens.safetensors")


@torch.no_grad()
def masked_states(model) -> torch.Tensor:
    """[2, T, D]: the last state of two clips in one batch, the second padded with zeros under a mask of samples."""
    long, short = (music_like(num_samples, seed=num_samples) for num_samples in MASKED_CLIPS)
    batch = torch.nn.utils.rnn.pad_sequence([long, short], batch_first=True)
    mask = torch.arange(len(long)) < torch.tensor(MASKED_CLIPS)[:, None]
    return model(batch, attention_mask=mask).last_hidden_state


def write_mel_golden() -> None:
    """torchaudio's own decibel mel of one second, and the non-zero entries of its filter bank."""
    wave = music_like(SAMPLE_RATE, seed=7)
    mel = torchaudio.transforms.MelSpectrogram(SAMPLE_RATE, n_fft=2048, hop_length=240, n_mels=128, power=2.0)
    bank = mel.mel_scale.fb  # [1025, 128]
    rows, columns = bank.nonzero(as_tuple=True)
    save(
        {
            "wave_int16": to_int16(wave),
            "decibel": torchaudio.transforms.AmplitudeToDB()(mel(wave)),  # [128, 101], before the last frame is dropped
            "bank_rows": rows.to(torch.int16),
            "bank_columns": columns.to(torch.int16),
            "bank_values": bank[rows, columns],
            "bank_shape": torch.tensor(bank.shape),
            "window": mel.spectrogram.window,
        },
        ASSETS / "torchaudio_mel.safetensors",
    )


def write_musicfm(model) -> None:
    """A miniature MusicFM checkpoint with the encoder of `published_tiny`, and the tokens of its random projection."""
    folder = ASSETS / "published_musicfm_tiny"
    folder.mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(142)
    num_codes, code_size, vector_size = 96, 16, 512
    xavier_std = (2 / (vector_size + code_size)) ** 0.5
    projection = torch.empty(vector_size, code_size).normal_(0, xavier_std, generator=generator)
    codebook = torch.empty(num_codes, code_size).normal_(generator=generator)
    head_size = model.model.linear.in_features

    # The encoder's names are muq's; old-style weight norm, because the checkpoint predates parametrizations, and the
    # two mel buffers, because MusicFM's mel transform is a module (a stride-0 stand-in keeps the file small).
    old_names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = {
        re.sub("|".join(old_names), lambda match: old_names[match[0]], key): tensor
        for key, tensor in model.state_dict().items()
        if not key.startswith(("model.rvq.", "model.linear."))
    }
    state["model.linear.weight"] = torch.randn(num_codes, head_size, generator=generator)
    state["model.linear.bias"] = torch.randn(num_codes, generator=generator)
    state["model.quantizer_melspec_2048_0.random_projection"] = projection
    state["model.quantizer_melspec_2048_0.codebook"] = codebook
    state["model.preprocessor_melspec_2048.mel_stft.spectrogram.window"] = torch.zeros(1).expand(2048)
    state["model.preprocessor_melspec_2048.mel_stft.mel_scale.fb"] = torch.zeros(1).expand(1025, 128)
    torch.save({"state_dict": state}, folder / "pretrained_msd.pt")
    stats = {"melspec_2048_cnt": 14_282_760_192, "melspec_2048_mean": 6.25, "melspec_2048_std": 18.75}
    (folder / "msd_stats.json").write_text(json.dumps(stats))

    wave = music_like(24_000, seed=24_000)
    decibel = model.model.preprocessor_melspec_2048(wave)[:, :-1]
    mel = ((decibel - stats["melspec_2048_mean"]) / stats["melspec_2048_std"]).double().numpy()  # [128, 100]
    tokens, margin = random_projection_tokens(mel, projection.double().numpy(), codebook.double().numpy())
    assert margin > MIN_TOKEN_MARGIN
    save({"24000.tokens": torch.from_numpy(tokens)}, folder / "goldens.safetensors")


def random_projection_tokens(mel: np.ndarray, projection: np.ndarray, codebook: np.ndarray) -> tuple[np.ndarray, float]:
    """[128, 4·T] mel → ([T] tokens, smallest cosine margin), by the formula of BEST-RQ (arXiv 2202.01855, 3.1)."""
    num_bins, num_frames = mel.shape
    vectors = mel.T.reshape(num_frames // 4, 4 * num_bins)  # four frames one after the other
    latents = vectors @ projection
    latents /= np.linalg.norm(latents, axis=1, keepdims=True)
    codes = codebook / np.linalg.norm(codebook, axis=1, keepdims=True)
    cosines = latents @ codes.T
    ordered = np.sort(cosines, axis=1)
    return cosines.argmax(axis=1), float((ordered[:, -1] - ordered[:, -2]).min())


def main() -> None:
    torch.set_num_threads(1)
    ASSETS.mkdir(parents=True, exist_ok=True)
    model = tiny_published()
    save_published(model, ASSETS / "published_tiny")
    write_encoder_goldens(model)
    write_mel_golden()
    write_musicfm(model)
    write_pretraining_golden(model)
    write_rvq_golden()
    write_mulan_goldens()


if __name__ == "__main__":
    main()
