"""One vector for one piece of music with ONNX Runtime alone: no PyTorch, no transformers.

    muq-hf export onnx MODEL EXPORTED
    python examples/onnx/embed.py EXPORTED examples/audio/bach_brandenburg.ogg [--file model_int8.onnx]

With `--compare MODEL` PyTorch computes the same from the model's folder, and the cosine is printed. `--wav` and `--json` write
the samples and the vector (PyTorch's, if it was computed), for embed.mjs.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import onnxruntime
import soundfile
import soxr


def load_mono(path: Path, rate: int) -> np.ndarray:
    """→ [S] float32 at `rate` Hz."""
    samples, found_rate = soundfile.read(path, dtype="float32", always_2d=True)
    return soxr.resample(samples.mean(axis=1), found_rate, rate)


def embed(session: onnxruntime.InferenceSession, wave: np.ndarray) -> np.ndarray:
    """[S] → [D]: the mean over the frames."""
    feeds = {"input_values": wave[None], "attention_mask": np.ones((1, len(wave)), dtype=np.int64)}
    [frames] = session.run(["last_hidden_state"], feeds)  # [1, T, D]
    return frames[0].mean(axis=0)


def embed_with_torch(model: Path, wave: np.ndarray) -> np.ndarray:
    import torch

    from muq_hf import MuQModel

    with torch.no_grad():
        frames = MuQModel.from_pretrained(model)(torch.from_numpy(wave)[None]).last_hidden_state
    return frames[0].mean(dim=0).numpy()


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exported", type=Path, help="folder that `muq-hf export onnx` wrote from a MuQ")
    parser.add_argument("music", type=Path)
    parser.add_argument("--file", default="model.onnx", help="which of its files (default: model.onnx)")
    parser.add_argument("--compare", type=Path, metavar="MODEL", help="folder of the model that was exported")
    parser.add_argument("--wav", type=Path, help="file for the samples, mono at the model's rate")
    parser.add_argument("--json", type=Path, help="file for the vector")
    arguments = parser.parse_args()

    session = onnxruntime.InferenceSession(arguments.exported / arguments.file, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    rate = int(about["sampling_rate"])
    wave = load_mono(arguments.music, rate)
    if len(wave) < int(about["min_samples"]):
        parser.error(f"{arguments.music} has {len(wave)} samples at {rate} Hz; the model needs at least {about['min_samples']}.")
    vector = embed(session, wave)
    print(f"{arguments.file}: {len(wave) / rate:.2f} s → {len(vector)} numbers: {np.round(vector[:4], 5).tolist()} …")
    if arguments.compare:
        found, vector = vector, embed_with_torch(arguments.compare, wave)
        print(f"PyTorch: {np.round(vector[:4], 5).tolist()} …")
        print(f"cosine {cosine(found, vector):.7f}, largest difference {np.abs(found - vector).max():.1e}")
    if arguments.wav:
        soundfile.write(arguments.wav, wave, rate, subtype="FLOAT")
    if arguments.json:
        arguments.json.write_text(json.dumps(vector.tolist()))


if __name__ == "__main__":
    main()
