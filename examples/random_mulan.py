"""Write a small MuQ-MuLan with random weights and a tokenizer of bytes, to try words and music before having a trained one.

    python examples/random_mulan.py OUTPUT [--seed 0]

2 M parameters, a second on a laptop. Its scores mean nothing; two runs with the same seed write the same weights.
"""

import argparse
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig

from muq_hf import MuQConfig, MuQMuLanConfig, MuQMuLanFeatureExtractor, MuQMuLanModel, MuQMuLanProcessor


SPECIAL_TOKENS = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
MAX_TOKENS = 256


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token per UTF-8 byte between <s> and </s>: any language, nothing to download."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS.values(), *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    ends = [("<s>", vocabulary["<s>"]), ("</s>", vocabulary["</s>"])]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    names = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=MAX_TOKENS, model_input_names=names, **SPECIAL_TOKENS
    )


def small_text_config() -> XLMRobertaConfig:
    return XLMRobertaConfig(
        vocab_size=260,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=MAX_TOKENS + 2,
        type_vocab_size=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
    )


def write_random_mulan(folder: str | Path, seed: int = 0) -> None:
    torch.manual_seed(seed)
    config = MuQMuLanConfig(
        audio_config=MuQConfig.from_preset("tiny"),
        text_config=small_text_config(),
        projection_dim=128,
        adapter_size=128,
        text_adapter_layers=1,
        text_adapter_heads=2,
        text_adapter_intermediate_size=256,
    )
    MuQMuLanModel(config).save_pretrained(folder)
    extractor = MuQMuLanFeatureExtractor(sampling_rate=config.sampling_rate, min_samples=config.min_samples)
    MuQMuLanProcessor(extractor, byte_tokenizer()).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", help="folder to write")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_random_mulan(arguments.output, arguments.seed)
    print(f"Wrote a random MuQ-MuLan (seed {arguments.seed}) to {arguments.output}.")


if __name__ == "__main__":
    main()
