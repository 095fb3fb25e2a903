"""MuQ-MuLan's side of inference: windows, files and texts → vectors of the joint space."""

import math
import os
from collections.abc import Sequence

import numpy as np
import torch

from ..loader import load, model_type, read_config
from ..models.configuration_muq_mulan import MuQMuLanConfig
from ..models.feature_extraction_muq_mulan import MuQMuLanFeatureExtractor
from ..models.modeling_muq_mulan import MuQMuLanAudioModelWithProjection, MuQMuLanModel
from ..storage.fingerprint import weights_hash
from .decoding_worker import FileWindow
from .one_file import encode_song
from .segments import WindowPlan


JOINT_LAYERS = (-1,)  # what stands in the column `layer`: joint vectors come after the last one
JOINT_POOL = "joint"
TEXTS_AT_ONCE = 32


def check_joint_options(config, layers: list[int], pool: str, window_length_s: float, stride_length_s: float) -> None:
    """Raises ValueError for options of `muq-hf embed` that only an encoder's frames have."""
    if layers != [-1] or pool != "mean":
        raise ValueError("a MuQ-MuLan gives one joint vector: leave --layer and --pool out, or take a MuQ: --model muq-tiny.")
    if window_length_s > config.clip_seconds or stride_length_s:
        raise ValueError(f"this MuQ-MuLan hears {config.clip_seconds:g} s at once, side by side: no longer window, no stride.")


class JointEncoder:
    """A batch of windows → for each of them its joint vector [1, P], of length 1.

    Raises ValueError for a model that joins its clips by another rule than their duration: windows are joined by that.
    """

    def __init__(self, model: MuQMuLanAudioModelWithProjection | MuQMuLanModel):
        if model.config.clip_rule != "duration":
            raise ValueError(
                f"files are embedded in windows, joined by duration; this one has the clip_rule {model.config.clip_rule!r}: "
                'set "clip_rule" to "duration" in its config.json, or call the model itself.'
            )
        self.model = model
        self._extract = MuQMuLanFeatureExtractor.for_config(model.config)

    @property
    def vector_size(self) -> int:
        return self.model.config.projection_dim

    @torch.inference_mode()
    def __call__(self, windows: list[FileWindow]) -> list[np.ndarray]:
        rate = self.model.config.sampling_rate
        batch = self._extract([window.audio for window in windows], sampling_rate=rate, return_tensors="pt")
        vectors = self.model.audio_model(**batch.to(self.model.device)).pooler_output
        return list(vectors.float().cpu().numpy()[:, None])


class JointModel:
    """A MuQ-MuLan with its processor, for files and texts.

    Args:
        model: folder or Hub id, also in the published format.
        parts: "audio", "text" or "both": what is loaded.
    """

    def __init__(
        self, model: str | os.PathLike, parts: str = "both", revision: str | None = None, device: str = "auto", dtype="float32"
    ):
        kind = model_type(read_config(model, revision))
        if kind != MuQMuLanConfig.model_type:
            raise ValueError(f"{model} is no MuQ-MuLan (model_type {kind!r}): words need one, for instance muq-mulan-tiny.")
        part = "all" if parts == "both" else parts
        self.model, self.processor = load(model, part, revision=revision, device=device, dtype=dtype)
        self._encode_windows = None if parts == "text" else JointEncoder(self.model)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """→ [N, P] float32, of length 1."""
        vectors = []
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            inputs = self.processor(text=list(texts[first : first + TEXTS_AT_ONCE]), return_tensors="pt").to(self.model.device)
            vectors.append(self.model.text_model(**inputs).pooler_output.float().cpu().numpy())
        return np.concatenate(vectors)

    def embed_file(self, path: str | os.PathLike, window_length_s: float | None = None) -> np.ndarray:
        """→ [P] float32, of length 1, as a row of `embed_files`; memory does not grow with the file.

        `window_length_s`: most audio seen at once; None: all that the model hears. Raises AudioError for files without usable
        audio.
        """
        return self.embed_parts(path, None, window_length_s)[1][0]

    def embed_parts(
        self,
        path: str | os.PathLike,
        chunk_length_s: float | None,
        window_length_s: float | None = None,
        max_seconds: float | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """→ spans [K, 2] (s) and vectors [K, P] float32 of length 1: the rows that `embed_files` writes for this file.

        `max_seconds`: of a longer file the rest is left out; other arguments as above. Raises AudioError.
        """
        config = self.model.config
        rate = config.audio_config.sampling_rate
        plan = WindowPlan.from_seconds(config.audio_config, chunk_length_s, window_length_s or config.clip_seconds, 0.0)
        song = encode_song(path, self._encode_windows, plan, None if max_seconds is None else math.ceil(max_seconds * rate))
        starts, ends, vectors = zip(*song.segments(JOINT_POOL), strict=True)
        return np.stack([starts, ends], axis=1, dtype=np.float32) / rate, np.concatenate(vectors)


def made_with(settings: dict, model: str | os.PathLike, revision: str | None) -> bool:
    """Whether the table with these `settings` was made with the music tower that `model` has now."""
    tower, _ = load(model, "audio", revision=revision, dtype=settings["dtype"])
    return weights_hash(tower) == settings["weights"]
