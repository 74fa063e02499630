from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from textxfer.models import AWDLSTMConfig, ClassifierConfig, ClassifierOutput, TextClassifier

V, E, C = 60, 6, 3
ENCODER = AWDLSTMConfig(vocab=V, embed=E, hidden=10, layers=3)
CONFIG = ClassifierConfig(classes=C, head_hidden=8, bptt=5, max_tokens=12)
LENGTHS = torch.tensor([3, 41, 17, 1, 12, 29, 17])


def documents(lengths: Tensor = LENGTHS) -> Tensor:
    ids = torch.randint(2, V, (int(lengths.max()), len(lengths)))
    ids[torch.arange(len(ids))[:, None] >= lengths] = ENCODER.pad_id
    return ids


def classifier(max_tokens: int | None = 12, bptt: int = 5, dropout: float = 1.0) -> TextClassifier:
    model = TextClassifier(ENCODER.scaled(dropout), replace(CONFIG, max_tokens=max_tokens, bptt=bptt))
    for norm in (model.head.norm_pooled, model.head.norm_hidden):
        torch.nn.init.normal_(norm.running_mean)
        torch.nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return model


def run(model: TextClassifier, ids: Tensor, lengths: Tensor, grad: bool) -> ClassifierOutput:
    with torch.set_grad_enabled(grad):
        return model(ids, lengths)


def test_config_survives_json_and_refuses_nonsense() -> None:
    assert ClassifierConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG
    with pytest.raises(ValueError, match="has no class; it has classes"):
        ClassifierConfig.from_dict({"class": 3})
    for field, value in (("classes", 0), ("bptt", 0), ("max_tokens", 0), ("dropout_head", 1.0)):
        with pytest.raises(ValueError, match=field):
            ClassifierConfig.from_dict({**CONFIG.to_dict(), field: value})


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("max_tokens", [1, 12, None])
def test_equals_the_plain_way_document_by_document(grad: bool, max_tokens: int | None) -> None:
    """Pool the states that the whole document gives in one run, and apply the head's formula."""
    model = classifier(max_tokens).eval()
    ids = documents()
    logits = run(model, ids, LENGTHS, grad).logits
    head = model.head
    for row, length in enumerate(LENGTHS.tolist()):
        states = model.encoder(ids[:length, row : row + 1]).raw[-(max_tokens or length) :, 0]
        x = torch.cat([states[-1], states.amax(dim=0), states.mean(dim=0)])
        for norm, linear in ((head.norm_pooled, head.hidden), (head.norm_hidden, head.output)):
            x = (x - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.weight + norm.bias
            x = linear(x)
            x = x.relu() if linear is head.hidden else x
        torch.testing.assert_close(logits[row], x, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("grad", [True, False])
def test_a_document_alone_gets_what_it_gets_in_a_batch(grad: bool) -> None:
    model = classifier().eval()
    ids = documents()
    together = run(model, ids, LENGTHS, grad)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = run(model, ids[:length, row : row + 1], LENGTHS[row : row + 1], grad)
        torch.testing.assert_close(alone.logits[0], together.logits[row], rtol=0, atol=1e-5)
        assert alone.lengths[0] == together.lengths[row] == min(length, 12)
        if grad:
            assert alone.raw is not None and together.raw is not None
            torch.testing.assert_close(alone.raw[:, 0], together.raw[: len(alone.raw), row], rtol=0, atol=1e-5)


@pytest.mark.parametrize("grad", [True, False])
def test_order_does_not_matter(grad: bool) -> None:
    model = classifier().eval()
    ids = documents()
    order = torch.randperm(len(LENGTHS))
    straight, permuted = run(model, ids, LENGTHS, grad), run(model, ids[:, order], LENGTHS[order], grad)
    torch.testing.assert_close(permuted.logits, straight.logits[order], rtol=0, atol=1e-6)
    assert torch.equal(permuted.lengths, straight.lengths[order])
    if grad:
        assert permuted.dropped is not None and straight.dropped is not None
        torch.testing.assert_close(permuted.dropped, straight.dropped[:, order], rtol=0, atol=1e-6)


def test_more_padding_does_not_matter() -> None:
    model = classifier().eval()
    ids = documents()
    padded = torch.cat([ids, torch.full((9, ids.shape[1]), ENCODER.pad_id)])
    torch.testing.assert_close(model(padded, LENGTHS).logits, model(ids, LENGTHS).logits, rtol=0, atol=1e-6)


def test_what_stands_in_the_padding_does_not_matter() -> None:
    model = classifier().eval()
    ids = documents()
    other = torch.where(torch.arange(len(ids))[:, None] < LENGTHS, ids, 7)
    assert torch.equal(model(other, LENGTHS).logits, model(ids, LENGTHS).logits)


def test_windows_are_invisible_in_values() -> None:
    model = classifier(bptt=5).eval()
    other = classifier(bptt=50).eval()
    other.load_state_dict(model.state_dict())
    ids = documents()
    torch.testing.assert_close(other(ids, LENGTHS).logits, model(ids, LENGTHS).logits, rtol=0, atol=1e-6)


def test_all_windows_of_a_batch_share_their_masks() -> None:
    """With the same generator state, windows of any size give the same training outputs."""
    ids = documents()
    outputs = []
    for bptt in (5, 50):
        torch.manual_seed(1)
        model = TextClassifier(ENCODER.scaled(2), replace(CONFIG, bptt=bptt, max_tokens=None))
        torch.manual_seed(2)
        outputs.append(model(ids, LENGTHS))
    torch.testing.assert_close(outputs[0].raw, outputs[1].raw)
    torch.testing.assert_close(outputs[0].logits, outputs[1].logits)
    zero = (outputs[0].dropped == 0) & (outputs[0].raw != 0)
    steps = int(LENGTHS.max())
    assert torch.equal(zero[:, 1], zero[:1, 1].expand(steps, -1)), "one output mask for all windows of a document"
    assert zero[:, 1].any()


def test_regularizers_see_each_documents_own_states() -> None:
    model = classifier(max_tokens=12, dropout=0.0).eval()
    ids = documents()
    out = model(ids, LENGTHS)
    assert out.raw is not None and out.raw.shape == (12, len(LENGTHS), E)
    for row, length in enumerate(LENGTHS.tolist()):
        kept = min(length, 12)
        expected = model.encoder(ids[:length, row : row + 1]).raw[-kept:, 0]
        torch.testing.assert_close(out.raw[:kept, row], expected, rtol=0, atol=1e-6)
        assert not out.raw[kept:, row].any()


def test_evaluation_keeps_no_states_and_training_does() -> None:
    model = classifier()
    ids = documents()
    assert run(model, ids, LENGTHS, grad=False).raw is not None, "training, frozen or not, serves the regularizers"
    model.eval()
    out = run(model, ids, LENGTHS, grad=False)
    assert out.raw is None and out.dropped is None


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-4), (torch.bfloat16, 0.1)])
def test_parameters_of_other_dtypes(dtype: torch.dtype, tolerance: float) -> None:
    model, ids = classifier(dropout=0.0), documents()
    model.head.dropout_pooled.p = model.head.dropout_hidden.p = 0.0
    # Of values that both dtypes have.
    model.to(torch.bfloat16).float()
    other = copy.deepcopy(model).to(dtype)
    for training, grad in ((False, False), (False, True), (True, True)):
        expected, found = (run(each.train(training), ids, LENGTHS, grad).logits for each in (model, other))
        assert found.dtype == dtype
        assert (found - expected).abs().max() < tolerance * expected.abs().max()
    found.square().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == dtype for p in other.parameters())
    torch.testing.assert_close(
        other.head.norm_pooled.running_mean.float(), model.head.norm_pooled.running_mean, rtol=0.02, atol=0.02
    )


def token_gradients(model: TextClassifier, lengths: list[int]) -> list[Tensor]:
    """Which tokens of each document get gradient, when every token is a word of its own."""
    total = sum(lengths)
    model = TextClassifier(replace(ENCODER, vocab=total + 2).scaled(0.0), model.config).eval()
    ids = torch.full((max(lengths), len(lengths)), 1)
    words = torch.arange(2, total + 2).split(lengths)
    for row, document in enumerate(words):
        ids[: len(document), row] = document
    model(ids, torch.tensor(lengths)).logits.square().sum().backward()
    grad = model.encoder.embedding.weight.grad
    assert grad is not None
    return [grad[document].abs().sum(dim=1) > 0 for document in words]


@pytest.mark.parametrize("lengths", [[41], [41, 29, 17, 12, 3, 1]])
def test_gradient_reaches_the_windows_that_are_kept_and_no_other(lengths: list[int]) -> None:
    bptt, max_tokens = 5, 12
    for length, reached in zip(lengths, token_gradients(classifier(max_tokens, bptt), lengths)):
        first_window = max(0, length - max_tokens) // bptt
        assert torch.equal(reached, torch.arange(length) >= first_window * bptt), f"document of {length} tokens"


def test_gradient_does_not_depend_on_the_rest_of_the_batch() -> None:
    model = classifier().eval()
    ids = documents()

    def gradient(columns: slice) -> Tensor:
        model.zero_grad()
        part = LENGTHS[columns]
        model(ids[: int(part.max()), columns], part).logits.square().sum().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    parts = gradient(slice(0, 2)) + gradient(slice(2, 3)) + gradient(slice(3, 7))
    torch.testing.assert_close(parts, gradient(slice(0, 7)), rtol=1e-4, atol=1e-6)


def test_gradient_stops_between_windows() -> None:
    """Only the last state is looked at: its gradient must not leave the last window."""
    model = classifier(max_tokens=1, bptt=5)
    reached = token_gradients(model, [13])[0]
    assert reached.tolist() == [False] * 10 + [True] * 3


def test_long_documents_do_not_make_graphs_of_their_early_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier(max_tokens=12, bptt=5)
    forward = model.encoder.forward
    recorded: dict[int, int] = {}

    def spy(ids: Tensor, *args: object) -> object:
        if torch.is_grad_enabled():
            for word in ids[0].tolist():
                recorded[word] = recorded.get(word, 0) + 1
        return forward(ids, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(model.encoder, "forward", spy)
    lengths = torch.tensor([41, 29, 17])
    ids = torch.arange(2, 5).expand(41, 3)
    model(ids, lengths)
    bound = -(-12 // 5) + 1
    assert recorded == {2: 4, 3: 3, 4: 3}
    assert max(recorded.values()) <= bound


def test_frozen_encoder_runs_without_graph_but_with_dropout() -> None:
    model = classifier(dropout=2.0)
    model.encoder.requires_grad_(False)
    ids = documents()
    out = model(ids, LENGTHS)
    assert out.raw is not None and not out.raw.requires_grad and out.logits.requires_grad
    assert not torch.equal(out.raw, model(ids, LENGTHS).raw)
    out.logits.sum().backward()
    assert all((p.grad is not None) == name.startswith("head") for name, p in model.named_parameters())


def test_partly_frozen_encoder_trains_the_rest() -> None:
    model = classifier()
    groups = model.layer_groups()
    for _, params in groups[:3]:
        for p in params:
            p.requires_grad_(False)
    model(documents(), LENGTHS).logits.sum().backward()
    trained = [all(p.grad is not None for p in params) for _, params in groups]
    assert trained == [False, False, False, True, True]


def test_groups_hold_every_parameter_once() -> None:
    model = classifier()
    groups = model.layer_groups()
    assert [name for name, _ in groups] == ["embedding", "lstm1", "lstm2", "lstm3", "head"]
    assert sorted(id(p) for _, params in groups for p in params) == sorted(id(p) for p in model.parameters())


def test_features_are_what_the_head_sees() -> None:
    model = classifier().eval()
    ids = documents()
    features = model.features(ids, LENGTHS)
    assert features.shape == (len(LENGTHS), 3 * E)
    torch.testing.assert_close(model.head(features), model(ids, LENGTHS).logits)


@pytest.mark.parametrize("grad", [True, False])
def test_bfloat16_stays_close_to_float32(grad: bool) -> None:
    model = classifier().eval()
    ids = documents()
    expected = run(model, ids, LENGTHS, grad).logits
    for module in model.modules():
        if hasattr(module, "compute_dtype"):
            setattr(module, "compute_dtype", torch.bfloat16)  # noqa: B010  any module
    out = run(model, ids, LENGTHS, grad)
    assert out.logits.dtype == torch.float32
    torch.testing.assert_close(out.logits, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    "lengths, message",
    [([3, 0], "row 1 has length 0"), ([3, 42], "row 1 has length 42; lengths must be from 1 to 41"), ([3], "2 doc")],
)
def test_impossible_lengths_are_refused(lengths: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classifier()(documents()[:, :2], torch.tensor(lengths))
