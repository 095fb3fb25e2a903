"""Goldens of the two training stages: masked prediction (stage 2) and the Mel-RVQ (stage 1)."""

from unittest import mock

import torch
from muq.muq.modules.rvq import ResidualVectorQuantize

from benchmarks.oracle_worker import folded_mel, music_like, randomise
from tests.oracle.assets import ASSETS, save


PRETRAINING_SAMPLES = 31_680  # three blocks of 0.4 s and a tail of 0.12 s; 33 tokens
PRETRAINING_OFFSETS = (0, 18_240)  # of the two items within the stored clip of 50,011 samples
BLOCK_SAMPLES, NOISE_STD = 9600, 0.1
FIRST_PARAMETER = "conv.conv.0.conv1.weight"
CHECKED_PARAMETERS = (
    FIRST_PARAMETER,
    "conv.conv.1.bn2.weight",
    "conv.linear.bias",
    "conformer.layers.1.self_attn.linear_q.weight",
    "conformer.layers.1.self_attn.linear_v.bias",
    "conformer.layers.1.conv_module.depthwise_conv.weight",
    "conformer.layers.2.ffn2.output_dense.bias",
    "conformer.layer_norm.weight",
    "linear.weight",
    "linear.bias",
)


def write_pretraining_golden(model) -> None:
    """muq's own unchanged forward, with labels given (its path for iterated training) and its random draws recorded.

    The labels are the tokens of the clean audio from its own quantizer: the published `tokenize` asks for 1,024 codes
    a codebook, and this model has 64. Dropout probabilities are zero; batch norm is in train mode.
    """
    source = music_like(50_011, seed=50_011)
    waves = torch.stack([source[start : start + PRETRAINING_SAMPLES] for start in PRETRAINING_OFFSETS])
    with torch.no_grad():
        vectors = torch.cat([folded_mel(model, wave) for wave in waves])  # [B, T, 512]
        codes = model.model.rvq(vectors.transpose(1, 2))[1]  # [B, K, T]

    generator = torch.Generator().manual_seed(10)
    draws = {}

    def rand(*shape, **_):
        """The mask draw, and LayerDrop's (probability 0), which does not matter."""
        values = torch.empty(shape[0] if isinstance(shape[0], (list, tuple)) else shape).uniform_(generator=generator)
        draws.setdefault("mask", values)
        return values

    def randn(count, dtype):
        draws["noise"] = torch.empty(count).normal_(generator=generator).half()  # half, so that storing it is exact
        return draws["noise"].to(dtype)

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    statistics = {name: tensor.clone() for name, tensor in model.named_buffers()}
    model.train()
    with mock.patch("torch.rand", rand), mock.patch("torch.randn", randn):
        logits, _, losses, accuracies = model.model(waves, label=codes)
    losses["melspec_2048"].backward()

    block_mask = draws["mask"] < model.config.mask_prob  # [B, blocks]
    sample_mask = block_mask.repeat_interleave(BLOCK_SAMPLES, dim=1)
    unit_noise = torch.zeros(waves.shape, dtype=torch.half)
    unit_noise[:, : sample_mask.shape[1]][sample_mask] = draws["noise"]
    assert block_mask.any(dim=1).all() and not block_mask.all()
    parameters = dict(model.model.named_parameters())
    assert all(tensor.grad is None for name, tensor in parameters.items() if name.startswith("rvq."))
    tensors = {
        "offsets": torch.tensor(PRETRAINING_OFFSETS),
        "block_mask": block_mask,
        "unit_noise": unit_noise,  # [B, S]; what replaces a masked sample is float32(this) · 0.1
        "targets": codes.transpose(1, 2),  # [B, T, K]
        "logits": logits["melspec_2048"][0],  # [T, K · V] of the first item
        "loss": losses["melspec_2048"],
        "accuracy": accuracies["melspec_2048"],
        "running_mean": dict(model.model.named_buffers())["conv.conv.0.bn1.running_mean"],  # after this one step
    }
    tensors |= {f"grad.{name}": parameters[name].grad for name in CHECKED_PARAMETERS}
    save(tensors, ASSETS / "pretraining.safetensors")

    model.zero_grad(set_to_none=True)
    for name, tensor in model.named_buffers():
        tensor.copy_(statistics[name])
    model.eval()


def write_rvq_golden() -> None:
    """One training step of muq's residual quantizer, and what its counters of unused codes do over three more."""
    rvq = ResidualVectorQuantize(input_dim=48, n_codebooks=4, codebook_size=32, codebook_dim=16, stale_tolerance=3)
    generator = torch.Generator().manual_seed(4)
    randomise(rvq, generator)
    for step in rvq.quantizers:
        step.stale_counter.zero_()
    vectors = torch.empty(3, 48, 20).normal_(generator=generator)  # [B, D, T]
    tensors = {f"weights.{name}": tensor.clone() for name, tensor in rvq.state_dict().items()}

    rvq.train()
    quantized, codes, latents, commitment, codebook, _ = rvq(vectors)
    for step in rvq.quantizers:  # the weight-normed product is what an implementation without weight norm holds
        step.in_proj.weight.retain_grad()
        step.out_proj.weight.retain_grad()
    loss = rvq.get_loss(vectors, quantized, commitment, codebook)
    loss.backward()
    tensors |= {
        "vectors": vectors.transpose(1, 2),  # [B, T, D]
        "codes": codes.transpose(1, 2),  # [B, T, K]
        "quantized": quantized.transpose(1, 2),
        "latents": latents.transpose(1, 2),  # [B, T, K · 16], before the lookup
        "commitment_loss": commitment,
        "codebook_loss": codebook,
        "reconstruction_loss": (vectors - quantized).abs().mean(),
        "loss": loss,
    }
    for index in (0, len(rvq.quantizers) - 1):
        step = rvq.quantizers[index]
        for name in ("in_proj", "out_proj"):
            projection = getattr(step, name)
            tensors[f"effective.{index}.{name}.weight"] = projection.weight[..., 0]
            tensors[f"grad.{index}.{name}.weight"] = projection.weight.grad[..., 0]
            tensors[f"grad.{index}.{name}.weight_g"] = projection.weight_g.grad
            tensors[f"grad.{index}.{name}.weight_v"] = projection.weight_v.grad
            tensors[f"grad.{index}.{name}.bias"] = projection.bias.grad
        tensors[f"grad.{index}.codebook.weight"] = step.codebook.weight.grad

    tensors["stale_counters.1"] = torch.stack([step.stale_counter for step in rvq.quantizers])
    torch.manual_seed(8)  # muq picks the replacing inputs with torch's own generator
    for count in (2, 3):
        with torch.no_grad():
            rvq(vectors)
        tensors[f"stale_counters.{count}"] = torch.stack([step.stale_counter for step in rvq.quantizers])
    tensors["codebooks_after_3"] = torch.stack([step.codebook.weight for step in rvq.quantizers])
    save(tensors, ASSETS / "rvq_training.safetensors")
