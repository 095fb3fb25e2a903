"""Words and sounds that somebody searches with → vectors of the model that made the table."""

import os
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from ..checkpoints import MUQ_MULAN_TINY, model_or_default
from ..inference.joint import JointModel, made_with


REMEMBERED_TEXTS = 4096
MAX_CHARACTERS = 2000  # of one text
PART_SECONDS = 10.0  # length of an upload's parts where the table has one row a song


class QueryEncoder:
    """A MuQ-MuLan with what it was asked before. Its methods may be called from several threads."""

    def __init__(self, model: JointModel, name: str, settings: dict):
        self.model, self.name = model, name
        self._window_length_s = settings.get("window_length_s")
        self._part_length_s = settings.get("chunk_length_s") or PART_SECONDS
        self._texts: OrderedDict[str, np.ndarray] = OrderedDict()

    @classmethod
    def of_table(
        cls, settings: dict, model: str | None = None, revision: str | None = None, device: str = "auto"
    ) -> tuple["QueryEncoder", str | None]:
        """→ the encoder for a table with these `settings`, and a warning where `model` is not the one that made it."""
        name = model_or_default(model or settings["model"], MUQ_MULAN_TINY)
        warning = None
        if revision is None and model is None and not settings["revision"].startswith("sha256:"):
            revision = settings["revision"]
        elif not made_with(settings, name, revision):
            warning = (
                f"the weights of {name} are not those that the table was made with ({settings['model']}): the order of the "
                "results means little. Embed the music again, or name that model."
            )
        return cls(JointModel(name, "both", revision, device), name, settings), warning

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """→ [N, P] float32, of length 1. Raises ValueError for texts that are empty or very long."""
        for text in texts:
            if not text.strip():
                raise ValueError("the words to search for are empty: any order of the music would do.")
            if len(text) > MAX_CHARACTERS:
                raise ValueError(f"a text may have {MAX_CHARACTERS} characters, got {len(text)}.")
        missing = [text for text in dict.fromkeys(texts) if text not in self._texts]
        fresh = dict(zip(missing, self.model.embed_texts(missing), strict=True)) if missing else {}
        vectors = np.stack([fresh[text] if text in fresh else self._texts[text] for text in texts])
        self._texts.update(fresh)
        while len(self._texts) > REMEMBERED_TEXTS:
            self._texts.popitem(last=False)
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> int:
        return sum(len(ids) for ids in self.model.processor.tokenizer(list(texts), truncation=True)["input_ids"])

    def audio(self, path: str | os.PathLike, max_seconds: float) -> tuple[np.ndarray, np.ndarray]:
        """A file's parts → spans [K, 2] (s), vectors [K, P] of length 1; what lies behind `max_seconds` is left out.

        Raises AudioError.
        """
        return self.model.embed_parts(path, self._part_length_s, self._window_length_s, max_seconds)


def mean_vector(spans: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Parts [K, 2], [K, P] → [P] of length 1, each part weighing as much as its length."""
    total = ((spans[:, 1] - spans[:, 0])[:, None] * vectors).sum(axis=0)
    return total / np.linalg.norm(total)
