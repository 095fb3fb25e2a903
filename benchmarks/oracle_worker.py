"""The published package's half of the parity measurement. Runs under the oracle's interpreter, never under ours.

    ORACLE/bin/python benchmarks/oracle_worker.py --out SCRATCH [--seed 0]

Builds the published class with seeded random weights in exactly the published configuration (333 M parameters) and
writes SCRATCH/published (a folder in the published format) and SCRATCH/states.safetensors (waveforms, all hidden
states and Mel-RVQ tokens of each clip). `tests/oracle` makes such an environment; `parity.py` starts this script.
"""

import argparse
import json
from pathlib import Path

import torch
from muq import MuQ, MuQConfig
from muq.muq.modules.rvq import ResidualVectorQuantize
from safetensors.torch import save_file
from transformers import Wav2Vec2ConformerConfig


SAMPLE_RATE = 24_000  # Hz
CLIP_SECONDS = (2.0, 7.3, 10.0, 30.0)
MEL_HOP, FOLD = 240, 4  # samples per mel frame; mel frames per token
PUBLISHED_MEL_MEAN, PUBLISHED_MEL_STD = 6.768444971712967, 18.417922652295623  # dB


def published_config(
    *,
    conv_dim: int = 512,
    encoder_dim: int = 1024,
    encoder_depth: int = 12,
    num_heads: int = 16,
    intermediate_size: int = 4096,
    num_codebooks: int = 8,
    head_size: int = 8192,
    mel_mean: float = PUBLISHED_MEL_MEAN,
    mel_std: float = PUBLISHED_MEL_STD,
    pos_conv_size: int = 128,
    pos_conv_groups: int = 16,
) -> MuQConfig:
    """The published `config.json` as muq's dataclass; by default with the published sizes."""
    conformer = Wav2Vec2ConformerConfig(
        hidden_size=encoder_dim,
        intermediate_size=intermediate_size,
        num_attention_heads=num_heads,
        num_hidden_layers=24,  # as published: `encoder_depth` overrides it
        hidden_act="swish",
        conv_depthwise_kernel_size=31,
        position_embeddings_type="rotary",
        rotary_embedding_base=10_000,
        layer_norm_eps=1e-5,
        hidden_dropout=0.1,
        activation_dropout=0.1,
        attention_dropout=0.1,
        conformer_conv_dropout=0.1,
        layerdrop=0.0,
        num_conv_pos_embeddings=pos_conv_size,
        num_conv_pos_embedding_groups=pos_conv_groups,
    )
    return MuQConfig(
        label_rate=25,
        num_codebooks=1,
        codebook_dim=16,
        codebook_size=head_size,
        features=["melspec_2048"],
        hop_length=MEL_HOP,
        n_mels=128,
        conv_dim=conv_dim,
        encoder_dim=encoder_dim,
        encoder_depth=encoder_depth,
        mask_hop=0.4,
        mask_prob=0.6,
        is_flash=False,
        stat={"melspec_2048_cnt": 14_282_760_192, "melspec_2048_mean": mel_mean, "melspec_2048_std": mel_std},
        w2v2_config=json.loads(conformer.to_json_string(use_diff=False)),
        use_rvq_target=True,
        rvq_n_codebooks=num_codebooks,
        rvq_multi_layer_num=1,
    )


def build_published(config: MuQConfig, seed: int) -> MuQ:
    """muq's model with random weights and perturbed normalisation statistics, in eval mode.

    muq fixes 1,024 codes a codebook; a smaller head gets a smaller quantizer of muq's own class in its place.
    """
    model = MuQ(config)
    num_codes = config.codebook_size // config.rvq_n_codebooks
    if num_codes != 1024:
        model.model.rvq = ResidualVectorQuantize(
            input_dim=config.n_mels * FOLD,
            n_codebooks=config.rvq_n_codebooks,
            codebook_size=num_codes,
            codebook_dim=16,
        )
    randomise(model, torch.Generator().manual_seed(seed))
    return model.eval()


@torch.no_grad()
def randomise(module: torch.nn.Module, generator: torch.Generator) -> None:
    """Fill every parameter and running statistic so that none equals its initial value and signals keep their scale."""

    def normal(tensor, std, mean=0.0):
        tensor.copy_(torch.empty(tensor.shape).normal_(mean, std, generator=generator))

    def uniform(tensor, low, high):
        tensor.copy_(torch.empty(tensor.shape).uniform_(low, high, generator=generator))

    for name, tensor in sorted({**dict(module.named_parameters()), **dict(module.named_buffers())}.items()):
        role = name.rpartition(".")[2]
        if role in ("inv_freq", "num_batches_tracked", "position_ids", "token_type_ids", "gamma", "beta"):
            continue  # computed, not learned
        if role == "stale_counter":
            tensor.copy_(torch.randint(0, 90, tensor.shape, generator=generator).float())
        elif role == "running_var" or role in ("weight_g", "original0"):
            uniform(tensor, 0.5, 2.0)
        elif "codebook" in name or "embeddings.weight" in name or role == "cls_token":
            normal(tensor, 1.0)
        elif tensor.ndim >= 2:
            fan_in = tensor[0].numel()
            normal(tensor, fan_in**-0.5)
        elif role in ("weight", "learned_gamma", "q_scale", "k_scale"):
            normal(tensor, 0.2, mean=1.0)
        else:  # biases and running means
            normal(tensor, 0.2)


def music_like(num_samples: int, seed: int) -> torch.Tensor:
    """[S] float32: four gliding partials with vibrato and beating, and noise; exactly representable in 16 bits."""
    generator = torch.Generator().manual_seed(seed)
    seconds = torch.arange(num_samples, dtype=torch.float64) / SAMPLE_RATE
    wave = 0.02 * torch.randn(num_samples, generator=generator, dtype=torch.float64)
    for partial in range(1, 5):
        pitch, glide, phase = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        hertz = 90 * partial * (1 + pitch)
        angle = 2 * torch.pi * (hertz * seconds + 40 * (glide - 0.5) * seconds**2 + phase)
        beat = 0.6 + 0.4 * torch.sin(2 * torch.pi * (0.5 + partial) * seconds + 6 * phase)
        wave += 0.25 / partial * beat * torch.sin(angle + 0.8 * torch.sin(2 * torch.pi * 5 * seconds))
    return (wave.clamp(-1, 1) * 32767).round().float() / 32768


@torch.no_grad()
def all_states(model: MuQ, wave: torch.Tensor) -> torch.Tensor:
    """[S] → [depth + 1, T, D]: all hidden states of one clip."""
    return torch.cat(model(wave[None], output_hidden_states=True).hidden_states)


@torch.no_grad()
def folded_mel(model: MuQ, wave: torch.Tensor) -> torch.Tensor:
    """[S] → [1, T, 512]: the tokenizer's input, from the whole tokens of the clip."""
    whole = wave[: len(wave) // (MEL_HOP * FOLD) * (MEL_HOP * FOLD)]
    muq = model.model
    return muq.rearrange(muq.normalize(muq.preprocessing(whole[None], muq.features)))["melspec_2048"]


@torch.no_grad()
def rvq_tokens(rvq: ResidualVectorQuantize, vectors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[1, T, 512] → Mel-RVQ tokens [T, K] int64, and by how much of a cosine each beat the second code [T, K]."""
    residual, tokens, margins = vectors.transpose(1, 2), [], []
    for step in rvq.quantizers:
        latents = torch.nn.functional.normalize(step.in_proj(residual), dim=1)
        codebook = torch.nn.functional.normalize(step.codebook.weight, dim=1)
        best = torch.einsum("bdt,kd->btk", latents, codebook).topk(2, dim=-1).values[0]
        decoded, _, _, chosen, _ = step(residual)
        residual = residual - decoded
        tokens.append(chosen[0])
        margins.append(best[:, 0] - best[:, 1])
    tokens = torch.stack(tokens, dim=-1)
    assert torch.equal(tokens, rvq(vectors.transpose(1, 2))[1][0].T)
    return tokens, torch.stack(margins, dim=-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write, about 1.4 GB")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    model = build_published(published_config(), args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for seconds in CLIP_SECONDS:
        wave = music_like(int(seconds * SAMPLE_RATE), seed=args.seed + int(10 * seconds))
        tensors[f"{seconds:g}.wave"] = wave
        tensors[f"{seconds:g}.states"] = all_states(model, wave)
        tokens, margins = rvq_tokens(model.model.rvq, folded_mel(model, wave))
        tensors[f"{seconds:g}.tokens"], tensors[f"{seconds:g}.token_margins"] = tokens, margins
    save_file(tensors, args.out / "states.safetensors")
    model.save_pretrained(args.out / "published")
    print(f"wrote {args.out} ({sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters)")


if __name__ == "__main__":
    main()
