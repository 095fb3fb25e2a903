"""`pipeline("feature-extraction")` for music: files, URLs, bytes, arrays → the model's frames, or one vector per item."""

import mmap
import os
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import IterableDataset
from transformers.pipelines.base import ChunkPipeline

from .decoding_muq import checked_rate, resample, stream_audio
from .downloads_muq import DOWNLOAD_TIMEOUT, MAX_DOWNLOAD_BYTES, download
from .feature_extraction_muq import MuQFeatureExtractor, mix_down
from .layers_muq import hidden_state_indices
from .modeling_muq import MuQModel
from .pooling_muq import FrameStatistics, check_pool, crossfade, frame_statistics, join_statistics, pool_statistics
from .windowing_muq import Window, WindowLengths, frame_times, stream_windows


BLOCK_LENGTH = 5.0  # seconds of a file that are decoded at a time
JOINS = ("cut", "fade")


class MuQFeatureExtractionPipeline(ChunkPipeline):
    """Music → hidden states of MuQ.

    Args:
        model: a MuQ model, or the folder or id of one; the published format is converted.
        feature_extractor: its feature extractor; by default what the model's configuration says.
        Further arguments: those of `transformers.Pipeline` and of a call.
    """

    _load_tokenizer = _load_processor = _load_image_processor = _load_video_processor = False
    _load_feature_extractor = None  # optional: all its settings follow from the model's configuration
    _model_class = MuQModel
    _extractor_class = MuQFeatureExtractor
    modelcard = None  # `save_pretrained` of the first transformers 5 asks for it

    def __init__(self, model, feature_extractor=None, **kwargs):
        if isinstance(model, (str, os.PathLike)):
            model = self._model_class.from_pretrained(model)
        expected_type = self._model_class.config_class.model_type
        if model.config.model_type != expected_type:
            raise ValueError(f"this pipeline needs a model of type {expected_type!r}, got {model.config.model_type!r}.")
        if feature_extractor is None:
            feature_extractor = self._extractor_class.for_config(model.config)
        self._copies = MappedCopies()
        super().__init__(model=model, feature_extractor=feature_extractor, **kwargs)

    def __call__(self, inputs, **kwargs):
        """Features of one input, of a list (→ list), or of a generator or dataset (→ iterator).

        Args:
            inputs: a path, an http(s) URL, the bytes of a file, a binary file object, an array or tensor ([S], or with one or two
                channels on either axis), a dictionary with `array` (or `raw`) and `sampling_rate`, one with `bytes` or `path`,
                or a torchcodec `AudioDecoder`. Channels are averaged; other sampling rates are resampled with soxr HQ.
            sampling_rate: the rate of bare arrays (Hz); default: the model's.
            chunk_length_s: length of windows (seconds) for audio that is too long for one go; default, or 0: one go. Files
                are then decoded as the model proceeds, so memory does not grow with their length, save for frames asked for.
            stride_length_s: context on both sides of a window, or (left, right), whose frames are left out (seconds); default: a
                sixth of `chunk_length_s`. Windows meet at frames, so there are as many frames as in one go.
            join: what becomes of the frames that windows share: `cut` keeps those of the window in whose middle they are; `fade`
                goes over from one window to the next gradually, so that no step is left (vectors are pooled over `cut` frames).
            layers: index of a hidden state (0: input of the first layer, −1: the last, the default), or a list of them. Layers
                above the highest are not computed.
            pool: `none` for frames, or `mean`, `std`, `max`, `mean+std` over all frames of an item, for vectors in float32.
            batch_size: windows, of one or several inputs, that go through the model at once.
            return_timestamps: give a dictionary of `features` and `timestamps`, the start and end (seconds) of each frame, or of
                the whole where frames are pooled.
            return_tensors: give tensors in place of nested lists.
            timeout: longest time that a download may take (seconds); default: 300.
            max_download_bytes: largest file that is downloaded; default: 512 MiB.

        Returns:
            per input [1, T, D] frames or [1, D] vectors ([1, 2·D] for `mean+std`); with a list of L layers [1, L, T, D] or
            [1, L, D]. Raises ValueError, or AudioError with its reason, for inputs that give no usable audio.
        """
        if isinstance(inputs, tuple):
            inputs = list(inputs)
        elif isinstance(inputs, Iterator) and not hasattr(inputs, "read"):  # files are iterators too
            inputs = _IteratorDataset(inputs)
        if isinstance(inputs, list) and not inputs:
            return []
        return super().__call__(inputs, **kwargs)

    def _sanitize_parameters(
        self,
        sampling_rate: int | None = None,
        chunk_length_s: float | None = None,
        stride_length_s: float | tuple[float, float] | None = None,
        join: str | None = None,
        layers: int | list[int] | None = None,
        pool: str | None = None,
        return_timestamps: bool | None = None,
        return_tensors: bool | None = None,
        timeout: float | None = None,
        max_download_bytes: int | None = None,
    ) -> tuple[dict, dict, dict]:
        if pool is not None:
            check_pool(pool)
        if join not in (None, *JOINS):
            raise ValueError(f"`join` must be one of {', '.join(JOINS)}, got {join!r}.")
        if layers is not None:
            layers = self._checked_layers(layers)
        preprocess = {"sampling_rate": sampling_rate, "timeout": timeout, "max_download_bytes": max_download_bytes}
        preprocess |= {"chunk_length_s": chunk_length_s, "stride_length_s": stride_length_s}
        forward = {"layers": layers, "pool": pool, "join": join}
        postprocess = {**forward, "return_timestamps": return_timestamps, "return_tensors": return_tensors}
        return given_arguments(preprocess, forward, postprocess)

    def preprocess(
        self,
        inputs,
        sampling_rate=None,
        chunk_length_s=None,
        stride_length_s=None,
        timeout=DOWNLOAD_TIMEOUT,
        max_download_bytes=MAX_DOWNLOAD_BYTES,
    ) -> Iterator[dict]:
        """One input → its windows, each as a batch of one with its `place`.

        That is the window's first frame, from where to where to keep its frames, and the sample at which those end.
        """
        config = self.model.config
        blocks = self._blocks(inputs, sampling_rate, timeout, max_download_bytes)
        if chunk_length_s:
            lengths = WindowLengths.from_seconds(
                chunk_length_s, stride_length_s, config.sampling_rate, config.samples_per_frame, config.min_samples
            )
            windows = stream_windows(blocks, lengths)
        elif stride_length_s is None:
            wave = np.concatenate(list(blocks))
            windows = [(Window(0, len(wave), 0, len(wave)), wave, True)]
        else:
            raise ValueError("`stride_length_s` is the overlap of windows: give their `chunk_length_s` too.")
        for window, samples, is_last in windows:
            features = self.feature_extractor(samples, sampling_rate=config.sampling_rate, return_tensors="pt")
            first, last = window.kept_frames(config.samples_per_frame)
            place = [window.start // config.samples_per_frame, first, last, window.keep_end]
            yield {"is_last": is_last, "place": torch.tensor([place]), **features}

    def _forward(self, model_inputs, layers=None, pool="none", join="cut"):
        is_last, place = model_inputs.pop("is_last"), model_inputs.pop("place")
        wanted = False if layers is None else sorted(set(layers if isinstance(layers, list) else [layers]))
        encoder = getattr(self.model, self.model.base_model_prefix, self.model)  # of a classifier; else the model itself
        outputs = encoder(**model_inputs, output_hidden_states=wanted, return_dict=True)
        if layers is None:
            states = [outputs.last_hidden_state]
        else:
            states = [outputs.hidden_states[layer] for layer in (layers if isinstance(layers, list) else [layers])]
        rows = []  # per item frames [L, T, D] or their statistics [L, 1 + 3·D]: padded and context frames end here
        num_frames = outputs.attention_mask.sum(dim=1).tolist()
        for index, (_, first, last, _) in enumerate(place.tolist()):
            if pool == "none" and join == "fade":
                first, last = 0, num_frames[index]
            frames = torch.stack([state[index, first:last] for state in states])  # [L, T, D]
            kept = frames if pool == "none" else torch.cat(frame_statistics(frames), dim=-1)
            rows.append((self._copies.add(kept),))
        return {"is_last": is_last, "place": place, "rows": rows}

    def postprocess(self, model_outputs, layers=None, pool="none", join="cut", return_timestamps=False, return_tensors=False):
        # The base class takes batches apart; a batch of one it leaves as it is.
        rows = [output["rows"][0] if isinstance(output["rows"], list) else output["rows"] for output in model_outputs]
        windows = [kept for (kept,) in rows]
        if pool == "none" and join == "fade":
            starts = [int(output["place"][0, 0]) for output in model_outputs]
            features = crossfade(windows, starts)
        elif pool == "none":
            features = torch.cat(windows, dim=1)  # [L, T, D]
        else:
            D = self.model.config.hidden_size
            statistics = [FrameStatistics(*window.split([1, D, D, D], dim=-1)) for window in windows]
            features = pool_statistics(join_statistics(statistics), pool)  # [L, P]
        features = features.unsqueeze(0) if isinstance(layers, list) else features
        features = features if return_tensors else features.tolist()
        if not return_timestamps:
            return features
        config, num_samples = self.model.config, int(model_outputs[-1]["place"][0, 3])
        times = torch.from_numpy(frame_times(num_samples, config.sampling_rate, config.samples_per_frame))
        if pool != "none":
            times = torch.tensor([[0.0, num_samples / config.sampling_rate]], dtype=times.dtype)
        return {"features": features, "timestamps": times if return_tensors else times.tolist()}

    def _checked_layers(self, layers: int | list[int]) -> int | list[int]:
        """Indices counted from 0. Raises ValueError for those that do not exist."""
        indices = hidden_state_indices(layers, self.model.config.num_hidden_layers)
        return indices if isinstance(layers, (list, tuple)) else indices[0]

    def _blocks(
        self,
        inputs,
        sampling_rate: int | None,
        timeout: float = DOWNLOAD_TIMEOUT,
        max_download_bytes: int = MAX_DOWNLOAD_BYTES,
    ) -> Iterator[np.ndarray]:
        """Any input → mono float32 blocks [n] at the model's rate. Raises ValueError and AudioError."""
        rate = self.model.config.sampling_rate
        if isinstance(inputs, dict):
            inputs, sampling_rate = _unpack(inputs)
        if isinstance(inputs, str) and inputs.startswith(("http://", "https://")):
            inputs = download(inputs, timeout, max_download_bytes)
        if hasattr(inputs, "get_all_samples"):  # torchcodec's AudioDecoder: [C, S]
            samples = inputs.get_all_samples()
            inputs, sampling_rate = samples.data.float().mean(dim=0), samples.sample_rate
        if isinstance(inputs, (np.ndarray, torch.Tensor)):
            wave = mix_down(inputs)
            yield resample(wave, checked_rate(rate if sampling_rate is None else sampling_rate), rate)
        elif isinstance(inputs, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(inputs, "read"):
            yield from stream_audio(inputs, BLOCK_LENGTH, rate)
        else:
            raise ValueError(
                "an input must be a path, URL, bytes or binary file object, an array or tensor, a dictionary with `array` and "
                f"`sampling_rate`, or an AudioDecoder; got {type(inputs).__name__}. A list holds several inputs."
            )


class MappedCopies:
    """Copies of tensors on the CPU, in memory mapped for them alone. A mapping is freed when no tensor in it is used any more.

    On the heap, the rows kept of each window would lie between the large blocks that are allocated and freed for the next windows
    and leave gaps too small for them: memory would grow by far more than the rows. Several copies share a mapping, because a
    system allows about 65,000 of them in a process.
    """

    MAPPING_BYTES = 1 << 24

    def __init__(self):
        self._free = memoryview(b"")

    def add(self, values: torch.Tensor) -> torch.Tensor:
        size = values.numel() * values.element_size()
        if size > len(self._free):
            self._free = memoryview(mmap.mmap(-1, max(size, self.MAPPING_BYTES)))
        memory, self._free = self._free[:size], self._free[size + -size % 64 :]
        return torch.frombuffer(memory, dtype=values.dtype).view(values.shape).copy_(values)


def given_arguments(*groups: dict) -> tuple[dict, ...]:
    """Each group without the arguments that are None: those keep their defaults."""
    return tuple({name: value for name, value in group.items() if value is not None} for group in groups)


class _IteratorDataset(IterableDataset):
    """Items as they come: of generators, transformers 5.10 makes a list first."""

    def __init__(self, items: Iterator):
        self._items = items

    def __iter__(self) -> Iterator:
        return self._items


def _unpack(inputs: dict) -> tuple:
    """(audio, its sampling rate or None) of a dictionary as `datasets` and the speech pipelines have it."""
    for key in ("array", "raw"):
        if inputs.get(key) is not None:
            if inputs.get("sampling_rate") is None:
                raise ValueError(f"a dictionary with `{key}` needs `sampling_rate` (Hz) too, got {sorted(inputs)}.")
            audio = inputs[key]
            return (audio if isinstance(audio, torch.Tensor) else np.asarray(audio)), inputs["sampling_rate"]
    for key in ("bytes", "path"):
        if inputs.get(key) is not None:
            return inputs[key], None
    raise ValueError(f"a dictionary needs `array` and `sampling_rate`, or `bytes`, or `path`; got {sorted(map(str, inputs))}.")
