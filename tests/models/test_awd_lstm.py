from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from textxfer.kernels import PlainLSTM, lstm_reference
from textxfer.models import AWDLSTM, AWDLSTMConfig

T, B, V = 9, 4, 30
CONFIG = AWDLSTMConfig(vocab=V, embed=6, hidden=10, layers=3)
PLAIN = CONFIG.scaled(0.0)


def words(steps: int = T) -> Tensor:
    return torch.randint(2, V, (steps, B))


def torch_stack(encoder: AWDLSTM) -> list[nn.LSTM]:
    stack = []
    for lstm in encoder.lstms:
        layer = nn.LSTM(lstm.input_size, lstm.hidden_size)
        layer.load_state_dict({f"{name}_l0": value for name, value in lstm.state_dict().items()})
        stack.append(layer)
    return stack


def test_config_survives_json() -> None:
    config = replace(CONFIG, tie=False, dropout_weight=0.37)
    assert AWDLSTMConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_config_refuses_unknown_keys_and_lists_known_ones() -> None:
    with pytest.raises(ValueError, match="has no dropuot_embed; it has vocab, embed"):
        AWDLSTMConfig.from_dict({"vocab": 3, "dropuot_embed": 0.1})


@pytest.mark.parametrize(
    "field, value",
    [("vocab", 0), ("hidden", 0), ("layers", 0), ("dropout_embed", 1.0), ("dropout_output", -0.1), ("pad_id", 30)],
)
def test_config_refuses_nonsense(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        AWDLSTMConfig.from_dict({**CONFIG.to_dict(), field: value})


def test_scaled_multiplies_all_dropouts_and_stays_below_one() -> None:
    half = CONFIG.scaled(0.5)
    assert (half.dropout_embed, half.dropout_input, half.dropout_hidden) == (0.01, 0.125, 0.075)
    assert (half.dropout_weight, half.dropout_output, half.hidden) == (0.1, 0.05, CONFIG.hidden)
    assert max(v for k, v in CONFIG.scaled(100).to_dict().items() if k.startswith("dropout")) < 1
    with pytest.raises(ValueError, match="factor"):
        CONFIG.scaled(-1)


@pytest.mark.parametrize("layers, sizes", [(1, [(6, 6)]), (2, [(6, 10), (10, 6)]), (3, [(6, 10), (10, 10), (10, 6)])])
def test_last_layer_has_the_size_of_the_embedding(layers: int, sizes: list[tuple[int, int]]) -> None:
    config = replace(CONFIG, layers=layers)
    assert config.sizes == sizes
    assert AWDLSTM(config)(words()).raw.shape == (T, B, 6)


def test_initial_embedding_is_uniform() -> None:
    weight = AWDLSTM(replace(CONFIG, vocab=5000)).embedding.weight
    assert 0.099 < weight.abs().max() <= 0.1
    assert abs(weight.mean()) < 1e-3


@pytest.mark.parametrize("training", [True, False])
def test_without_dropout_equals_torch_lstms(training: bool) -> None:
    encoder = AWDLSTM(PLAIN).train(training)
    ids = words()
    expected = encoder.embedding(ids)
    states = []
    for layer in torch_stack(encoder):
        expected, (h, c) = layer(expected)
        states.append((h[0], c[0]))
    out = encoder(ids)
    torch.testing.assert_close(out.raw, expected, rtol=0, atol=1e-6)
    assert out.dropped is out.raw
    torch.testing.assert_close(out.hidden, states, rtol=0, atol=1e-6)


def test_dropouts_act_where_the_paper_puts_them() -> None:
    encoder = AWDLSTM(AWDLSTMConfig(V, 6, 10, 3, 0.3, 0.4, 0.5, 0.2, 0.4))
    ids = words()
    draw = encoder.draw(B)
    assert draw.embed is not None and draw.input is not None
    x = encoder.embedding.weight[ids] * draw.embed[ids] * draw.input
    raw = x
    for prepared, mask in zip(draw.weights, draw.hidden):
        assert isinstance(prepared, PlainLSTM)
        size = prepared.weights.w_hh.shape[1]
        raw, _ = lstm_reference(x, (torch.zeros(B, size), torch.zeros(B, size)), *prepared.weights)
        assert mask is not None and mask.shape == (1, B, size)
        x = raw * mask
    out = encoder(ids, None, draw)
    torch.testing.assert_close(out.raw, raw, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(out.dropped, x, rtol=1e-5, atol=1e-6)


def test_each_mask_has_the_dropout_of_its_name() -> None:
    encoder = AWDLSTM(AWDLSTMConfig(V, 6, 10, 3, 0.1, 0.2, 0.3, 0.4, 0.5))
    draw = encoder.draw(50)
    # What is kept is multiplied by 1 / (1 - p).
    largest = [float(mask.max()) for mask in (draw.embed, draw.input, *draw.hidden) if mask is not None]
    assert largest == pytest.approx([1 / 0.9, 1 / 0.8, 1 / 0.7, 1 / 0.7, 1 / 0.5])
    for prepared, lstm in zip(draw.weights, encoder.lstms):
        assert isinstance(prepared, PlainLSTM)
        assert (prepared.weights.w_hh / lstm.weight_hh).max().item() == pytest.approx(1 / 0.6)


def only(**dropouts: float) -> AWDLSTM:
    return AWDLSTM(replace(PLAIN, **dropouts))


def test_a_dropped_word_is_dropped_everywhere() -> None:
    encoder = only(dropout_embed=0.5)
    ids = torch.arange(2, V).repeat(2, 3)
    draw = encoder.draw(ids.shape[1])
    gone = (encoder.embed(ids, draw) == 0).all(dim=-1)
    first = gone[:, : V - 2]
    assert torch.equal(gone, first[:1].expand(2, -1).repeat(1, 3))
    assert 0 < first[0].sum() < V - 2
    kept = ~gone
    torch.testing.assert_close(encoder.embed(ids, draw)[kept], 2 * encoder.embedding(ids)[kept])


def test_input_and_output_masks_are_the_same_at_every_step_but_not_for_every_row() -> None:
    encoder = only(dropout_input=0.5)
    zero = encoder.embed(words(), encoder.draw(B)) == 0
    assert torch.equal(zero, zero[:1].expand_as(zero))
    assert not torch.equal(zero[:, 0], zero[:, 1])
    out = only(dropout_output=0.5)(words())
    zero = out.dropped == 0
    assert torch.equal(zero, zero[:1].expand_as(zero))
    assert 0 < zero.sum() < zero.numel()
    torch.testing.assert_close(out.dropped[~zero], 2 * out.raw[~zero])


def test_evaluation_draws_nothing_and_copies_nothing() -> None:
    encoder = AWDLSTM(CONFIG).eval()
    ids, before = words(), torch.get_rng_state()
    draw = encoder.draw(B)
    encoder(ids)
    assert torch.equal(torch.get_rng_state(), before)
    assert draw.embed is draw.input is None and set(draw.hidden) == {None}
    for prepared, lstm in zip(draw.weights, encoder.lstms):
        assert isinstance(prepared, PlainLSTM) and prepared.weights.w_hh is lstm.weight_hh


def test_two_halves_equal_the_whole() -> None:
    encoder = AWDLSTM(CONFIG)
    ids, draw = words(), encoder.draw(B)
    whole = encoder(ids, None, draw)
    first = encoder(ids[:4], None, draw)
    second = encoder(ids[4:], first.hidden, draw)
    torch.testing.assert_close(torch.cat([first.dropped, second.dropped]), whole.dropped)
    torch.testing.assert_close(second.hidden, whole.hidden)


def test_rows_do_not_influence_each_other() -> None:
    encoder = AWDLSTM(CONFIG)
    ids, draw = words(), encoder.draw(B)
    whole, part = encoder(ids, None, draw).dropped, encoder(ids[:, 1:3], None, draw.rows(1, 3)).dropped
    torch.testing.assert_close(part, whole[:, 1:3])
    encoder.eval()
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(encoder(ids[:, order]).raw, encoder(ids).raw[:, order])


def test_the_call_does_not_change_the_state_it_was_given() -> None:
    encoder = AWDLSTM(CONFIG)
    state = encoder(words()).hidden
    copy = [(h.clone(), c.clone()) for h, c in state]
    encoder(words(), state)
    torch.testing.assert_close(state, copy, rtol=0, atol=0)


def test_a_state_of_other_size_is_refused() -> None:
    encoder = AWDLSTM(CONFIG)
    state = encoder(words()).hidden
    with pytest.raises(ValueError, match="3 layers and 4 rows, but the encoder has 3 layers and the batch 2 rows"):
        encoder(words()[:, :2], state)
    with pytest.raises(ValueError, match="2 layers"):
        encoder(words(), state[:2])


def test_padding_is_not_trained_as_an_input() -> None:
    encoder = AWDLSTM(PLAIN)
    ids = words()
    ids[3, 1] = CONFIG.pad_id
    encoder(ids).raw.sum().backward()
    grad = encoder.embedding.weight.grad
    assert grad is not None and not grad[CONFIG.pad_id].any() and grad[ids[0, 0]].any()


def test_bfloat16_stays_close_to_float32() -> None:
    encoder = AWDLSTM(replace(CONFIG, embed=32, hidden=64, dropout_weight=0.0))
    ids, draw = words(), encoder.draw(B)
    expected = encoder(ids, None, draw)
    for module in [encoder, *encoder.lstms]:
        module.compute_dtype = torch.bfloat16
    out = encoder(ids, None, replace(draw, weights=encoder.draw(B).weights))
    assert out.raw.dtype == out.dropped.dtype == torch.bfloat16
    assert all(s.dtype == torch.float32 for layer in out.hidden for s in layer)
    scale = expected.raw.abs().max()
    assert (out.raw - expected.raw).abs().max() < 0.02 * scale
    assert (out.hidden[-1][1] - expected.hidden[-1][1]).abs().max() < 0.02 * expected.hidden[-1][1].abs().max()
