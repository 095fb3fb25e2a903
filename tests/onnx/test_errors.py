"""What cannot be exported says why, and leaves nothing behind."""

import importlib.util

import pytest
from mulan_models import tiny_model, tiny_processor

from muq_hf import MelRVQConfig, MelRVQModel, cli
from muq_hf.onnx.check import Row, require_agreement


def export(capsys, *arguments) -> str:
    """→ what the command says when it refuses."""
    assert cli.main(["export", "onnx", *map(str, arguments)]) == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_a_folder_without_a_model_is_named(tmp_path, capsys):
    assert "no/such/model" in export(capsys, "no/such/model", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_alone_is_no_encoder(tmp_path, capsys):
    config = MelRVQConfig(codebook_size=8, num_codebooks=2)
    MelRVQModel(config).save_pretrained(tmp_path / "model")
    message = export(capsys, tmp_path / "model", tmp_path / "out")
    assert "'mel_rvq'" in message and "muq, muq_mulan" in message
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.unfinished").exists()


def test_an_existing_folder_is_kept(micro_folder, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept.txt").write_text("mine")
    assert "exists already" in export(capsys, micro_folder, tmp_path / "out")
    assert (tmp_path / "out" / "kept.txt").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_named(micro_folder, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in export(capsys, micro_folder, tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--precision", "int4"], "float32, float16, int8"),
        (["--layers", "4"], "hidden states 0 (front end) to 3"),
        (["--layers", "-5"], "hidden states 0 (front end) to 3"),
    ],
)
def test_unknown_precisions_and_layers_are_refused(micro_folder, tmp_path, capsys, options, message):
    assert message in export(capsys, micro_folder, tmp_path / "out", *options)


@pytest.mark.parametrize(
    ("options", "rule", "message"), [(["--layers", "1"], "duration", "MuQ-MuLan"), ([], "published", "clip_rule")]
)
def test_what_a_mulan_cannot_give_is_said(tmp_path, capsys, options, rule, message):
    tiny_model(clip_rule=rule).save_pretrained(tmp_path / "model")
    tiny_processor().save_pretrained(tmp_path / "model")
    assert message in export(capsys, tmp_path / "model", tmp_path / "out", *options)


def test_missing_packages_are_named_before_anything_is_loaded(micro_folder, tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnx_ir" else find(name, *rest))
    message = export(capsys, micro_folder, tmp_path / "out")
    assert "onnx_ir" in message and "pip install 'muq-hf[onnx]'" in message


@pytest.mark.parametrize(
    ("precision", "max_error", "cosine"),
    [("float32", 2e-3, 1.0), ("float32", float("nan"), 1.0), ("float16", 0.0, 0.99), ("int8", 0.0, float("nan"))],
)
def test_a_file_that_differs_from_pytorch_is_refused(precision, max_error, cosine):
    good = Row("model.onnx", "float32", 1.0, "1 × 2 s", 1e-6, 1.0)
    require_agreement([good])
    with pytest.raises(ValueError, match="bad.onnx computes something else than PyTorch: 3 × 30 s"):
        require_agreement([good, Row("bad.onnx", precision, 1.0, "3 × 30 s", max_error, cosine)])


def test_a_failed_check_leaves_no_folder(micro_folder, tmp_path, capsys, monkeypatch):
    wrong = Row("model.onnx", "float32", 1.0, "1 × 2 s", 1.0, 0.5)
    monkeypatch.setattr("muq_hf.onnx.onnx_files.compare", lambda files, precision, cases: [wrong])
    monkeypatch.setattr("muq_hf.onnx.onnx_files.wave_cases", lambda *_: [])
    assert "something else than PyTorch" in export(capsys, micro_folder, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_the_command_prints_the_checks(micro_folder, tmp_path, capsys, monkeypatch):
    def exported(model, output, precisions, layers, split_at_mel, licence):
        assert (precisions, layers, split_at_mel, licence) == (["float32", "int8"], [1], True, "mit")
        return [Row("model.onnx", "float32", 12.5, "1 × 2 s", 1.2e-6, 0.9999999)]

    monkeypatch.setattr("muq_hf.onnx.onnx_files.export_onnx", exported)
    options = ["--precision", "float32", "int8", "--layers", "1", "--split-at-mel", "--license", "mit"]
    assert cli.main(["export", "onnx", str(micro_folder), str(tmp_path / "out"), *options]) == 0
    out = capsys.readouterr().out
    assert "12.5" in out and "1 × 2 s" in out and "1.2e-06" in out and "0.9999999" in out and str(tmp_path / "out") in out
