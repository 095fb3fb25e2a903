"""Published models as they lie on a user's machine: in the Hub's cache, with a tokenizer."""

import hashlib
import shutil
from pathlib import Path

from checks import ASSETS
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast


def put_into_cache(cache: Path, repo: str, revision: str, folder: Path) -> None:
    """As if a revision of a Hub repository had been downloaded; its files are those of `folder`."""
    place = cache / f"models--{repo.replace('/', '--')}"
    commit = hashlib.sha1(revision.encode()).hexdigest()
    shutil.copytree(folder, place / "snapshots" / commit)
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / revision).write_text(commit)


def mulan_with_tokenizer(folder: Path) -> Path:
    """A copy of the published miniature with a tokenizer that reads token ids in decimal; other words are id 3."""
    shutil.copytree(ASSETS / "published_mulan_tiny", folder)
    vocabulary = {"<pad>" if number == 1 else str(number): number for number in range(200)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="3"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", model_max_length=64)
    tokenizer.save_pretrained(folder / "text_model")
    return folder
