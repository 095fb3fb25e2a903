"""Texts and tags of tracks, and captions made of them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..models.processing_muq_mulan import MuQMuLanProcessor
from ..storage.manifests import LIST_SEPARATOR
from ..storage.whole_files import read_text
from .clips import ClipDataset
from .tracks import Track, track_rows


CAPTION = 2  # random stream of one crop, besides those of clips.py
PLACE = "{tags}"


@dataclass(frozen=True)
class Words:
    """The texts and tags of a track; at least one of them."""

    texts: tuple[str, ...]
    tags: tuple[str, ...]


def read_words(manifest: str | Path) -> dict[tuple[str, float], Words]:
    """Manifest → words by (path, start) of each track, from `text` (a string or a list) and `tags` (a list, or "a; b; c").

    Raises ValueError, naming the line, for tracks with neither, or of other types. Lines without a track are left out.
    """
    manifest, words = Path(manifest), {}
    if not manifest.is_file():
        raise ValueError(f"`data` must be a manifest with `text` or `tags` for every track, got {manifest}.")
    for row, times in track_rows(manifest):
        texts, tags = row.fields.get("text") or [], row.fields.get("tags") or []
        texts = [texts] if isinstance(texts, str) else texts
        tags = [tag.strip() for tag in tags.split(LIST_SEPARATOR) if tag.strip()] if isinstance(tags, str) else tags
        if not (texts or tags) or not (_are_texts(texts) and _are_texts(tags)):
            raise row.error("needs `text` (a string or a list of strings) or `tags` (a list of strings).")
        key = row.path, times.get("start", 0.0)
        earlier = words.get(key, Words((), ()))  # a track may have a line for each caption
        words[key] = Words(tuple(dict.fromkeys([*earlier.texts, *texts])), tuple(dict.fromkeys([*earlier.tags, *tags])))
    return words


def _are_texts(items) -> bool:
    return isinstance(items, list) and all(isinstance(item, str) and item.strip() for item in items)


def read_templates(path: str | Path | None) -> list[str]:
    """A sentence per line with {tags} where the tags go; none without a file. Raises ValueError for lines without it."""
    if path is None:
        return []
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    wrong = [line for line in lines if PLACE not in line]
    if wrong or not lines:
        raise ValueError(f"each line of {path} must hold {PLACE}, got {wrong[0] if wrong else 'an empty file'!r}.")
    return lines


class CaptionWriter:
    """Words of a track → one caption, chosen by the caller's random numbers."""

    def __init__(self, templates: list[str], plain_tag_share: float):
        if not 0 <= plain_tag_share <= 1:
            raise ValueError(f"`plain_tag_share` must lie between 0 and 1, got {plain_tag_share}.")
        self.templates, self.plain_tag_share = templates, plain_tag_share

    def __call__(self, words: Words, random: np.random.Generator) -> str:
        """One of the texts or, as likely as one of them, the tags in random order, plain or in a template."""
        choice = int(random.integers(len(words.texts) + bool(words.tags)))
        if choice < len(words.texts):
            return words.texts[choice]
        tags = ", ".join(random.permutation(words.tags))
        if not self.templates or random.random() < self.plain_tag_share:
            return tags
        return self.templates[int(random.integers(len(self.templates)))].replace(PLACE, tags)


class CaptionedClips(ClipDataset):
    """Crops with a caption and two numbers: equal ones are of the same track, or have the same caption."""

    def __init__(self, *args, words: dict[tuple[str, float], Words], writer: CaptionWriter, **kwargs):
        super().__init__(*args, **kwargs)
        self._words, self._writer = words, writer

    def __getitem__(self, number: int) -> dict:
        item = super().__getitem__(number)
        track = self.tracks[item.pop("track")]
        caption = self._writer(self._words[words_key(track)], np.random.default_rng([self.seed, number, CAPTION]))
        return item | {"caption": caption, "audio_ids": number_of(track.name), "text_ids": number_of(caption)}

    def _crop(self, index, position, channel):
        item = super()._crop(index, position, channel)
        return None if item is None else item | {"track": index}


def words_key(track: Track) -> tuple[str, float]:
    return track.path, track.start


def number_of(text: str) -> int:
    """A 63-bit number that equal texts share, in every process."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


class CaptionCollator:
    """Items of `CaptionedClips` → what MuQMuLanModel takes to compute its loss."""

    def __init__(self, processor: MuQMuLanProcessor, mask_duplicates: bool):
        self.processor, self.mask_duplicates = processor, mask_duplicates

    def __call__(self, items: list[dict]) -> dict:
        batch = {"input_values": torch.stack([item["input_values"] for item in items]), "return_loss": True}
        batch |= self.processor(text=[item["caption"] for item in items], return_tensors="pt")
        if self.mask_duplicates:
            batch |= {name: torch.tensor([item[name] for item in items]) for name in ("audio_ids", "text_ids")}
        return batch
