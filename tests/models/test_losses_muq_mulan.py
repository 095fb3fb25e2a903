"""The contrastive losses against their formula, the published package, and themselves over two processes."""

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from checks import ASSETS
from contrastive_worker import train_step, training_inputs
from mulan_models import tiny_model
from safetensors.torch import load_file

from muq_hf.models.losses_muq_mulan import contrastive_loss, gather_rows


def unit_rows(num_rows, seed, size=8):
    rows = torch.randn(num_rows, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=-1)


def loss_by_formula(audio, text, scale, decoupled, same):
    """The definition, pair by pair, in float64. same: [N, N], whether two pairs are the same track or caption."""
    N, total = len(audio), 0.0
    for i in range(N):
        negatives = [j for j in range(N) if (j == i and not decoupled) or (j != i and not same[i, j])]
        if not negatives:
            continue
        positive = scale * audio[i] @ text[i]
        rows = np.log(sum(np.exp(scale * audio[i] @ text[j]) for j in negatives))
        columns = np.log(sum(np.exp(scale * audio[j] @ text[i]) for j in negatives))
        total += 0.5 * (rows + columns) - positive
    return total / N


@pytest.mark.parametrize("kind", ["decoupled", "softmax"])
@pytest.mark.parametrize("with_duplicates", [False, True])
def test_loss_is_the_formula(kind, with_duplicates):
    audio, text = unit_rows(6, 0), unit_rows(6, 1)
    audio_ids = torch.tensor([0, 1, 2, 2, 4, 5]) if with_duplicates else None
    text_ids = torch.tensor([7, 7, 8, 9, 7, 6]) if with_duplicates else None
    same = np.zeros((6, 6), bool)
    for ids in (audio_ids, text_ids):
        if ids is not None:
            same |= ids.numpy()[:, None] == ids.numpy()
    loss = contrastive_loss(audio, text, torch.tensor(np.log(7.0)), kind, audio_ids, text_ids)
    expected = loss_by_formula(audio.numpy(), text.numpy(), 7.0, kind == "decoupled", same)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("kind", "name"), [("decoupled", "decoupled"), ("softmax", "coupled")])
def test_loss_and_gradients_are_the_published_ones(kind, name):
    golden = load_file(ASSETS / "mulan_contrast.safetensors")
    inputs = [golden[key].clone().requires_grad_() for key in ("audio_embeds", "text_embeds", "log_scale")]
    loss = contrastive_loss(*inputs, kind)
    torch.testing.assert_close(loss, golden[f"{name}.loss"], atol=1e-5, rtol=0)
    gradients = torch.autograd.grad(loss, inputs)
    for gradient, key in zip(gradients, ("audio_embeds", "text_embeds", "log_scale"), strict=True):
        torch.testing.assert_close(gradient, golden[f"{name}.grad.{key}"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["decoupled", "softmax"])
def test_swapping_music_and_text_changes_nothing(kind):
    audio, text, scale = unit_rows(5, 0), unit_rows(5, 1), torch.tensor(2.0)
    assert contrastive_loss(audio, text, scale, kind).item() == pytest.approx(contrastive_loss(text, audio, scale, kind).item())


@pytest.mark.parametrize("kind", ["decoupled", "softmax"])
def test_both_directions_are_trained(kind):
    """One direction alone would pull apart the rows only, or the columns only, of the similarities."""
    similarity_gradient = []

    def loss_of(similarity):  # with identity as the music, the text's columns are the similarities
        return contrastive_loss(torch.eye(4), similarity.T, torch.tensor(0.0), kind)

    similarity = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    similarity_gradient = torch.autograd.functional.jacobian(loss_of, similarity)
    rows = torch.softmax(similarity.masked_fill(torch.eye(4).bool(), -torch.inf) if kind == "decoupled" else similarity, dim=1)
    columns = torch.softmax(similarity.masked_fill(torch.eye(4).bool(), -torch.inf) if kind == "decoupled" else similarity, dim=0)
    torch.testing.assert_close(similarity_gradient, (0.5 * (rows + columns) - torch.eye(4)) / 4, atol=1e-6, rtol=1e-4)


def test_pairs_without_negatives_give_no_loss_and_no_gradient():
    audio = unit_rows(3, 0).requires_grad_()
    loss = contrastive_loss(audio, unit_rows(3, 1), torch.tensor(1.0), text_ids=torch.zeros(3))
    loss.backward()
    assert loss.item() == 0 and torch.equal(audio.grad, torch.zeros_like(audio))


def test_loss_is_float32_under_autocast():
    audio, text = (unit_rows(8, seed).float() for seed in (0, 1))
    scale = torch.tensor(2.0)
    with torch.autocast("cpu", torch.bfloat16):
        loss = contrastive_loss(audio, text, scale)
    assert torch.equal(loss, contrastive_loss(audio, text, scale))


def test_a_single_pair_is_refused():
    with pytest.raises(ValueError, match="at least two pairs"):
        contrastive_loss(unit_rows(1, 0), unit_rows(1, 1), torch.tensor(1.0))


def test_gathering_in_one_process_is_the_identity():
    rows = unit_rows(3, 0)
    assert gather_rows(rows) is rows


@pytest.mark.slow
def test_two_processes_equal_one_of_double_batch(tmp_path):
    mp.spawn(train_step, args=(2, tmp_path / "rendezvous", tmp_path / "result.pt"), nprocs=2)
    loss, gradients = torch.load(tmp_path / "result.pt")
    model = tiny_model()
    expected = model(**training_inputs(), return_loss=True).loss
    expected.backward()
    torch.testing.assert_close(loss, expected.detach(), atol=1e-5, rtol=0)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, atol=1e-5, rtol=1e-4, msg=name)
