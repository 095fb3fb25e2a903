"""Music and text → what MuQ-MuLan takes."""

from transformers import BatchFeature, ProcessorMixin
from transformers.utils import logging


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
    ) -> BatchFeature:
        """text: one text or several; audio: as the feature extractor takes it, with its `sampling_rate` (Hz).

        `padding` and `max_length` are for the text; longer texts are cut, with one warning. → `input_ids`, `attention_mask`
        [N, tokens] for text, `input_values`, `padding_mask` [B, S] for audio. Raises ValueError for neither, for texts that are
        no strings or give no token, and for audio that the feature extractor refuses.
        """
        if text is None and audio is None:
            raise ValueError("give `text`, `audio` or both.")
        features = {}
        if text is not None:
            features |= self._tokenize(text, padding, max_length, return_tensors)
        if audio is not None:
            features |= self.feature_extractor(audio, sampling_rate, return_tensors=return_tensors)
        return BatchFeature(features)

    def _tokenize(self, text, padding, max_length, return_tensors) -> dict:
        texts = [text] if isinstance(text, str) else list(text)
        wrong = [item for item in texts if not isinstance(item, str)]
        if not texts or wrong:
            raise ValueError(f"`text` must be a string or a list of strings, got {wrong[0]!r}." if wrong else "`text` is empty.")
        limit = self.tokenizer.model_max_length if max_length is None else max_length
        lengths = [len(ids) for ids in self.tokenizer(texts, verbose=False)["input_ids"]]
        if 0 in lengths:
            raise ValueError(f"text {lengths.index(0)} gives no token; it may be empty.")
        is_limited = limit < UNLIMITED
        if is_limited and max(lengths) > limit:
            logger.warning_once(f"a text of {max(lengths)} tokens was cut to the {limit} that the text encoder takes.")
        cut = {"truncation": True, "max_length": limit} if is_limited else {}
        return dict(self.tokenizer(texts, padding=padding, return_tensors=return_tensors, **cut))
