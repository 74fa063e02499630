from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import nn

from textxfer.models import AWDLSTMConfig, LanguageModel, token_loss

T, B, V = 9, 4, 30
CONFIG = AWDLSTMConfig(vocab=V, embed=6, hidden=10, layers=3)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(V, (T, B)), torch.randint(V, (T, B))


def set_compute_dtype(model: nn.Module, dtype: torch.dtype | None) -> None:
    for module in model.modules():
        if hasattr(module, "compute_dtype"):
            setattr(module, "compute_dtype", dtype)  # noqa: B010  any module


def test_logits_are_the_dropped_states_times_the_embedding() -> None:
    model = LanguageModel(CONFIG)
    assert model.decoder_bias is not None
    nn.init.normal_(model.decoder_bias)
    out = model(batch()[0])
    expected = out.dropped @ model.encoder.embedding.weight.T + model.decoder_bias
    torch.testing.assert_close(out.logits, expected)
    assert out.logits.shape == (T, B, V) and len(out.hidden) == 3
    assert not torch.equal(out.raw, out.dropped)


def test_tied_weight_stands_once_on_disk() -> None:
    model = LanguageModel(CONFIG)
    assert "decoder_weight" not in model.state_dict()
    copy = LanguageModel(CONFIG)
    copy.load_state_dict(load(save(model.state_dict())))
    ids, _ = batch()
    assert torch.equal(copy.eval()(ids).logits, model.eval()(ids).logits)


def test_bias_starts_at_zero() -> None:
    bias = LanguageModel(CONFIG).decoder_bias
    assert bias is not None and not bias.any()


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_groups_hold_every_parameter_once(tie: bool, bias: bool) -> None:
    model = LanguageModel(replace(CONFIG, tie=tie, bias=bias))
    groups = model.layer_groups()
    assert [name for name, _ in groups] == ["lstm1", "lstm2", "lstm3", "decoder"]
    listed = [id(p) for _, params in groups for p in params]
    assert sorted(listed) == sorted(id(p) for p in model.parameters())
    assert len(groups[-1][1]) == 1 + bias + (not tie)
    out = model(batch()[0])
    out.logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_token_loss_equals_the_formula() -> None:
    logits, target = torch.randn(T, B, V), batch()[1]
    target[2:5, 1] = -100
    losses = [
        -torch.log(logits[t, b].exp() / logits[t, b].exp().sum())[target[t, b]]
        for t in range(T)
        for b in range(B)
        if target[t, b] != -100
    ]
    torch.testing.assert_close(token_loss(logits, target), torch.stack(losses).mean())


def test_token_loss_of_nothing_is_zero() -> None:
    assert token_loss(torch.randn(T, B, V), torch.full((T, B), -100)).item() == 0


def test_token_loss_of_low_precision_is_computed_in_float32() -> None:
    logits, target = torch.randn(T, B, V).bfloat16(), batch()[1]
    loss = token_loss(logits, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, F.cross_entropy(logits.float().flatten(0, 1), target.flatten()))


def test_a_stream_in_two_windows_equals_one() -> None:
    model = LanguageModel(CONFIG).eval()
    ids, _ = batch()
    first = model(ids[:5])
    second = model(ids[5:], first.hidden)
    torch.testing.assert_close(torch.cat([first.logits, second.logits]), model(ids).logits)


def test_bfloat16_trains_like_float32() -> None:
    config = replace(CONFIG, embed=32, hidden=64).scaled(0.0)
    model, (ids, target) = LanguageModel(config), batch()
    grads, losses = [], []
    for dtype in (None, torch.bfloat16):
        set_compute_dtype(model, dtype)
        model.zero_grad()
        out = model(ids)
        assert out.logits.dtype == (dtype or torch.float32)
        loss = token_loss(out.logits, target)
        loss.backward()
        losses.append(loss.detach())
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(losses[1], losses[0], rtol=2e-3, atol=0)
    assert grads[1].dtype == torch.float32
    assert (grads[1] - grads[0]).norm() < 0.02 * grads[0].norm()


def test_it_learns_a_pattern() -> None:
    ids = torch.arange(20).remainder(7).add(2).view(20, 1).expand(-1, B)
    model = LanguageModel(replace(CONFIG, embed=16, layers=1).scaled(0.1))
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    losses = []
    for _ in range(60):
        loss = token_loss(model(ids[:-1]).logits, ids[1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 3 and losses[-1] < 1


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_the_loss_of_the_output_is_the_loss_of_its_logits(tie: bool, bias: bool) -> None:
    model = LanguageModel(AWDLSTMConfig(V, embed=8, hidden=12, layers=2, tie=tie, bias=bias).scaled(0))
    if model.decoder_bias is not None:
        nn.init.normal_(model.decoder_bias)
    ids, target = torch.randint(0, V, (2, T, B))
    target[0, 0] = -100
    results = []
    for loss_of in (lambda out: token_loss.of_output(out, target), lambda out: token_loss(out.logits, target)):
        loss = loss_of(model(ids))
        results.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-6)
