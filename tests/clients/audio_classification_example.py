"""transformers' own `run_audio_classification.py` trains a classifier on a MuQ, with its default arguments (docs/fine-tuning.md).

    pip install evaluate torchcodec
    python tests/clients/audio_classification_example.py OUT

The script belongs to the installed version of transformers, and is fetched from its repository; `--script FILE` takes a copy that
is there already. `evaluate` fetches its metric from the Hub; `--metrics FOLDER` takes the folder `metrics` of its repository. The
music is that of examples/audio in clips of 2 s, metal and other; the model is muq-tiny as `muq-hf export hub` writes it.
"""

import argparse
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import soundfile
import transformers

from muq_hf.audio import load_audio


SCRIPT = "https://raw.githubusercontent.com/huggingface/transformers/v{}/examples/pytorch/audio-classification/run_audio_classification.py"
MUSIC = Path(__file__).resolve().parents[2] / "examples" / "audio"
SAMPLING_RATE, CLIP_SECONDS = 24_000, 2.0
VALIDATION_PARTS = (4, 9)  # of each file
ARGUMENTS = ("--do_train", "--do_eval", "--remove_unused_columns", "False")  # as in the script's README


def write_dataset(folder: Path) -> None:
    """An audio folder as `datasets` reads it: SPLIT/CLASS/CLIP.wav."""
    for file in sorted(MUSIC.glob("*.ogg")):
        wave, label = load_audio(file, SAMPLING_RATE), "metal" if file.stem.startswith("metal") else "other"
        length = int(CLIP_SECONDS * SAMPLING_RATE)
        for part in range(len(wave) // length):
            split = "validation" if part in VALIDATION_PARTS else "train"
            clip = folder / split / label / f"{file.stem}_{part}.wav"
            clip.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(clip, wave[part * length : (part + 1) * length], SAMPLING_RATE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--script", type=Path)
    parser.add_argument("--metrics", type=Path)
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    output.mkdir(parents=True)
    script = arguments.script
    if script is None:
        script = output / "run_audio_classification.py"
        urllib.request.urlretrieve(SCRIPT.format(transformers.__version__), script)
    write_dataset(output / "dataset")
    export = [sys.executable, "-m", "muq_hf", "export", "hub", "muq-tiny", str(output / "muq-tiny")]
    subprocess.run(export, check=True)
    choices = {"model_name_or_path": output / "muq-tiny", "dataset_name": output / "dataset", "output_dir": output / "run"}
    named = [text for name, value in choices.items() for text in (f"--{name}", str(value))]
    environment = os.environ if arguments.metrics is None else os.environ | {"HF_HUB_OFFLINE": "1"}
    subprocess.run(
        [sys.executable, str(script.resolve()), *named, "--trust_remote_code", "True", *ARGUMENTS],
        check=True,
        cwd=arguments.metrics,  # where `evaluate` looks for a metric first
        env=environment,
    )
    print(json.loads((output / "run" / "all_results.json").read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
