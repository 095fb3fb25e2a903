"""Goldens of MuQ-MuLan: a miniature in the published format, its embeddings, similarities and contrastive loss."""

import json
from unittest import mock

import torch
import torch.distributed as dist
from muq import MuQConfig, MuQMuLan
from muq.muq_mulan.modules.contrastive import RankSoftmaxContrastiveLearning
from transformers import BatchEncoding, XLMRobertaConfig, XLMRobertaModel

from benchmarks.oracle_worker import SAMPLE_RATE, build_published, music_like, published_config, randomise
from tests.oracle.assets import ASSETS, save, save_published


AUDIO_DIM, TEXT_DIM, LATENT_DIM = 16, 28, 24
BOS, PAD, EOS, VOCABULARY = 0, 1, 2, 200  # XLM-R's special tokens
SONG_SECONDS = (3.0, 10.0, 10.1, 25.0)
TEXT_LENGTHS = (3, 6, 11)  # tokens, with the two special ones
EQUAL_BATCH = (4, 7)  # texts, tokens
CLIP_SAMPLES = 10 * SAMPLE_RATE

MULAN_CONFIG = {
    "mulan": {
        "sr": SAMPLE_RATE,
        "clip_secs": 10,
        "dim_latent": LATENT_DIM,
        "decoupled_contrastive_learning": True,
        "hierarchical_contrastive_loss": False,
        "hierarchical_contrastive_loss_layers": None,
        "sigmoid_contrastive_loss": False,
        "rank_contrast": True,
    },
    "audio_model": {"name": "OpenMuQ/MuQ-large-msd-iter", "model_dim": AUDIO_DIM, "use_layer_idx": -1},
    "text_model": {"name": "xlm-roberta-base", "model_dim": None, "use_layer_idx": -1},
    "audio_transformer": {
        "dim": TEXT_DIM,
        "tf_depth": 0,
        "heads": 2,
        "dim_head": 8,
        "attn_dropout": 0.0,
        "ff_dropout": 0.0,
        "ff_mult": 4,
    },
    "text_transformer": {
        "dim": TEXT_DIM,
        "tf_depth": 2,
        "max_seq_len": 1024,
        "dim_head": 8,
        "heads": 2,
        "attn_dropout": 0.0,
        "ff_dropout": 0.0,
        "ff_mult": 4,
    },
}


class IdTokenizer:
    """Stands in for XLM-R's tokenizer: a text is its token ids in decimal, padded as the published call asks."""

    def __call__(self, texts, return_tensors, padding):
        rows = [[int(word) for word in text.split()] for text in texts]
        length = max(map(len, rows))
        ids = torch.tensor([row + [PAD] * (length - len(row)) for row in rows])
        return BatchEncoding({"input_ids": ids, "attention_mask": (ids != PAD).long()})


def song(num_samples: int) -> torch.Tensor:
    """[S]: the stored clip of 50,011 samples in a loop, read with stride 1, 2, 3 in turn every ten seconds."""
    clip = music_like(50_011, seed=50_011)
    index = torch.arange(num_samples)
    return clip[(index * (1 + index // CLIP_SAMPLES)) % len(clip)]


def tiny_mulan() -> tuple[MuQMuLan, MuQConfig, XLMRobertaConfig]:
    """muq's MuQMuLan with random towers in place of the two that its constructor would download."""
    audio_config = published_config(
        conv_dim=4,
        encoder_dim=AUDIO_DIM,
        encoder_depth=1,
        num_heads=2,
        intermediate_size=24,
        num_codebooks=1,
        head_size=16,
        pos_conv_size=4,
        pos_conv_groups=4,
    )
    text_config = XLMRobertaConfig(
        vocab_size=VOCABULARY,
        hidden_size=TEXT_DIM,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=66,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        bos_token_id=BOS,
        pad_token_id=PAD,
        eos_token_id=EOS,
    )
    audio_tower, text_tower = build_published(audio_config, seed=2), XLMRobertaModel(text_config)
    with (
        mock.patch("muq.MuQ.from_pretrained", lambda *_, **__: audio_tower),
        mock.patch.object(XLMRobertaModel, "from_pretrained", lambda *_, **__: text_tower),
    ):
        mulan = MuQMuLan(MULAN_CONFIG)
    randomise(mulan, torch.Generator().manual_seed(3))
    with torch.no_grad():
        mulan.mulan.contrast.temperatures.fill_(2.5)
        text_tower.embeddings.word_embeddings.weight[PAD] = 0.0
    mulan.mulan.text._tokenizer = IdTokenizer()
    spread_audio_vectors(mulan.eval())
    return mulan, audio_config, text_config


@torch.no_grad()
def spread_audio_vectors(mulan) -> None:
    """Random towers give all audio nearly one vector; taking the mean away makes a wrong window or weight visible."""
    windows = song(3 * CLIP_SAMPLES).view(3, CLIP_SAMPLES)
    latents = mulan.mulan.audio_to_latents(mulan.mulan.audio(windows))
    mulan.mulan.audio_to_latents.bias -= latents.mean(dim=0)


def write_mulan_goldens() -> None:
    mulan, audio_config, text_config = tiny_mulan()
    folder = ASSETS / "published_mulan_tiny"
    save_published(mulan, folder)
    # The published folder names two further repositories; these are the parts of them that a conversion needs.
    for name, config in (("audio_model", vars(audio_config)), ("text_model", json.loads(text_config.to_json_string()))):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

    tensors = audio_goldens(mulan) | text_goldens(mulan)
    audio_embeds = torch.stack([tensors[f"audio.{seconds:g}"] for seconds in SONG_SECONDS])
    tensors["similarity"] = mulan.calc_similarity(audio_embeds, tensors["text.equal.embeds"])  # [4 songs, 4 texts]
    audio, text = audio_embeds[1], tensors["text.equal.embeds"][2]
    tensors["similarity.audio_text"] = mulan.calc_similarity(audio, text)  # scalar
    tensors["similarity.audios_text"] = mulan.calc_similarity(audio_embeds, text)  # [4 songs]
    tensors["similarity.audio_texts"] = mulan.calc_similarity(audio, tensors["text.equal.embeds"])  # [4 texts]
    save(tensors, folder / "goldens.safetensors")
    write_contrast_golden()


@torch.no_grad()
def audio_goldens(mulan) -> dict[str, torch.Tensor]:
    tensors = {}
    for seconds in SONG_SECONDS:
        wave = song(round(seconds * SAMPLE_RATE))
        tensors[f"audio.{seconds:g}"] = mulan(wavs=wave[None])[0]
        together = mulan(wavs=wave[None], parallel_processing=True)[0]
        assert torch.allclose(tensors[f"audio.{seconds:g}"], together, atol=1e-5)
    songs = [song(round(seconds * SAMPLE_RATE)) for seconds in SONG_SECONDS]
    tensors["audio.list"] = mulan(wavs=songs)
    tensors["audio.list.parallel"] = mulan.extract_audio_latents(songs, parallel_processing=True)
    windows = song(2 * CLIP_SAMPLES).view(2, CLIP_SAMPLES)
    tensors["audio.windows"] = mulan.mulan.get_audio_latents(windows)  # each window's own vector, of length 1
    return tensors


@torch.no_grad()
def text_goldens(mulan) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)

    def random_ids(num_texts, num_tokens):
        ids = torch.randint(EOS + 1, VOCABULARY, (num_texts, num_tokens), generator=generator)
        ids[:, 0], ids[:, -1] = BOS, EOS
        return ids

    def embed(ids):
        return mulan(texts=[" ".join(map(str, row.tolist())) for row in ids])

    tensors = {}
    for num_tokens in TEXT_LENGTHS:
        ids = random_ids(1, num_tokens)
        tensors[f"text.{num_tokens}.ids"], tensors[f"text.{num_tokens}.embeds"] = ids[0], embed(ids)[0]
    ids = random_ids(*EQUAL_BATCH)
    tensors["text.equal.ids"], tensors["text.equal.embeds"] = ids, embed(ids)
    return tensors


def write_contrast_golden() -> None:
    """muq's decoupled contrastive loss over one rank, with its gradients (its gathering needs a process group)."""
    generator = torch.Generator().manual_seed(6)
    audio, text = (
        torch.nn.functional.normalize(torch.empty(6, LATENT_DIM).normal_(generator=generator), dim=-1).requires_grad_()
        for _ in range(2)
    )
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    tensors = {"audio_embeds": audio, "text_embeds": text}
    for decoupled in (True, False):
        contrast = RankSoftmaxContrastiveLearning(decoupled_contrastive_learning=decoupled)
        loss = contrast(audio, text).squeeze()
        gradients = torch.autograd.grad(loss, (audio, text, contrast.temperatures))
        name = "decoupled" if decoupled else "coupled"
        tensors[f"{name}.loss"] = loss
        for parameter, gradient in zip(("audio_embeds", "text_embeds", "log_scale"), gradients, strict=True):
            tensors[f"{name}.grad.{parameter}"] = gradient.squeeze()
    tensors["log_scale"] = contrast.temperatures.squeeze()
    dist.destroy_process_group()
    save(tensors, ASSETS / "mulan_contrast.safetensors")
