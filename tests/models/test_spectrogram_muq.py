"""The log-mel front end against torchaudio's and the published package's."""

import pytest
import torch
from checks import ASSETS, wave_of
from safetensors.torch import load_file

from muq_hf import MuQConfig
from muq_hf.models.spectrogram_muq import LogMelSpectrogram, mel_filter_bank, reflect_ends


@pytest.fixture(scope="module")
def torchaudio_mel():
    return load_file(ASSETS / "torchaudio_mel.safetensors")


def test_filter_bank_is_torchaudios_bit_by_bit(torchaudio_mel):
    bank = torch.zeros(*torchaudio_mel["bank_shape"].tolist())
    bank[torchaudio_mel["bank_rows"].long(), torchaudio_mel["bank_columns"].long()] = torchaudio_mel["bank_values"]
    assert torch.equal(mel_filter_bank(24_000, 2048, 128), bank)


def test_decibels_are_torchaudios(torchaudio_mel):
    spectrogram = LogMelSpectrogram(MuQConfig(mel_mean=0.0, mel_std=1.0))
    decibels = spectrogram(torchaudio_mel["wave_int16"].float()[None] / 32768)[0]
    reference = torchaudio_mel["decibel"][:, :-1]  # the published model drops the last frame
    assert (decibels - reference).abs().max() < 1e-4


@pytest.mark.parametrize("num_samples", [1025, 2500, 24_000])
def test_normalised_mel_is_the_published_one(goldens, num_samples):
    spectrogram = LogMelSpectrogram(MuQConfig(mel_mean=5.25, mel_std=16.5))
    mel = spectrogram(wave_of(goldens, num_samples))[0]
    torch.testing.assert_close(mel, goldens[f"{num_samples}.mel"], atol=1e-5, rtol=0)


def test_ends_are_mirrored_at_each_items_own_length():
    waveform = torch.arange(12.0)[None].repeat(2, 1)
    extended = reflect_ends(waveform, torch.tensor([12, 7]), width=3)
    assert extended[0].tolist() == [3, 2, 1, *range(12), 10, 9, 8]
    assert extended[1, :13].tolist() == [3, 2, 1, 0, 1, 2, 3, 4, 5, 6, 5, 4, 3]


def test_padding_leaves_no_trace_whatever_it_holds():
    spectrogram = LogMelSpectrogram(MuQConfig())
    alone = torch.randn(1, 5000)
    padded = torch.cat([alone, torch.full((1, 3000), torch.nan)], dim=1)
    mel = spectrogram(padded, torch.tensor([5000]))
    assert torch.equal(mel[:, :, :20], spectrogram(alone))
    assert (mel[:, :, 20:] == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_tables_stay_float32_in_other_dtypes(dtype):
    spectrogram = LogMelSpectrogram(MuQConfig())
    wave = torch.randn(1, 4000)
    before = spectrogram(wave)
    assert torch.equal(spectrogram.to(dtype)(wave), before)


def test_tables_are_there_after_the_meta_device():
    wave = torch.randn(1, 4000)
    with torch.device("meta"):
        spectrogram = LogMelSpectrogram(MuQConfig())
    spectrogram = spectrogram.to_empty(device="cpu")
    assert torch.equal(spectrogram(wave), LogMelSpectrogram(MuQConfig())(wave))


def test_silence_is_finite():
    assert LogMelSpectrogram(MuQConfig())(torch.zeros(1, 2400)).isfinite().all()


def test_mel_is_float32_under_autocast():
    spectrogram = LogMelSpectrogram(MuQConfig())
    wave = torch.randn(1, 4000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(spectrogram(wave), LogMelSpectrogram(MuQConfig())(wave))
