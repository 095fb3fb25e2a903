"""ONNX Runtime against PyTorch, on padded batches of several lengths."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch


BATCHES = (1, 3)
SECONDS = (2, 10, 30)
LONG_SECONDS = (100, 164)  # alone in a batch: more frames than half precision can count, once and twice as many
TOKENS = (4, 16, 64)
MAX_ERROR = 1e-3  # of float32, relative to the largest value
MIN_COSINES = {"float32": 0.99999, "float16": 0.999, "int8": 0.9}


class Case(NamedTuple):
    """Inputs of a graph, what they are, and what PyTorch makes of them."""

    name: str
    feeds: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]


class Row(NamedTuple):
    """How one file, or a mel file and the one behind it, did on one case."""

    file: str
    precision: str
    megabytes: float
    case: str
    max_error: float  # relative to the largest value
    cosine: float  # the lowest of all outputs and items


def wave_cases(mask_name: str, rate: int, run: Callable[..., dict], seconds: tuple[float, ...]) -> list[Case]:
    """`run(waves, mask)` → expected outputs by name, for waveforms of several lengths. In a batch each item is shorter."""
    return [
        _case(f"{batch} × {length} s", {"input_values": waves, mask_name: _ragged_mask(batch, waves.shape[1])}, run)
        for batch in BATCHES
        for length in seconds
        if batch == 1 or length not in LONG_SECONDS
        for waves in [_music(batch, round(length * rate), rate)]
    ]


def text_cases(vocabulary: int, pad_id: int | None, max_tokens: int | None, run: Callable[..., dict]) -> list[Case]:
    """The same for token ids [B, N]."""
    cases = []
    for batch in BATCHES:
        for count in sorted({min(count, max_tokens or count) for count in TOKENS}):
            generator = torch.Generator().manual_seed(count)
            ids = torch.randint(vocabulary // 2, vocabulary, (batch, count), generator=generator)
            mask = _ragged_mask(batch, count)
            ids[mask == 0] = pad_id or 0
            cases.append(_case(f"{batch} × {count} tokens", {"input_ids": ids, "attention_mask": mask}, run))
    return cases


def _case(name: str, feeds: dict[str, torch.Tensor], run) -> Case:
    with torch.inference_mode():
        expected = run(*feeds.values())
    return Case(name, {k: v.numpy() for k, v in feeds.items()}, {k: v.float().numpy() for k, v in expected.items()})


def _ragged_mask(batch: int, length: int) -> torch.Tensor:
    """[batch, length]: the first item is whole, the next ones end earlier and earlier."""
    lengths = torch.tensor([length - item * length // (batch + 1) for item in range(batch)])
    return (torch.arange(length) < lengths.unsqueeze(1)).long()


def _music(batch: int, num_samples: int, rate: int) -> torch.Tensor:
    """Chords that fade in and out, over noise; another one for each item."""
    generator = torch.Generator().manual_seed(num_samples)
    time = torch.arange(num_samples) / rate
    pitches = 110 * 2 ** (torch.randint(0, 48, (batch, 4, 1), generator=generator) / 12)  # Hz
    chords = torch.sin(2 * torch.pi * pitches * time).mean(dim=1)
    return 0.3 * chords * torch.sin(time).abs() + 0.03 * torch.randn(batch, num_samples, generator=generator)


def compare(files: list[Path], precision: str, cases: list[Case]) -> list[Row]:
    """Run the files one after the other, the outputs of each being inputs of the next, on all cases."""
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False  # which would keep the memory of the longest batch
    sessions = [onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"]) for file in files]
    megabytes = sum(each.stat().st_size for file in files for each in file.parent.glob(f"{file.name}*")) / 1e6
    rows = []
    for case in cases:
        values = dict(case.feeds)
        for session in sessions:
            names = [output.name for output in session.get_outputs()]
            values |= zip(names, session.run(names, {i.name: values[i.name] for i in session.get_inputs()}), strict=True)
        errors, cosines = zip(*(_agreement(values[name], case.expected[name], values) for name in case.expected), strict=True)
        rows.append(Row(files[-1].name, precision, megabytes, case.name, max(errors), min(cosines)))
    return rows


def _agreement(found: np.ndarray, expected: np.ndarray, values: dict[str, np.ndarray]) -> tuple[float, float]:
    """Largest relative error and lowest cosine of an item, of frames that are music."""
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    if expected.ndim == 3:
        is_music = values["frame_mask"][..., None] == 1
        found, expected = found * is_music, expected * is_music
    error = np.abs(found - expected).max() / np.abs(expected).max()
    items, expected_items = found.reshape(len(found), -1), expected.reshape(len(expected), -1)
    norms = np.linalg.norm(items, axis=1) * np.linalg.norm(expected_items, axis=1)
    return float(error), float(((items * expected_items).sum(axis=1) / norms).min())


def require_agreement(rows: list[Row]) -> None:
    """Raises ValueError that names the file and the case which are too far from PyTorch."""
    for row in rows:
        too_far = row.precision == "float32" and not row.max_error <= MAX_ERROR
        if too_far or not row.cosine >= MIN_COSINES[row.precision]:
            raise ValueError(
                f"{row.file} computes something else than PyTorch: {row.case} has a relative error of {row.max_error:.1e} and "
                f"a cosine of {row.cosine:.6f}. Nothing was written. Please report this with the model's config.json."
            )


def table(rows: list[Row]) -> str:
    lines = [f"{'file':24} {'MB':>8}  {'input':15} {'largest error':>13}  {'lowest cosine':>13}"]
    lines += [f"{r.file:24} {r.megabytes:8.1f}  {r.case:15} {r.max_error:13.1e}  {r.cosine:13.7f}" for r in rows]
    return "\n".join(lines)
