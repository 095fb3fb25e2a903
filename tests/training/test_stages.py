"""Runs from music to a finished folder: stage 3, stored targets, run folders, and errors that lose nothing."""

import json
import resource

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_runs import CONFIG, write_music
from transformers import AutoFeatureExtractor, AutoModel

from muq_hf import MelRVQModel, MuQForPreTraining, MuQModel
from muq_hf.audio import load_audio
from muq_hf.cli import main
from muq_hf.training import trainer
from muq_hf.training.chain import _Chain, train
from muq_hf.training.clips import SkipLog
from muq_hf.training.run_folder import RunFolder, last_checkpoint
from muq_hf.training.stage import Stage
from muq_hf.training.stored_targets import INDEX, StoredTargets, store_targets
from muq_hf.training.teacher import Teacher
from muq_hf.training.tracks import Skipped, find_tracks, read_tracks


SHORT = CONFIG | {name: CONFIG[name] | {"max_steps": 2} for name in ("mel_rvq", "muq")} | {"eval_strategy": "no", "save_steps": 2}


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    return write_music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def chain(music, tmp_path_factory):
    """The command, two rounds of refinement, the first's targets stored."""
    folder = tmp_path_factory.mktemp("chain")
    config = SHORT | {"channel": "mix", "iterate": {"layer": 1, "rounds": 2, "store_targets": True}}
    (folder / "config.json").write_text(json.dumps(config))
    command = ["train", "all", str(folder / "config.json"), "--data", str(music), "--output", str(folder / "run")]
    assert main([*command, "--max-steps", "2"]) == 0
    return folder / "run"


def test_one_command_gives_a_model_that_auto_classes_load(chain):
    model, extractor = AutoModel.from_pretrained(chain / "final"), AutoFeatureExtractor.from_pretrained(chain / "final")
    assert isinstance(model, MuQModel)
    batch = extractor([torch.randn(24_000).numpy()], sampling_rate=24_000, return_tensors="pt")
    assert model(**batch).last_hidden_state.shape == (1, 25, 16)


def test_chain_runs_every_round(chain):
    assert sorted(path.name for path in chain.iterdir()) == ["final", "mel_rvq", "muq", "round_1", "round_2"]
    first, last = (load_file(chain / name / "model.safetensors") for name in ("round_2/muq/final", "final"))
    assert all(torch.equal(first[name], last[name]) for name in first)


def test_second_round_learns_from_the_first(chain):
    settings = json.loads((chain / "round_2" / "muq" / "settings.json").read_text())
    assert settings["teacher"] == str(chain / "round_1" / "muq" / "final")


def test_refined_model_predicts_the_codes_of_the_latents(chain):
    config = MuQForPreTraining.from_pretrained(chain / "final").config
    assert (config.quantizer_type, config.num_codebooks, config.codebook_size) == ("none", 2, 16)
    assert MelRVQModel.from_pretrained(chain / "round_1/latent_rvq/final").config.input_size == 16


@pytest.mark.parametrize(
    "name",
    ["settings.json", "environment.json", "metrics.jsonl", "tracks.jsonl", "plots/curves.png", "final/README.md"],
)
def test_run_folder_tells_the_run(chain, name):
    assert (chain / "muq" / name).stat().st_size > 0


def test_tokenizer_run_has_its_table_and_plots(chain):
    assert len(json.loads((chain / "mel_rvq" / "codebooks.json").read_text())) == 2
    assert {path.name for path in (chain / "mel_rvq" / "plots").iterdir()} == {"curves.png", "reconstructions.png", "usage.png"}


def test_model_lists_the_music_that_it_heard(chain, music):
    entries = [json.loads(line) for line in (chain / "final" / "training_files.jsonl").read_text().splitlines()]
    evaluated = (chain / "muq" / "eval_tracks.jsonl").read_text()
    assert {entry["path"] for entry in entries} == {str(p) for p in music.iterdir() if str(p) not in evaluated}
    assert all(len(entry["sha256"]) == 64 and entry["bytes"] > 0 for entry in entries)


def test_finished_run_is_left_as_it_is(chain, music):
    before = (chain / "muq" / "final" / "model.safetensors").stat().st_mtime_ns
    train("muq", SHORT | {"channel": "mix"}, resume_of(chain, music))
    assert (chain / "muq" / "final" / "model.safetensors").stat().st_mtime_ns == before


def resume_of(chain, music, **others):
    links = {"targets": str(chain / "mel_rvq" / "final"), "output_dir": str(chain / "muq"), "resume": True}
    return {"data": str(music), "max_steps": 2, **links, **others}


def test_run_is_not_overwritten(chain, music):
    with pytest.raises(ValueError, match="already holds a run.*--resume"):
        train("muq", SHORT | {"channel": "mix"}, resume_of(chain, music, resume=False))


def test_run_is_not_resumed_with_other_settings(chain, music):
    with pytest.raises(ValueError, match="clip_seconds: was 1.28, is 2.0"):
        train("muq", SHORT | {"channel": "mix"}, resume_of(chain, music, clip_seconds=2.0))


@pytest.fixture
def teacher(chain):
    return Teacher(chain / "muq" / "final", 1, chain / "round_1" / "latent_rvq" / "final")


def test_teacher_quantizes_the_hidden_state_of_its_layer(chain, teacher):
    wave = torch.randn(1, 30_720)
    with torch.no_grad():
        latents = MuQModel.from_pretrained(chain / "muq/final").eval()(wave, output_hidden_states=True).hidden_states[1]
    rvq = MelRVQModel.from_pretrained(chain / "round_1/latent_rvq/final")
    assert torch.equal(teacher.tokens(wave), rvq.quantizer.encode(latents))


def test_stored_targets_are_the_teachers(teacher, music, tmp_path):
    tracks, _ = find_tracks(music)
    stored = store_targets(teacher, tracks, tmp_path / "targets", 2.0)
    second = torch.from_numpy(load_audio(tracks[1].path, start=2.0, end=4.0))[None]  # its second window
    assert torch.equal(stored.tokens(tracks[1], 50, 50), teacher.tokens(second)[0])


def test_storing_that_was_cut_off_continues(teacher, music, tmp_path):
    tracks, _ = find_tracks(music)
    whole = store_targets(teacher, tracks, tmp_path / "whole", 2.0)
    store_targets(teacher, tracks[:2], tmp_path / "cut", 2.0)
    with open(tmp_path / "cut" / "tokens.u16", "ab") as file:
        file.write(b"half a track")
    with open(tmp_path / "cut" / INDEX, "a") as file:
        file.write('{"key": "half')
    resumed = store_targets(teacher, tracks, tmp_path / "cut", 2.0)
    assert all(torch.equal(resumed.tokens(t, 0, 100), whole.tokens(t, 0, 100)) for t in tracks)


def test_targets_of_another_layer_are_refused(chain, teacher, music, tmp_path):
    tracks, _ = find_tracks(music)
    store_targets(teacher, tracks[:1], tmp_path, 2.0)
    other = Teacher(chain / "muq" / "final", 2, chain / "round_1" / "latent_rvq" / "final")
    with pytest.raises(ValueError, match="another model or layer"):
        store_targets(other, tracks, tmp_path, 2.0)


def test_stored_targets_train_a_model_of_their_own(chain, music, tmp_path):
    overrides = {"data": str(music), "targets": str(chain / "round_1" / "muq" / "targets"), "output_dir": str(tmp_path / "run")}
    final = train("muq", SHORT | {"channel": "mix"}, overrides)
    stored = StoredTargets(chain / "round_1" / "muq" / "targets")
    assert MuQForPreTraining.from_pretrained(final).config.codebook_size == stored.codebook_size


def test_stored_targets_need_the_mean_of_the_channels(chain, music, tmp_path):
    overrides = {"data": str(music), "targets": str(chain / "round_1" / "muq" / "targets"), "output_dir": str(tmp_path / "run")}
    with pytest.raises(ValueError, match='`channel` to "mix"'):
        train("muq", SHORT, overrides)


def test_layer_that_the_teacher_lacks_is_refused(chain):
    with pytest.raises(ValueError, match="`layer` must name hidden states 0 .* to 2 .* got 10"):
        Teacher(chain / "muq" / "final", 10)


def test_run_folder_that_cannot_be_written_is_refused(music, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        train("mel_rvq", SHORT, {"data": str(music), "output_dir": str(tmp_path / "file" / "run")})


@pytest.mark.slow
def test_full_disk_is_a_clear_error_and_keeps_what_is_whole(music, tmp_path):
    """The limit on file sizes stands for the disk: the weights of 70 kB fit, the optimiser's state does not."""
    overrides = {"data": str(music), "output_dir": str(tmp_path / "run")}
    config = SHORT | {"mel_rvq": SHORT["mel_rvq"] | {"model": {"num_codebooks": 2, "codebook_size": 64}}}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (250_000, limit[1]))
    try:
        with pytest.raises(OSError, match="disk of .* is full.*no checkpoint.*--resume"):
            train("mel_rvq", config, overrides)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert train("mel_rvq", config, overrides | {"resume": True}).exists()


def cut_off_at_its_end(stage, config, overrides, monkeypatch):
    """All updates are made, `final/` is not written."""

    def cut(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Stage, "_finish", cut)
        train(stage, config, overrides)


def test_a_run_cut_off_at_its_end_is_not_trained_further(music, tmp_path, monkeypatch):
    overrides = {"data": str(music), "output_dir": str(tmp_path)}
    cut_off_at_its_end("mel_rvq", SHORT, overrides, monkeypatch)
    final = load_file(train("mel_rvq", SHORT, overrides | {"resume": True}) / "model.safetensors")
    last = load_file(tmp_path / "checkpoint-2" / "model.safetensors")
    assert all(torch.equal(final[name], last[name]) for name in last)


def test_a_run_cut_off_before_its_first_checkpoint_logs_every_step_once(music, tmp_path, monkeypatch):
    overrides = {"data": str(music), "output_dir": str(tmp_path)}
    config = SHORT | {"save_strategy": "no", "logging_steps": 1}
    cut_off_at_its_end("mel_rvq", config, overrides, monkeypatch)
    train("mel_rvq", config, overrides | {"resume": True})
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == [1, 2]


def test_repaired_files_count_no_longer_when_a_run_is_resumed(music, tmp_path, monkeypatch):
    overrides = {"data": str(music), "output_dir": str(tmp_path)}
    cut_off_at_its_end("mel_rvq", SHORT, overrides, monkeypatch)
    log = SkipLog(tmp_path / "skipped.jsonl")
    for name in (read_tracks(tmp_path / "tracks.jsonl")[0].name, "left out before"):
        log.add(Skipped(name, "unreadable", f"{name} is broken"))
    train("mel_rvq", SHORT, overrides | {"resume": True})
    assert [item.name for item in log.read()] == ["left out before"]


def test_latents_of_another_layer_are_noticed_on_resume(chain, music, tmp_path, monkeypatch):
    overrides = {"data": str(music), "output_dir": str(tmp_path), "teacher": str(chain / "muq" / "final"), "max_steps": 2}
    cut_off_at_its_end("iterate", SHORT, overrides, monkeypatch)
    with pytest.raises(ValueError, match="layer: was 1, is 0"):
        train("iterate", SHORT | {"iterate": {"layer": 0}}, overrides | {"resume": True})


def test_targets_that_all_stages_share_make_a_tokenizer_needless(music, tmp_path):
    config = {name: value for name, value in SHORT.items() if name != "iterate"} | {"targets": "random_projection"}
    train("all", config, {"data": str(music), "output_dir": str(tmp_path)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["final", "muq"]


def test_cut_off_checkpoint_is_passed_over(tmp_path):
    for step, state in ((4, '{"global_step": 4}'), (8, '{"global_st')):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path).name == "checkpoint-4"


def test_model_is_published_only_when_it_is_complete(tmp_path):
    run = RunFolder(tmp_path)
    with pytest.raises(RuntimeError):
        run.save_final(lambda folder: (_ for _ in ()).throw(RuntimeError))
    assert not run.finished


def test_music_or_run_folder_not_given(tmp_path):
    with pytest.raises(ValueError, match="--output"):
        train("muq", SHORT)
    with pytest.raises(ValueError, match="--data"):
        train("mel_rvq", SHORT, {"output_dir": str(tmp_path / "run")})


def test_broken_files_beyond_the_limit_stop_before_training(music, tmp_path):
    for path in write_music(tmp_path / "music", 2).iterdir():
        path.write_bytes(path.read_bytes()[:100])
    write_music(tmp_path / "music" / "more", 3)
    with pytest.raises(ValueError, match="2 of 5 tracks cannot be read"):
        train("mel_rvq", SHORT, {"data": str(tmp_path / "music"), "output_dir": str(tmp_path / "run")})


def test_only_broken_files_among_the_tracks_stop_training(tmp_path):
    log = SkipLog(tmp_path / "skipped.jsonl")
    stop = trainer._StopAtBrokenFiles(log, frozenset(f"song{n}" for n in range(20)), 0.05)
    for name in ("noise", "nothing", "song0"):
        log.add(Skipped(name, "unreadable", f"{name} is broken"))
    stop.on_log(None, None, None)
    log.add(Skipped("song1", "unreadable", "song1 is broken"))
    with pytest.raises(ValueError, match="2 of 20 tracks"):
        stop.on_log(None, None, None)


def test_a_run_is_not_continued_with_another_number_of_processes(music, tmp_path):
    run = {"data": str(music), "output_dir": str(tmp_path / "run")}
    train("mel_rvq", SHORT, run)
    settings = tmp_path / "run" / "settings.json"
    settings.write_text(settings.read_text().replace('"processes": 1', '"processes": 2'))
    with pytest.raises(ValueError, match="processes: was 2, is 1"):
        train("mel_rvq", SHORT, run | {"resume": True})


def test_waiting_time_is_the_share_spent_in_its_blocks(monkeypatch):
    clock = iter([10.0, 11.0, 12.0, 14.0, 20.0, 21.0, 22.0, 24.0])
    monkeypatch.setattr(trainer.time, "perf_counter", lambda: next(clock))
    waiting = trainer.WaitingTime()
    for _ in range(2):  # 10 to 11 and 12 to 14
        with waiting:
            pass
    assert waiting.take_share() == pytest.approx(3 / 10)  # of 10 to 20
    with waiting:  # 21 to 22
        pass
    assert waiting.take_share() == pytest.approx(1 / 4)  # of 20 to 24


def test_a_further_round_takes_the_place_of_the_model_before(tmp_path):
    for name, value in (("first", 1.0), ("second", 2.0)):
        (tmp_path / name).mkdir()
        save_file({"weight": torch.full((3,), value)}, tmp_path / name / "model.safetensors")
        final = _Chain({}, {}, resume=True)._publish(tmp_path / name, tmp_path / "run")
        assert load_file(final / "model.safetensors")["weight"][0] == value
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["final"]
