"""Music and text → what MuQ-MuLan takes."""

import os

from transformers import BatchFeature, ProcessorMixin
from transformers.utils import logging

from .decoding_muq import load_audio


logger = logging.get_logger(__name__)

UNLIMITED = 1_000_000  # tokens; tokenizers without a limit of their own say 10^30


class MuQMuLanProcessor(ProcessorMixin):
    """A feature extractor and a tokenizer in one."""

    def __init__(self, feature_extractor, tokenizer):
        super().__init__(feature_extractor, tokenizer)

    def __call__(
        self,
        text: str | list[str] | None = None,
        audio=None,
        sampling_rate: int | None = None,
        padding: bool | str = True,
        max_length: int | None = None,
        return_tensors: str | None = None,
        *,
        text_kwargs: dict | None = None,
        audio_kwargs: dict | None = None,
        common_kwargs: dict | None = None,
        images_kwargs: dict | None = None,
        videos_kwargs: dict | None = None,
    ) -> BatchFeature:
        """text: one text or several; audio: files, or what the feature extractor takes with its `sampling_rate` (Hz).

        `padding` and `max_length` (tokens) are for the text; longer texts are cut, with one warning. The dictionaries add
        options for the tokenizer, the feature extractor or both; those for images and videos must be empty.
        → `input_ids`, `attention_mask` [N, tokens] for text, `input_values`, `padding_mask` [B, S] for audio. Raises ValueError
        for neither, for texts that are no strings or give no token, and for audio that the feature extractor refuses.
        """
        if images_kwargs or videos_kwargs:
            raise ValueError("MuQ-MuLan takes text and audio, no images and no videos.")
        if text is None and audio is None:
            raise ValueError("give `text`, `audio` or both.")
        common = {"return_tensors": return_tensors} | (common_kwargs or {})
        features = {}
        if text is not None:
            features |= self._tokenize(text, {"padding": padding, "max_length": max_length} | common | (text_kwargs or {}))
        if audio is not None:
            features |= self._extract(audio, {"sampling_rate": sampling_rate} | common | (audio_kwargs or {}))
        return BatchFeature(features)

    def _extract(self, audio, options: dict) -> dict:
        rate = self.feature_extractor.sampling_rate
        files = [audio] if isinstance(audio, (str, os.PathLike)) else audio
        if isinstance(files, (list, tuple)) and files and all(isinstance(item, (str, os.PathLike)) for item in files):
            audio, options = [load_audio(file, rate) for file in files], options | {"sampling_rate": rate}
        return self.feature_extractor(audio, **options)

    def _tokenize(self, text, options: dict) -> dict:
        texts = [text] if isinstance(text, str) else list(text)
        wrong = [item for item in texts if not isinstance(item, str)]
        if not texts or wrong:
            raise ValueError(f"`text` must be a string or a list of strings, got {wrong[0] if wrong else texts!r}.")
        limit = options["max_length"] or self.tokenizer.model_max_length
        lengths = [len(ids) for ids in self.tokenizer(texts, verbose=False)["input_ids"]]
        if 0 in lengths:
            raise ValueError(f"text {lengths.index(0)} gives no token; it may be empty.")
        is_limited = limit < UNLIMITED
        if is_limited and max(lengths) > limit:
            logger.warning_once(f"Texts longer than the {limit} tokens that the text encoder takes are cut.")
        return dict(self.tokenizer(texts, **(options | {"truncation": is_limited, "max_length": limit if is_limited else None})))
