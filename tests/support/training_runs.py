"""Synthetic music and a configuration that trains all stages on it in seconds."""

from pathlib import Path

import numpy as np
import soundfile


RATE = 24_000  # Hz
CLIP_SECONDS = 1.28  # three blocks of 0.4 s and a tail
MODEL = {
    "conv_channels": 4,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_depthwise_kernel_size": 5,
}
CONFIG = {
    "clip_seconds": CLIP_SECONDS,
    "eval_share": 0.2,
    "num_eval_clips": 4,
    "use_cpu": True,
    "disable_tqdm": True,
    "logging_steps": 2,
    "save_steps": 4,
    "max_steps": 8,
    "seed": 3,
    "per_device_train_batch_size": 2,
    "mel_rvq": {"learning_rate": 3e-3, "model": {"num_codebooks": 2, "codebook_size": 16}, "max_steps": 8},
    "muq": {"learning_rate": 3e-3, "warmup_steps": 2, "model": MODEL, "max_steps": 8},
    "iterate": {"layer": 1},
}


def melody(seconds: float, seed: int) -> np.ndarray:
    """Notes of a quarter of a second with overtones and a little noise: float32 [S]."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    notes = generator.choice([110.0, 220.0, 330.0, 440.0, 880.0], size=int(4 * seconds) + 1)
    phase = 2 * np.pi * np.cumsum(notes[(4 * time).astype(int)]) / RATE
    wave = 0.3 * np.sin(phase) + 0.1 * np.sin(3 * phase) + 0.01 * generator.standard_normal(len(time))
    return wave.astype(np.float32)


def write_music(folder: Path, num_tracks: int = 5, seconds: float = 4.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(num_tracks):
        soundfile.write(folder / f"song{number}.wav", melody(seconds, number), RATE)
    return folder
