"""Calls that projects make of `muq` 0.1.0, each against what that package answered (tests/oracle)."""

import copy
import importlib
import importlib.util
import pickle
import sys

import pytest
import torch
from checks import ASSETS, relative_error, wave_of
from published_folders import mulan_with_tokenizer, put_into_cache
from safetensors.torch import load_file

from muq_hf import MUQ_MULAN_TINY, MUQ_TINY, compat
from muq_hf.compat import MuQ, MuQMuLan


SONG_SECONDS = (3, 10, 10.1, 25)


@pytest.fixture(scope="module")
def muq(published_folder):
    return MuQ.from_pretrained(published_folder)


@pytest.fixture(scope="module")
def mulan_folder(tmp_path_factory):
    return mulan_with_tokenizer(tmp_path_factory.mktemp("mulan") / "published")


@pytest.fixture(scope="module")
def mulan(mulan_folder):
    return MuQMuLan.from_pretrained(mulan_folder)


@pytest.fixture(scope="module")
def expected():
    return load_file(ASSETS / "published_mulan_tiny" / "goldens.safetensors")


@pytest.fixture(scope="module")
def songs(goldens):
    """The songs of the references (tests/oracle/README.md)."""
    clip = wave_of(goldens, 50_011)[0]
    indices = [torch.arange(round(seconds * 24_000)) for seconds in SONG_SECONDS]
    return [clip[(i * (1 + i // 240_000)) % 50_011] for i in indices]


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def test_muq_of_a_hub_id_is_found_with_its_loading_arguments(published_folder, goldens, tmp_path):
    put_into_cache(tmp_path, "somebody/muq", "v2", published_folder)
    place = {"cache_dir": tmp_path, "revision": "v2", "local_files_only": True, "token": "x"}
    states = MuQ.from_pretrained("somebody/muq", **place)(wave_of(goldens, 24_000)).last_hidden_state
    assert relative_error(states[0], goldens["24000.last_hidden_state"]) < 1e-5


@pytest.mark.parametrize("name", ["cache_dir", "hf_hub_cache_dir"])
def test_mulan_and_its_tokenizer_are_found_in_the_cache_asked_for(mulan_folder, expected, tmp_path, name):
    put_into_cache(tmp_path, "somebody/mulan", "main", mulan_folder)
    mulan = MuQMuLan.from_pretrained("somebody/mulan", **{name: str(tmp_path)}, local_files_only=True)
    text = " ".join(map(str, expected["text.6.ids"].tolist()))
    assert relative_error(mulan(texts=[text])[0], expected["text.6.embeds"]) < 1e-5


@pytest.mark.parametrize("num_samples", [1025, 2500, 24_000, 50_011])
def test_muq_gives_all_hidden_states_unless_told_otherwise(muq, goldens, num_samples):
    output = muq(wave_of(goldens, num_samples))
    assert relative_error(torch.cat(output.hidden_states), goldens[f"{num_samples}.hidden_states"]) < 1e-5
    assert output["hidden_states"][2] is output.hidden_states[2]
    assert relative_error(output.last_hidden_state[0], goldens[f"{num_samples}.last_hidden_state"]) < 1e-5
    assert len(muq(wave_of(goldens, num_samples), output_hidden_states=True).hidden_states) == len(output.hidden_states)
    assert muq(wave_of(goldens, num_samples), output_hidden_states=False).hidden_states is None


@pytest.mark.parametrize("unit", ["samples", "frames"])
def test_attention_mask_gives_each_clip_what_it_gives_alone(muq, goldens, unit):
    """The published package gives the unpadded clip the same, and the padded one something else: that fault is not kept."""
    clips = [wave_of(goldens, 50_011)[0], wave_of(goldens, 24_000)[0]]
    batch = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    length, lengths = (50_011, [50_011, 24_000]) if unit == "samples" else (52, [52, 25])
    output = muq(batch, attention_mask=torch.arange(length) < torch.tensor(lengths)[:, None])
    assert relative_error(output.last_hidden_state[0], goldens["masked.last_hidden_state"][0]) < 1e-5
    alone = goldens["24000.last_hidden_state"]
    assert relative_error(output.last_hidden_state[1, :25], alone) < 1e-5
    assert relative_error(goldens["masked.last_hidden_state"][1, :25], alone) > 0.1


def test_muq_has_the_published_configuration_and_an_encoder(muq):
    assert (muq.config.encoder_dim, muq.config.encoder_depth, muq.config.label_rate) == (32, 3, 25)
    assert muq.config.stat.melspec_2048_mean == muq.config["stat"]["melspec_2048_mean"] == 5.25
    assert len(list(muq.model.parameters())) == len(list(muq.parameters())) > 0
    with pytest.raises(AttributeError, match="encoder_dim"):
        muq.config.hidden_size  # noqa: B018


def test_muq_is_built_from_the_published_configuration_alone(muq, goldens):
    again = MuQ(muq.config).eval()
    again.load_state_dict(muq.state_dict())
    assert again(wave_of(goldens, 24_000)).last_hidden_state.equal(muq(wave_of(goldens, 24_000)).last_hidden_state)


@pytest.mark.parametrize("parallel", [False, True])
def test_mulan_of_songs_of_several_lengths(mulan, songs, expected, parallel):
    stored = expected["audio.list.parallel" if parallel else "audio.list"]
    assert relative_error(mulan(wavs=songs, parallel_processing=parallel), stored) < 1e-5
    assert relative_error(mulan.extract_audio_latents(songs, parallel_processing=parallel), stored) < 1e-5


@pytest.mark.parametrize("index", range(4))
def test_mulan_of_a_batch(mulan, songs, expected, index):
    batch = torch.stack([songs[index], songs[index].flip(0)])
    assert relative_error(mulan(batch)[0], expected[f"audio.{SONG_SECONDS[index]}"]) < 1e-5


def test_mulan_of_texts(mulan, expected):
    ids = [expected[f"text.{tokens}.ids"].tolist() for tokens in (3, 6, 11)]
    texts = [" ".join(map(str, row)) for row in ids]
    for latents in (mulan(texts=texts), mulan.extract_text_latents(texts)):  # of several lengths: each as it is alone
        for latent, tokens in zip(latents, (3, 6, 11), strict=True):
            assert relative_error(latent, expected[f"text.{tokens}.embeds"]) < 1e-5
    equal = [" ".join(map(str, row)) for row in expected["text.equal.ids"].tolist()]
    assert relative_error(mulan(texts=equal), expected["text.equal.embeds"]) < 1e-5


def test_both_or_none_of_music_and_text_are_refused(mulan, songs):
    for arguments, found in (({}, "none"), ({"wavs": songs, "texts": ["5"]}, "both")):
        with pytest.raises(ValueError, match=f"either `wavs` or `texts`; got {found}"):
            mulan(**arguments)


@pytest.mark.parametrize(("wavs", "message"), [([[0.0] * 2000], "torch.tensor"), (torch.zeros(1, 2, 2000), "mono")])
def test_waves_that_are_none_are_refused(mulan, wavs, message):
    with pytest.raises((TypeError, ValueError), match=message):
        mulan(wavs=wavs)


def test_similarity_of_vectors_and_of_batches(mulan, expected):
    audio = torch.stack([expected[f"audio.{seconds}"] for seconds in SONG_SECONDS])
    text = expected["text.equal.embeds"]
    for audio_latents, text_latents, name in (
        (audio, text, "similarity"),
        (audio[1], text[2], "similarity.audio_text"),
        (audio, text[2], "similarity.audios_text"),
        (audio[1], text, "similarity.audio_texts"),
    ):
        similarity = mulan.calc_similarity(audio_latents, text_latents)
        assert similarity.shape == expected[name].shape
        torch.testing.assert_close(similarity, expected[name], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="shapes"):
        mulan.calc_similarity(audio[None], text)


def test_attributes_of_mulan(mulan):
    assert (mulan.sr, mulan.clip_secs, mulan.device.type) == (24_000, 10, "cpu")
    assert isinstance(mulan.sr * mulan.clip_secs, int)
    assert mulan.config.mulan.dim_latent == 24 and mulan.config.text_model.name == "xlm-roberta-base"
    assert not mulan.training


def test_mulan_module_gives_the_vectors_of_single_clips(mulan, songs, expected):
    clips = songs[3][:480_000].view(2, 240_000)
    assert relative_error(mulan.mulan_module.get_audio_latents(clips), expected["audio.windows"]) < 1e-5
    text = " ".join(map(str, expected["text.6.ids"].tolist()))
    assert relative_error(mulan.mulan_module.get_text_latents(raw_texts=[text])[0], expected["text.6.embeds"]) < 1e-5


def test_frozen_leaves_nothing_to_train(mulan):
    copied = pickle.loads(pickle.dumps(copy.deepcopy(mulan)))
    copied.frozen()
    assert not any(parameter.requires_grad for parameter in copied.parameters())
    assert all(parameter.requires_grad for parameter in mulan.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_is_finite_and_close(muq, mulan, songs, dtype):
    with torch.autocast("cpu", dtype=dtype):
        states, latents = muq(songs[0][None]).last_hidden_state, mulan(wavs=songs[:3])
    for computed, exact in ((states, muq(songs[0][None]).last_hidden_state), (latents, mulan(wavs=songs[:3]))):
        assert computed.isfinite().all()
        assert torch.cosine_similarity(computed.float(), exact, dim=-1).min() > 0.999


@pytest.mark.parametrize("move", [torch.nn.Module.half, lambda model: model.to(device="cpu", dtype=torch.bfloat16)])
def test_half_precision_is_finite_and_close(muq, mulan, songs, move):
    halved, mulan_halved = move(copy.deepcopy(muq)), move(copy.deepcopy(mulan))
    dtype = next(halved.parameters()).dtype
    waves = songs[0][None].to(dtype)  # clients cast the waveform too
    states, latents = halved(waves).last_hidden_state, mulan_halved(wavs=waves)
    assert states.dtype == latents.dtype == dtype and states.isfinite().all() and latents.isfinite().all()
    assert torch.cosine_similarity(states.float(), muq(waves).last_hidden_state, dim=-1).min() > 0.999
    assert torch.cosine_similarity(latents.float(), mulan(wavs=waves), dim=-1).min() > 0.999


def test_folders_of_this_package_are_taken_too(songs):
    assert MuQ.from_pretrained(MUQ_TINY)(songs[0][None]).last_hidden_state.shape == (1, 75, 256)
    mulan = MuQMuLan.from_pretrained(MUQ_MULAN_TINY)
    assert mulan.calc_similarity(mulan(wavs=songs[:2]), mulan(texts=["a calm piano"])).shape == (2, 1)
    assert mulan.clip_secs == 5 and mulan.config.projection_dim == 128


WORKING = """
import torch
from types import SimpleNamespace
class MuQ:
    def __init__(self, config): pass
    def eval(self): return self
    def __call__(self, x): return SimpleNamespace(last_hidden_state=torch.zeros(1, 25, 16))
"""
BROKEN = """
from . import inner
class MuQ:
    def __init__(self, config): raise AttributeError("_attn_implementation")
"""


@pytest.fixture
def installed_muq(tmp_path, monkeypatch):
    """Lets a package `muq` of this content be found while the test runs."""

    def install_package(content):
        (tmp_path / "muq").mkdir()
        (tmp_path / "muq" / "__init__.py").write_text(content)
        (tmp_path / "muq" / "inner.py").touch()

    monkeypatch.syspath_prepend(tmp_path)
    yield install_package
    for name in [name for name in sys.modules if name.partition(".")[0] == "muq"]:
        del sys.modules[name]


@pytest.mark.parametrize("content", [None, BROKEN])
def test_install_takes_the_place_of_a_missing_or_broken_muq(installed_muq, content):
    if content is not None:
        installed_muq(content)
    compat.install()
    compat.install()
    found = importlib.import_module("muq")
    assert (found.MuQ, found.MuQMuLan) == (MuQ, MuQMuLan)
    assert importlib.util.find_spec("muq") is not None and "muq.inner" not in sys.modules


def test_install_refuses_where_muq_works(installed_muq):
    installed_muq(WORKING)
    with pytest.raises(RuntimeError, match="a package `muq` that works is installed here"):
        compat.install()
    assert importlib.import_module("muq").MuQ is not MuQ
