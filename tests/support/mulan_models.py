"""A tiny MuQ-MuLan with a tokenizer, for tests: random but seeded, made in a moment."""

from pathlib import Path

import torch
from checks import perturb_statistics
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig

from muq_hf.models.configuration_muq import MuQConfig
from muq_hf.models.configuration_muq_mulan import MuQMuLanConfig
from muq_hf.models.feature_extraction_muq_mulan import MuQMuLanFeatureExtractor
from muq_hf.models.modeling_muq_mulan import MuQMuLanModel
from muq_hf.models.processing_muq_mulan import MuQMuLanProcessor


SPECIAL_TOKENS = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
MAX_TOKENS = 32


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token per UTF-8 byte between <s> and </s>: any text in any script can be written."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS.values(), *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    names = ["input_ids", "attention_mask"]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=MAX_TOKENS, model_input_names=names, **SPECIAL_TOKENS
    )


def tiny_config(**fields) -> MuQMuLanConfig:
    dropouts = dict.fromkeys(("hidden_dropout", "activation_dropout", "attention_dropout", "conv_dropout"), 0.0)
    audio_config = MuQConfig(
        conv_channels=4,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        codebook_size=8,
        **dropouts,
    )
    text_config = XLMRobertaConfig(
        vocab_size=300,
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=MAX_TOKENS + 2,
        type_vocab_size=1,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    sizes = {
        "projection_dim": 12,
        "adapter_size": 20,
        "text_adapter_layers": 2,
        "text_adapter_heads": 2,
        "text_adapter_head_dim": 8,
        "text_adapter_intermediate_size": 32,
    }
    return MuQMuLanConfig(**({"audio_config": audio_config, "text_config": text_config} | sizes | fields))


def tiny_model(seed: int = 0, **fields) -> MuQMuLanModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MuQMuLanModel(tiny_config(**fields)).eval()
    perturb_statistics(model)
    return model


def tiny_processor() -> MuQMuLanProcessor:
    return MuQMuLanProcessor(MuQMuLanFeatureExtractor(), tiny_tokenizer())


def save_tiny(folder: Path) -> Path:
    """The folder of a model with its processor."""
    tiny_model().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


def music(seconds: float, seed: int = 0) -> torch.Tensor:
    """[S]: a few sine waves and noise at 24 kHz."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(round(seconds * 24_000)) / 24_000
    pitches = 110 * 2 ** (torch.randint(0, 36, (4,), generator=generator) / 12)
    waves = torch.sin(2 * torch.pi * pitches.unsqueeze(1) * time).mean(dim=0)
    return 0.3 * waves + 0.05 * torch.randn(len(time), generator=generator)
