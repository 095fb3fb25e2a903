"""Distillation: teachers are what they say, their latents are kept, and a student learns to give them."""

import json

import numpy as np
import pytest
import torch
from scipy.signal import welch
from sklearn.decomposition import PCA
from training_runs import CONFIG, MODEL, RATE, write_music

from muq_hf import MuQModel
from muq_hf.audio import load_audio
from muq_hf.training.chain import train
from muq_hf.training.distil import randomly_low_passed
from muq_hf.training.latent_teachers import LOWEST_NOTE, NUM_NOTES, ChromaTeacher, MuQTeacher, TimbreTeacher, load_teacher
from muq_hf.training.stored_latents import META, store_latents
from muq_hf.training.tracks import find_tracks


SHORT = {name: CONFIG[name] for name in ("clip_seconds", "eval_share", "num_eval_clips", "use_cpu", "disable_tqdm", "seed")} | {
    "logging_steps": 10,
    "save_steps": 10,
    "max_steps": 20,
    "learning_rate": 2e-3,
    "per_device_train_batch_size": 4,
    "ridge_clips": 8,
    "distil": {"model": MODEL, "teachers": ["chroma", "timbre"]},
}
ADAPTER = """
import numpy as np
class Loudness:
    name, fingerprint, sampling_rate, layer_names, min_samples, max_seconds = "loudness", "1", 16000, ("rms",), 1, 30.0
    def frames(self, waves):
        size = self.sampling_rate // 25
        cut = waves[:, : waves.shape[1] // size * size].reshape(len(waves), -1, size)
        return [np.sqrt((cut ** 2).mean(axis=2, keepdims=True)).astype(np.float32)]
"""


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    return write_music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def run(music, tmp_path_factory):
    folder = tmp_path_factory.mktemp("distil") / "run"
    return train("distil", SHORT, {"data": str(music), "output_dir": str(folder)})


def test_chroma_names_the_note_that_sounds():
    time = torch.arange(2 * RATE) / RATE
    for note in (45, 57, 69, 81):
        wave = torch.sin(2 * torch.pi * 440 * 2 ** ((note - 69) / 12) * time)[None]
        middle = ChromaTeacher().latents(wave)[0, 25]
        assert LOWEST_NOTE + int(middle[:NUM_NOTES].argmax()) == note
        assert int(middle[NUM_NOTES:].argmax()) == note % 12


def test_timbre_changes_less_with_pitch_than_with_the_instrument():
    time = torch.arange(2 * RATE) / RATE

    def tone(hertz, overtones):
        return 0.1 * sum(torch.sin(2 * torch.pi * hertz * k * time) for k in range(1, overtones + 1))[None]

    low, high, other = (TimbreTeacher().latents(tone(*t)).mean(dim=1)[0] for t in ((300, 12), (360, 12), (300, 1)))
    assert (low - high).norm() < 0.5 * (low - other).norm()


@pytest.mark.parametrize("spec", ["chroma", "timbre"])
def test_a_teacher_gives_25_frames_a_second(spec):
    teacher = load_teacher(spec)
    assert teacher.latents(torch.randn(2, 3 * RATE + 700)).shape == (2, 75, teacher.width)


def test_a_muq_and_an_adapter_are_teachers(micro_folder, tmp_path):
    (tmp_path / "loudness.py").write_text(ADAPTER)
    muq = load_teacher(f"{micro_folder}@2")
    wave = torch.randn(1, RATE)
    states = MuQModel.from_pretrained(micro_folder).eval()(wave, output_hidden_states=True).hidden_states[2]
    torch.testing.assert_close(muq.latents(wave), states)
    loudness = load_teacher(f"{tmp_path / 'loudness.py'}:Loudness@rms")
    assert loudness.latents(wave).shape == (1, 25, 1)


@pytest.mark.parametrize("spec", ["chorma", "nowhere@1", "file.py:Class@layer", ""])
def test_an_unknown_teacher_is_refused(spec):
    with pytest.raises(ValueError, match=r"chroma, timbre|no model folder|no file"):
        load_teacher(spec)


def test_stored_latents_are_those_of_the_teacher_standardised(music, tmp_path):
    tracks, _ = find_tracks(music)
    teacher = ChromaTeacher()
    stored = store_latents([teacher], tracks, tmp_path)
    wave = torch.from_numpy(load_audio(tracks[0].path))[None]
    direct = teacher.latents(wave)[0].half().float().numpy()
    table = np.concatenate([teacher.latents(torch.from_numpy(load_audio(t.path))[None])[0].half().float() for t in tracks])
    live = table.std(axis=0) > 1e-4
    expected = (direct[10:30, live] - table[:, live].mean(axis=0)) / table[:, live].std(axis=0)
    np.testing.assert_allclose(stored.of_clip(tracks[0], 10, 20)["latents"], expected, atol=1e-3)


def test_whitened_latents_are_those_of_a_principal_component_analysis(music, tmp_path):
    """scikit-learn's, up to the sign of an axis; of its components the first that hold 99 % of the variance."""
    tracks, _ = find_tracks(music)
    plain = store_latents([ChromaTeacher()], tracks, tmp_path)
    whitened = store_latents([ChromaTeacher()], tracks, tmp_path, whiten=[True])
    frames = [(track, plain.num_frames(track)) for track in tracks]
    standard, ours = (np.concatenate([s.of_clip(t, 0, n)["latents"] for t, n in frames]) for s in (plain, whitened))
    theirs = PCA(n_components=0.99, svd_solver="full", whiten=True).fit_transform(standard)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=2e-2)


def test_latents_of_another_teacher_are_refused(music, tmp_path):
    tracks, _ = find_tracks(music)
    store_latents([ChromaTeacher()], tracks[:1], tmp_path)
    meta = tmp_path / "chroma" / META
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"fingerprint": "other"}))
    with pytest.raises(ValueError, match="its fingerprint differs"):
        store_latents([ChromaTeacher()], tracks[:1], tmp_path)


def test_a_student_explains_more_of_its_teachers_than_at_the_start(run):
    rows = [json.loads(line) for line in (run.parent / "metrics.jsonl").read_text().splitlines()]
    learned = [row["r2/chroma"] for row in rows if "r2/chroma" in row]
    assert learned[-1] > learned[0]


def test_the_finished_model_is_an_encoder_without_heads(run):
    model, info = MuQModel.from_pretrained(run, output_loading_info=True)
    assert model(torch.randn(1, RATE)).last_hidden_state.shape == (1, 25, MODEL["hidden_size"])
    assert not info["unexpected_keys"] and not info["missing_keys"]
    assert "distilled from chroma" in (run / "README.md").read_text()


def test_statistics_of_given_weights_stay(music, run, tmp_path):
    again = SHORT | {"max_steps": 2, "distil": {"start": str(run), "teachers": ["timbre"]}}
    final = train("distil", again, {"data": str(music), "output_dir": str(tmp_path / "run")})
    before, after = (MuQModel.from_pretrained(folder).state_dict() for folder in (run, final))
    norms = [name for name in before if name.endswith(("running_mean", "running_var"))]
    assert norms and all(torch.equal(before[name], after[name]) for name in norms)
    assert any(not torch.equal(before[name], after[name]) for name in before if name.endswith("weight"))


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_weights_of_an_unbroken_one(music, run, tmp_path):
    folder = {"data": str(music), "output_dir": str(tmp_path / "run")}
    train("distil", SHORT, folder)
    for name in ("final", "checkpoint-20"):
        (tmp_path / "run" / name).rename(tmp_path / name)
    final = train("distil", SHORT, folder | {"resume": True})
    unbroken, resumed = (MuQModel.from_pretrained(path).state_dict() for path in (run, final))
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)


def test_chosen_clips_lose_what_lies_above_their_cutoff_and_others_nothing():
    """By SciPy's spectrum: white noise keeps its density below 4 kHz, and of the chosen clip nothing is left at the top."""
    torch.manual_seed(1)
    waves = torch.randn(2, 5 * RATE)
    passed = randomly_low_passed(waves, torch.tensor([True, False]))
    frequencies, before = welch(waves.numpy(), RATE, nperseg=1024)
    after = welch(passed.numpy(), RATE, nperseg=1024)[1]
    np.testing.assert_allclose(after[:, frequencies < 3900], before[:, frequencies < 3900], rtol=1e-2)
    assert after[0, -5:].max() < 1e-3 * before[0].mean()
    torch.testing.assert_close(passed[1], waves[1], atol=1e-5, rtol=0)


def test_whitened_teachers_are_some_of_the_teachers(music, tmp_path):
    wrong = {**CONFIG, "channel": "mix", "distil": {"model": MODEL, "teachers": ["chroma"], "whiten": ["mel"]}}
    with pytest.raises(ValueError, match="`whiten` names teachers of the list"):
        train("distil", wrong, {"data": str(music), "output_dir": str(tmp_path / "run")})


def test_teacher_of_a_muq_needs_a_layer_that_exists(micro_folder):
    with pytest.raises(ValueError, match="hidden states 0 \\(front end\\) to 3"):
        MuQTeacher(str(micro_folder), 9)
