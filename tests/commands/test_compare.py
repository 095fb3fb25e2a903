"""`muq-hf compare` from the command line to its report."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from labelled_clips import SAMPLING_RATE, tone

from muq_hf import cli
from muq_hf.evaluation.distances import kernel_distance


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """24 low tones each: a reference, and generated ones a little higher."""
    root, generator = tmp_path_factory.mktemp("compare"), np.random.default_rng(0)
    for name, hertz in (("generated", 260.0), ("reference", 220.0)):
        (root / name).mkdir()
        for number in range(24):
            soundfile.write(root / name / f"{number}.wav", tone(hertz, generator), SAMPLING_RATE)
    return root / "generated", root / "reference"


def run(*arguments) -> int:
    return cli.main(["compare", *map(str, arguments), "--device", "cpu", "--resamples", "5", "--quiet"])


def test_two_folders_give_a_table_json_and_a_page(folders, tmp_path, capsys):
    generated, reference = folders
    assert run(generated, "--reference", reference, "--model", "mel", "chroma", "--output", tmp_path) == 0
    said = capsys.readouterr().out
    assert "kernel distance" in said and "24 clips of 1.0 s" in said
    report = json.loads((tmp_path / "comparison.json").read_text())
    assert [result["model"] for result in report["results"]] == ["mel", "chroma"]
    page = (tmp_path / "comparison.html").read_text()
    assert page.count("<circle") == 48 and "data:audio/ogg" in page and "http" not in page


def test_a_saved_reference_gives_what_its_audio_gave(folders, tmp_path):
    generated, reference = folders
    assert run(generated, "--reference", reference, "--model", "mel", "chroma", "--save-reference", tmp_path / "tables",
               "--clip-seconds", 0.5, "--output", tmp_path / "a") == 0  # fmt: skip
    assert run(generated, "--reference", tmp_path / "tables", "--output", tmp_path / "b") == 0
    results = [json.loads((tmp_path / name / "comparison.json").read_text())["results"] for name in "ab"]
    by_model = [{result["model"]: result["scores"] for result in side} for side in results]
    assert by_model[0] == by_model[1]


def test_tables_of_embed_are_compared_as_they_are(folders, micro_folder, tmp_path):
    for folder in folders:
        embed = [
            "embed",
            str(folder),
            "--model",
            str(micro_folder),
            "--output",
            str(tmp_path / f"{folder.name}.parquet"),
            "--quiet",
        ]
        assert cli.main([*embed, "--device", "cpu", "--workers", "1"]) == 0
    tables = [tmp_path / f"{folder.name}.parquet" for folder in folders]
    assert run(tables[0], "--reference", tables[1], "--output", tmp_path / "a") == 0
    (result,) = json.loads((tmp_path / "a" / "comparison.json").read_text())["results"]
    vectors = [np.stack(pq.read_table(table)["embedding"].to_pylist()) for table in tables]
    assert result["scores"]["kernel"]["value"] == pytest.approx(kernel_distance(*vectors))
    # The generated music itself is embedded as the table was.
    assert run(folders[0], "--reference", tables[1], "--output", tmp_path / "b") == 0
    (other,) = json.loads((tmp_path / "b" / "comparison.json").read_text())["results"]
    assert other["scores"]["kernel"]["value"] == pytest.approx(result["scores"]["kernel"]["value"], rel=1e-4)


def test_a_copied_file_is_refused_in_one_sentence(folders, tmp_path, capsys):
    generated, reference = folders
    shutil.copytree(generated, tmp_path / "generated")
    shutil.copy(reference / "3.wav", tmp_path / "generated" / "copy.wav")
    assert run(tmp_path / "generated", "--reference", reference, "--model", "mel", "--output", tmp_path / "out") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "copy.wav" in line and "3.wav" in line


def test_files_that_cannot_be_read_are_listed_and_the_rest_is_compared(folders, tmp_path, capsys):
    generated, reference = folders
    shutil.copytree(generated, tmp_path / "generated")
    (tmp_path / "generated" / "broken.wav").write_text("no audio")
    assert run(tmp_path / "generated", "--reference", reference, "--model", "mel", "--output", tmp_path / "out") == 1
    assert "broken.wav" in capsys.readouterr().err
    assert (tmp_path / "out" / "comparison.html").exists()


@pytest.mark.slow
def test_prompts_give_text_adherence_beside_shuffled_prompts(folders, tmp_path, capsys):
    generated, _ = folders
    rows = [{"path": str(file), "prompt": "a low tone" if int(file.stem) % 2 else "a choir"} for file in generated.iterdir()]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(generated, "--prompts", tmp_path / "prompts.jsonl", "--model", "mel", "--output", tmp_path / "out") == 0
    adherence = json.loads((tmp_path / "out" / "comparison.json").read_text())["adherence"]
    assert adherence["prompted"] == 24 and adherence["prompts"] == 2
    assert "text adherence" in capsys.readouterr().out
