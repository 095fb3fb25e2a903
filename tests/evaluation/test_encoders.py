"""Every kind of model gives features per layer, per clip and per frame."""

from pathlib import Path

import numpy as np
import pytest
import torch
from checks import MICRO
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from muq_hf import MuQConfig, MuQModel, MuQMuLanModel
from muq_hf.evaluation.encoders import MuQEncoder, TransformersEncoder
from muq_hf.evaluation.models import load_encoder


PUBLISHED_MULAN = Path(__file__).parents[1] / "assets" / "published_mulan_tiny"


SECONDS = 2


def noise(rate: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((2, SECONDS * rate)).astype(np.float32) * 0.1


def save(folder, model, extractor) -> str:
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return str(folder)


def wav2vec2(folder) -> str:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    return save(folder, Wav2Vec2Model(Wav2Vec2Config(**sizes, **convolutions)), Wav2Vec2FeatureExtractor())


def whisper(folder) -> str:
    layers = {"encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    sizes = {"d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": 10, "pad_token_id": 0}
    tokens = {"bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    return save(folder, WhisperModel(WhisperConfig(**layers, **sizes, **tokens)), WhisperFeatureExtractor())


def clap(folder, fused: bool = False) -> str:
    sizes = {"hidden_size": 32, "patch_embeds_hidden_size": 8, "depths": [1, 1, 1], "num_attention_heads": [2, 2, 2]}
    audio = {**sizes, "num_hidden_layers": 3, "enable_fusion": fused}
    text = {"vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = ClapConfig(audio_config=audio, text_config=text)
    return save(folder, ClapModel(config), ClapFeatureExtractor(truncation="fusion" if fused else "rand_trunc"))


def ast(folder) -> str:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    extractor = ASTFeatureExtractor(max_length=128, num_mel_bins=32)
    return save(folder, ASTModel(ASTConfig(**sizes, max_length=128, num_mel_bins=32)), extractor)


@pytest.mark.parametrize(
    "build, num_layers, frames",
    [(wav2vec2, 3, True), (whisper, 3, True), (clap, 4, False), (ast, 3, False)],
)
def test_any_transformers_audio_encoder_is_taken(tmp_path, build, num_layers, frames):
    encoder = load_encoder(build(tmp_path))
    assert isinstance(encoder, TransformersEncoder)
    waves = noise(encoder.sampling_rate)[:, : int(encoder.max_seconds * encoder.sampling_rate)]
    states = encoder.states(waves)
    assert len(states) == len(encoder.layer_names) == num_layers
    assert all(layer.ndim in (3, 4) and len(layer) == 2 and layer.isfinite().all() for layer in states)
    if frames:
        assert all(layer.shape[1] == 25 * SECONDS for layer in encoder.frames(waves))
    else:
        with pytest.raises(ValueError, match="no time axis"):
            encoder.frames(waves)


def test_padding_of_the_feature_extractor_is_left_out(tmp_path):
    """Whisper pads to 30 s: of a 2 s clip, only its own frames count."""
    encoder = load_encoder(whisper(tmp_path))
    waves = noise(encoder.sampling_rate)
    with torch.inference_mode():
        inputs = encoder.extractor(list(waves), sampling_rate=16_000, return_tensors="pt").input_features
        expected = encoder.model(inputs).last_hidden_state[:, : 50 * SECONDS]
    assert np.allclose(encoder.states(waves)[-1], expected, atol=1e-5)


def test_muq_frames_are_its_hidden_states():
    model = MuQModel(MuQConfig(**MICRO)).eval()
    encoder, waves = MuQEncoder(model, "micro"), noise(24_000)
    with torch.inference_mode():
        states = model(torch.from_numpy(waves), output_hidden_states=True).hidden_states
    assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(encoder.frames(waves), states, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(encoder.states(waves), states, strict=True))


def test_fingerprint_follows_the_weights():
    model = MuQModel(MuQConfig(**MICRO))
    before = MuQEncoder(model, "a").fingerprint
    assert MuQEncoder(model, "b").fingerprint == before
    with torch.no_grad():
        next(model.parameters()).add_(1)
    assert MuQEncoder(model, "a").fingerprint != before


def test_random_weights_are_the_same_every_time():
    assert load_encoder("random:tiny").fingerprint == load_encoder("random:tiny").fingerprint


def test_the_mel_comes_with_its_change(mel):
    bands, change = np.split(mel.states(noise(24_000))[0].numpy(), 2, axis=2)
    assert bands.shape == (2, 100 * SECONDS, 96)
    assert np.allclose(change[:, 1:], np.abs(np.diff(bands, axis=1)), atol=1e-4)
    assert (mel.frames(noise(24_000))[0][:, :, 96:] < 0).any()


def test_adapter_comes_from_a_file(tmp_path):
    file = tmp_path / "peer.py"
    file.write_text("class Peer:\n    name = 'peer'\n")
    assert load_encoder(f"{file}:Peer").name == "peer"
    with pytest.raises(ValueError, match="defines no"):
        load_encoder(f"{file}:Other")


@pytest.mark.parametrize("tonic, mode", [(0, "major"), (7, "major"), (9, "minor"), (1, "minor")])
def test_chroma_template_names_the_key_of_a_cadence(tonic, mode):
    """Chords I IV V I, with the minor third and sixth of a minor key."""
    from muq_hf.evaluation.baselines import PITCH_CLASSES

    third, chroma = {"major": 4, "minor": 3}[mode], load_encoder("chroma")
    chords = [(0, third, 7), (5, 5 + third, 12), (7, 11, 14), (0, third, 7)]
    time = np.arange(24_000) / 24_000
    wave = [sum(np.sin(2 * np.pi * 440 * 2 ** ((60 + tonic + n - 69) / 12) * time) for n in chord) for chord in chords]
    states = chroma.states(np.concatenate(wave)[None].astype(np.float32))[0]
    assert chroma.keys(states.mean(dim=1).numpy())[0] == f"{PITCH_CLASSES[tonic]} {mode}"


def test_published_mulan_is_probed_by_its_music_encoder():
    encoder = load_encoder(str(PUBLISHED_MULAN))
    expected = MuQMuLanModel.from_pretrained(PUBLISHED_MULAN).audio_model.encoder.eval()
    wave = 0.1 * torch.randn(1, 24_000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        frames = expected(wave).last_hidden_state
    assert np.allclose(encoder.states(wave.numpy())[-1], frames, atol=1e-5)


def test_fused_clap_gives_the_same_every_time(tmp_path):
    """Its feature extractor draws one clip of a batch, which it calls longer than it is."""
    encoder = load_encoder(clap(tmp_path, fused=True))
    waves = noise(encoder.sampling_rate)
    once, alone = encoder.states(waves), encoder.states(waves[1:])
    for seed in range(4):
        np.random.seed(seed)
        assert all(np.array_equal(a, b) for a, b in zip(once, encoder.states(waves), strict=True))
    assert all(np.allclose(a[1:], b, atol=1e-5) for a, b in zip(once, alone, strict=True))
