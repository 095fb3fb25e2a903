"""Ragged waveforms → one padded batch, whose mask is called `padding_mask`: `attention_mask` is that of the text."""

from transformers import BatchFeature

from .feature_extraction_muq import MuQFeatureExtractor
from .published_muq_mulan import is_published_mulan_config


class MuQMuLanFeatureExtractor(MuQFeatureExtractor):
    """As [`MuQFeatureExtractor`], for a model that takes music and text."""

    model_input_names = ["input_values", "padding_mask"]

    def __call__(self, raw_audio, sampling_rate: int | None = None, **options) -> BatchFeature:
        """See [`MuQFeatureExtractor`] → `input_values` float32 [B, S], `padding_mask` [B, S], 1 on audio."""
        batch = super().__call__(raw_audio, sampling_rate, **options)
        if "attention_mask" in batch:
            batch["padding_mask"] = batch.pop("attention_mask")
        return batch

    @classmethod
    def _is_published(cls, config: dict) -> bool:
        return is_published_mulan_config(config)
