"""Ragged waveforms → one padded batch with its attention mask."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import BatchFeature, PreTrainedConfig, SequenceFeatureExtractor

from .loading_muq import HUB_ARGUMENTS, hub_arguments_of
from .published_muq import is_published_config
from .samples_muq import check_samples


PCM_DTYPES = (np.int16, np.int32)
MAX_CHANNELS = 2  # of an array; one of more rows is more likely a batch


class MuQFeatureExtractor(SequenceFeatureExtractor):
    """Checks and pads raw audio. Nothing is normalised: the model computes its own spectrogram.

    Args:
        sampling_rate: rate that the model was trained at (Hz).
        min_samples: shortest waveform that the model's spectrogram is defined for (half an STFT window and one sample).
    """

    model_input_names = ["input_values", "attention_mask"]

    def __init__(
        self,
        feature_size: int = 1,
        sampling_rate: int = 24_000,
        padding_value: float = 0.0,
        min_samples: int = 1025,
        return_attention_mask: bool = True,
        **kwargs,
    ):
        if not __name__.startswith("transformers_modules"):
            kwargs.pop("auto_map", None)
        super().__init__(
            feature_size=feature_size,
            sampling_rate=sampling_rate,
            padding_value=padding_value,
            return_attention_mask=return_attention_mask,
            **kwargs,
        )
        self.min_samples = min_samples

    @classmethod
    def for_config(cls, config) -> "MuQFeatureExtractor":
        """The one that goes with a model of this configuration."""
        return cls(sampling_rate=config.sampling_rate, min_samples=config.min_samples)

    def __call__(
        self,
        raw_audio,
        sampling_rate: int | None = None,
        padding: bool | str = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """raw_audio: one mono waveform or a list of them, as arrays, tensors or lists of numbers.

        int16 and int32 are read as PCM (full scale → ±1), floats as they are. `sampling_rate` is the rate of the audio (Hz) and
        must be the model's. → `input_values` float32 [B, S], `attention_mask` [B, S].
        Raises ValueError for a missing or wrong rate, stereo, empty, too short, NaN or infinite audio, and for integers that were
        cast to floats without dividing them by their full scale.
        """
        if sampling_rate != self.sampling_rate:
            got = "none was given" if sampling_rate is None else f"got {sampling_rate} Hz"
            raise ValueError(
                f"`sampling_rate` must be given and be {self.sampling_rate} Hz, the model's rate; {got}. Resample the audio "
                f"first, for instance `soxr.resample(audio, rate, {self.sampling_rate})`."
            )
        waveforms = [self._check(audio, index) for index, audio in enumerate(as_batch(raw_audio))]
        return self.pad(
            BatchFeature({"input_values": waveforms}),
            padding=padding,
            max_length=max_length,
            truncation=truncation,
            pad_to_multiple_of=pad_to_multiple_of,
            return_attention_mask=return_attention_mask,
            return_tensors=return_tensors,
        )

    def _check(self, audio, index: int) -> np.ndarray:
        """One float32 waveform [S], or a ValueError that says which item is wrong and how to mend it."""
        waveform = as_float32(audio, index)
        if waveform.ndim != 1:
            raise ValueError(
                f"item {index} has shape {waveform.shape}; a mono waveform [samples] is needed. Downmix stereo with "
                "`audio.mean(axis=channel_axis)`; files and pipelines do so by themselves."
            )
        if len(waveform) < self.min_samples:
            length = "is empty" if len(waveform) == 0 else f"has {len(waveform)} samples"
            raise ValueError(
                f"item {index} {length}; at least {self.min_samples} samples "
                f"({1000 * self.min_samples / self.sampling_rate:.0f} ms) are needed."
            )
        check_samples(waveform, f"item {index}")
        return waveform

    @classmethod
    def _is_published(cls, config: dict) -> bool:
        return is_published_config(config)

    @classmethod
    def get_feature_extractor_dict(cls, pretrained_model_name_or_path, **kwargs):
        """As in transformers; the published models have no preprocessor file, and take what is the default here."""
        try:
            return super().get_feature_extractor_dict(pretrained_model_name_or_path, **kwargs)
        except OSError:
            config, _ = PreTrainedConfig.get_config_dict(pretrained_model_name_or_path, **hub_arguments_of(kwargs))
            if not cls._is_published(config):
                raise
            return {}, {name: value for name, value in kwargs.items() if name not in HUB_ARGUMENTS}


def as_batch(raw_audio) -> list:
    """A list of single waveforms, whether one or several came."""
    if isinstance(raw_audio, (str, bytes, dict)):
        raise ValueError(
            f"a waveform or a list of waveforms is needed, got {type(raw_audio).__name__}; for files use "
            "`pipeline('feature-extraction')` or `muq_hf.audio.load_audio`."
        )
    if isinstance(raw_audio, (np.ndarray, torch.Tensor)):
        if raw_audio.ndim == 2:
            raise ValueError(
                f"an array of shape {tuple(raw_audio.shape)} may be stereo or a batch: pass `audio.mean(axis=channel_axis)` "
                "for one clip, or `list(batch)` for several."
            )
        return [raw_audio]
    if not isinstance(raw_audio, Sequence):
        raise ValueError(f"a waveform or a list of waveforms is needed, got {type(raw_audio).__name__}.")
    if len(raw_audio) == 0:
        raise ValueError("the list of waveforms is empty.")
    return [raw_audio] if np.isscalar(raw_audio[0]) else list(raw_audio)


def as_float32(audio, index: int) -> np.ndarray:
    """Floats as they are, int16 and int32 as PCM. Raises ValueError, which names the item by its index, for other dtypes."""
    if isinstance(audio, torch.Tensor):
        audio = audio.detach().cpu()
        audio = (audio.float() if audio.is_floating_point() else audio).numpy()
    try:
        array = np.asarray(audio)
    except ValueError as error:
        raise ValueError(f"item {index} is no array of numbers ({error}).") from None
    if array.dtype in PCM_DTYPES:
        return array.astype(np.float32) / np.float32(-int(np.iinfo(array.dtype).min))
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"item {index} has dtype {array.dtype}; samples must be floating point, int16 or int32.")
    with np.errstate(over="ignore"):  # what overflows float32 becomes infinite, and is refused as such
        return array.astype(np.float32)


def mix_down(audio, index: int = 0) -> np.ndarray:
    """An array of one or two channels, on either axis → their mean, float32 [S]. Raises ValueError, which names the item."""
    wave = as_float32(audio, index)
    if wave.ndim == 2:
        channel_axis = int(np.argmin(wave.shape))
        is_clear = 1 <= wave.shape[channel_axis] <= MAX_CHANNELS < wave.shape[1 - channel_axis]
        if not is_clear:
            raise ValueError(
                f"item {index} of shape {wave.shape} is neither mono nor stereo: pass `audio.mean(axis=channel_axis)` for one "
                "clip, or `list(batch)` for several."
            )
        wave = wave.mean(axis=channel_axis)
    if wave.ndim != 1:
        raise ValueError(f"item {index} must be [samples] or have one or two channels beside them, got shape {wave.shape}.")
    check_samples(wave, f"item {index}")
    return wave
