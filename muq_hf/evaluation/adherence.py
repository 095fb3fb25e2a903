"""Text adherence: does generated music fit its prompt, by the cosine of a model of music and text?"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..storage.manifests import manifest_rows
from .clip import Clip
from .distances import INTERVAL_DEVIATIONS
from .text_tagging import embed_audio, embed_texts


PROMPT_KEYS = ("prompt", "text", "caption")


def read_prompts(path: str | Path) -> dict[Path, str]:
    """A manifest with a "prompt", "text" or "caption" of each file → the prompts by the full path of their file.

    Raises ValueError for lines without one, and for a path that comes twice with different prompts.
    """
    prompts: dict[Path, str] = {}
    for row in manifest_rows(path):
        prompt = next((row.fields[key] for key in PROMPT_KEYS if row.fields.get(key)), None)
        if not isinstance(prompt, str):
            raise row.error(f"a text is expected in one of {', '.join(PROMPT_KEYS)}.")
        if prompts.setdefault(Path(row.path).resolve(), prompt) != prompt:
            raise row.error(f"{row.path} has another prompt above.")
    if not prompts:
        raise ValueError(f"{path} holds no prompts.")
    return prompts


def text_adherence(model, processor, clips: Sequence[Clip], prompts: dict[Path, str], name: str) -> dict:
    """Cosines of clips with the prompts of their files, and with those of the others, which is what shuffled prompts give.

    → "adherence", "shuffled" and "above_shuffled" (their difference), each with its 95 % interval over files; "prompted" and
    "without_prompt": numbers of clips; "clips": path, start, prompt, cosine and the mean cosine with other prompts of each.
    The mean over all other prompts is what shuffling gives on average, without its chance.
    Raises ValueError if fewer than two different prompts belong to the clips.
    """
    prompted = [replace(clip, meta={**clip.meta, "prompt": prompts.get(clip.path.resolve())}) for clip in clips]
    prompted = [clip for clip in prompted if clip.meta["prompt"]]
    texts = sorted({clip.meta["prompt"] for clip in prompted})
    if len(texts) < 2:
        raise ValueError(
            f'{len(texts)} different prompts belong to the generated clips, and shuffling needs two: is "path" in the prompts '
            "relative to their file?"
        )
    read, vectors, failures = embed_audio(model, processor, prompted)
    cosines = (vectors @ embed_texts(model, processor, texts).T).float().cpu().numpy()  # [N, K]
    own = np.array([texts.index(clip.meta["prompt"]) for clip in read])
    weights = np.bincount(own, minlength=len(texts)).astype(float)  # a prompt counts as often as it was given
    fitting = cosines[np.arange(len(read)), own]
    others = (cosines @ weights - weights[own] * fitting) / (weights.sum() - weights[own])
    files = np.array([str(clip.path) for clip in read])
    return {
        "model": name,
        "prompts": len(texts),
        "prompted": len(read),
        "without_prompt": len(clips) - len(prompted),
        "unreadable": len(failures),
        "adherence": _mean(fitting, files),
        "shuffled": _mean(others, files),
        "above_shuffled": _mean(fitting - others, files),
        "clips": [
            {"path": str(clip.path), "start": clip.start, "prompt": clip.meta["prompt"], "cosine": float(a), "others": float(b)}
            for clip, a, b in zip(read, fitting, others, strict=True)
        ],
    }


def _mean(values: np.ndarray, files: np.ndarray) -> dict[str, float]:
    """The mean with its 95 % interval, from the means of the files: clips of one file are not independent."""
    means = np.array([values[files == file].mean() for file in np.unique(files)])
    found = {"value": float(values.mean())}
    if len(means) > 1:
        reach = INTERVAL_DEVIATIONS * float(means.std(ddof=1)) / np.sqrt(len(means))
        found |= {"low": found["value"] - reach, "high": found["value"] + reach}
    return found
