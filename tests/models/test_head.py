from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from textxfer.models.head import ClassifierHead, HeadNorm

B, FEATURES, C = 12, 5, 3


def test_training_output_and_gradient_are_torchs() -> None:
    ours, torchs = HeadNorm(FEATURES), nn.BatchNorm1d(FEATURES)
    nn.init.normal_(ours.weight)
    torchs.load_state_dict(ours.state_dict())
    x, factor = torch.randn(B, FEATURES), torch.randn(B, FEATURES)
    results = []
    for norm in (ours, torchs):
        leaf = x.clone().requires_grad_()
        y = norm(leaf)
        (y * factor).sum().backward()
        results.append((y, leaf.grad, norm.weight.grad, norm.bias.grad))
    torch.testing.assert_close(results[0], results[1])


def test_running_statistics_are_the_mean_of_the_first_ten_batches_then_running() -> None:
    norm = HeadNorm(FEATURES)
    batches = [0.01 * torch.randn(B, FEATURES) + 3 for _ in range(14)]
    for batch in batches[:10]:
        norm(batch)
    mean = torch.stack([batch.mean(dim=0) for batch in batches[:10]]).mean(dim=0)
    variance = torch.stack([batch.var(dim=0) for batch in batches[:10]]).mean(dim=0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)
    torchs = nn.BatchNorm1d(FEATURES)
    torchs.load_state_dict(norm.state_dict())
    for batch in batches[10:]:
        norm(batch)
        torchs(batch)
    torch.testing.assert_close(norm.state_dict(), torchs.state_dict())


def test_evaluation_after_one_batch_is_what_training_saw() -> None:
    norm, x = HeadNorm(FEATURES), 0.01 * torch.randn(B, FEATURES)
    trained = norm(x)
    # Torch's running variance is that of the population, with B - 1.
    torch.testing.assert_close(norm.eval()(x), trained * ((B - 1) / B) ** 0.5, rtol=0, atol=0.1)
    assert (nn.BatchNorm1d(FEATURES).eval()(x) - trained).abs().max() > 1


def test_evaluation_changes_nothing() -> None:
    norm = HeadNorm(FEATURES)
    norm(torch.randn(B, FEATURES))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    norm.eval()(torch.randn(B, FEATURES))
    torch.testing.assert_close(norm.state_dict(), before, rtol=0, atol=0)


def test_a_training_batch_of_one_uses_running_statistics_and_trains() -> None:
    head = ClassifierHead(FEATURES, 4, C, dropout_pooled=0.0, dropout_head=0.0)
    head(torch.randn(B, FEATURES))
    before = {name: value.clone() for name, value in head.state_dict().items()}
    x = torch.randn(1, FEATURES)
    trained = head(x)
    torch.testing.assert_close(head.state_dict(), before, rtol=0, atol=0)
    trained.sum().backward()
    assert all(p.grad is not None for p in head.parameters())
    torch.testing.assert_close(head.eval()(x), trained)


def test_head_is_the_papers() -> None:
    head = ClassifierHead(FEATURES, 4, C, dropout_pooled=0.4, dropout_head=0.1)
    assert (head.hidden.in_features, head.hidden.out_features, head.output.out_features) == (FEATURES, 4, C)
    x = torch.randn(B, FEATURES)
    state = torch.get_rng_state()
    logits = head(x)
    torch.set_rng_state(state)
    hidden = head.hidden(F.dropout(F.batch_norm(x, None, None, training=True), 0.4)).relu()
    expected = head.output(F.dropout(F.batch_norm(hidden, None, None, training=True), 0.1))
    torch.testing.assert_close(logits, expected)
