"""Defects 29 to 33 and 38 of fastai 2.8.12: what is computed for tokens, documents and generated words.

A test's docstring says what fastai does, and where; the test fails on that behaviour.
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.callbacks.toys import lm_batch, lm_learner
from textxfer.callbacks import ActivationReg, TemporalReg
from textxfer.generation import Sampling, continue_ids, generate
from textxfer.kernels.lstm_cudnn import CudnnLSTM
from textxfer.models import AWDLSTMConfig, ClassifierConfig, LanguageModel, TextClassifier, WeightDropLSTM, token_loss
from textxfer.presets import SMALL
from textxfer.text import ClassBatches, RulesTokenizer, Vocab
from textxfer.training import Perplexity

V, E = 40, 6
ENCODER = AWDLSTMConfig(vocab=V, embed=E, hidden=10, layers=2).scaled(0)
LENGTHS = torch.tensor([3, 23, 1, 12, 17])
TOKENIZER = RulesTokenizer()
VOCAB = Vocab([*TOKENIZER.specials, *(f"w{i}" for i in range(V - len(TOKENIZER.specials)))])


def classifier(bptt: int = 5) -> TextClassifier:
    torch.manual_seed(0)
    return TextClassifier(ENCODER, ClassifierConfig(classes=3, bptt=bptt, max_tokens=None)).eval()


def documents() -> Tensor:
    """Documents of the lengths above, padded behind, (T, B)."""
    ids = torch.randint(2, V, (int(LENGTHS.max()), len(LENGTHS)))
    ids[torch.arange(len(ids))[:, None] >= LENGTHS] = ENCODER.pad_id
    return ids


def test_defect_29_perplexity_counts_tokens() -> None:
    """learner.py:505-513, metrics.py:448 weight batches by their rows: a last window of one token counts in full."""
    windows = [lm_batch(time=9), lm_batch(time=1, seed=1), lm_batch(time=9, seed=2, ignored=5)]
    learn = lm_learner(valid=windows, metrics=[Perplexity()])
    model = learn.model.eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter)  # far from even: each window has a perplexity of its own
    pairs = [(model(window.inputs[0]).logits, window.target) for window in windows]
    losses = torch.stack([token_loss(logits, target) for logits, target in pairs if target is not None])
    counts = torch.tensor([window.n for window in windows])
    expected, by_rows = ((losses * counts).sum() / counts.sum()).exp().item(), losses.mean().exp().item()
    assert abs(expected - by_rows) > 0.01 * expected
    assert learn.validate()["perplexity"] == pytest.approx(expected, rel=1e-5)


def test_defect_30_documents_may_come_in_any_order() -> None:
    """text/models/core.py:98-101 takes the first rows of a window for those that still run: unsorted ones go wrong."""
    model, ids = classifier(), documents()
    straight = model(ids, LENGTHS).logits
    for seed in range(5):
        order = torch.randperm(len(LENGTHS), generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(model(ids[:, order], LENGTHS[order]).logits, straight[order], rtol=0, atol=1e-6)


def test_defect_31_the_length_of_a_window_is_given_once() -> None:
    """text/learner.py:257, text/data.py:253: loader and model have a `seq_len` each, which nobody compares."""
    assert "bptt" not in inspect.signature(ClassBatches).parameters  # the classifier's is in its model,
    assert "bptt" not in {field.name for field in fields(AWDLSTMConfig)}  # the language model's in its loader
    recipe = replace(SMALL, classify=replace(SMALL.classify, bptt=33))
    assert recipe.head(2).bptt == 33
    ids = documents()
    torch.testing.assert_close(classifier(5)(ids, LENGTHS).logits, classifier(50)(ids, LENGTHS).logits)


def penalty(callback: Any, out: Any) -> float:
    """What a callback adds to an objective of 0."""
    learn = SimpleNamespace(step=SimpleNamespace(out=out, objective=torch.zeros(())))
    callback.after_loss(learn)
    return learn.step.objective.item()


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [1]], ids=["five documents", "one document"])
def test_defect_32_penalties_are_those_of_the_documents_without_padding(rows: list[int]) -> None:
    """callback/rnn.py:36-39 averages over padding and rows of zeros; one document alone has no temporal penalty."""
    model, ids, lengths = classifier(), documents()[:, rows], LENGTHS[rows]
    out = model(ids, lengths)
    alone = [model.encoder(ids[:length, row : row + 1]).raw[:, 0] for row, length in enumerate(lengths.tolist())]
    squares = torch.cat([states.square().flatten() for states in alone])
    changes = torch.cat([(states[1:] - states[:-1]).square().flatten() for states in alone])
    assert penalty(ActivationReg(2.0), out) == pytest.approx(2 * squares.mean().item(), rel=1e-5)
    assert penalty(TemporalReg(1.0), out) == pytest.approx(changes.mean().item(), rel=1e-5)
    assert changes.mean() > 0


def test_defect_33_evaluation_copies_no_weights_and_hides_no_warning() -> None:
    """text/models/awdlstm.py:43-65 copies the matrix in every call without dropout and hides the call's warnings."""
    lstm = WeightDropLSTM(E, 8, 0.5).eval()
    names = list(lstm.state_dict())

    def warns(x: Tensor, state: Any) -> Any:
        warnings.warn("something is wrong here", UserWarning, stacklevel=1)
        return prepared(x, state)

    with torch.no_grad():
        prepared = lstm.draw_weights()
        assert lstm.draw_weights() is prepared
        with pytest.warns(UserWarning, match="something is wrong here"):
            lstm(torch.randn(4, 3, E), None, warns)  # type: ignore[arg-type]
    assert lstm.train().draw_weights() is not prepared
    assert names == list(lstm.state_dict()) == ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]


@pytest.mark.cuda
def test_defect_33_all_windows_of_a_batch_use_one_buffer_of_cudnn(gpu: torch.device) -> None:
    """text/models/awdlstm.py:43-65: the matrix leaves cuDNN's buffer, which is made anew in every call."""
    x = torch.randn(5, 3, E, device=gpu)
    prepared = WeightDropLSTM(E, 8, 0.5).to(gpu).draw_weights()
    assert isinstance(prepared, CudnnLSTM)
    buffer, state = prepared._flat.data_ptr(), (torch.zeros(3, 8, device=gpu), torch.zeros(3, 8, device=gpu))
    first, second = prepared(x, state)[0], prepared(x, state)[0]  # torch's warning of a split buffer would be an error
    assert torch.equal(first, second) and prepared._flat.data_ptr() == buffer


def test_defect_38_every_generated_word_costs_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """text/learner.py:197-219 reads the whole text again for each new word."""
    torch.manual_seed(0)
    model, steps = LanguageModel(ENCODER).eval(), []
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    expected = [2, 9, 12]
    for _ in range(8):  # the plain way
        expected.append(int(model(torch.tensor(expected)[:, None]).logits[-1, 0].argmax()))
    forward = model.encoder.forward
    monkeypatch.setattr(model.encoder, "forward", lambda ids, *rest: steps.append(len(ids)) or forward(ids, *rest))
    assert continue_ids(model, [[2, 9, 12]], 8, Sampling(temperature=0)) == [expected[3:]]
    assert steps[0] == 3 and set(steps[1:]) == {1}


def test_defect_38_generation_takes_temperature_zero_prompts_side_by_side_and_a_stop() -> None:
    """text/learner.py:197-219, callback/rnn.py:18: temperature 0 divides by zero; no batch, no end, no top-k."""
    model = LanguageModel(ENCODER)
    assert model.decoder_bias is not None
    with torch.no_grad():
        model.decoder_bias[: len(TOKENIZER.specials)] = -1000  # words only
    texts = [generate(model, VOCAB, TOKENIZER, ["w1 w2", "w3"], 6, temperature=0, stop=None) for _ in range(2)]
    assert texts[0] == texts[1] and [len(text.split()) for text in texts[0]] == [8, 7]
    chosen = texts[0][1].split()[1]
    assert generate(model, VOCAB, TOKENIZER, "w3", 6, temperature=0, stop=chosen) == ["w3"]
    assert generate(model, VOCAB, TOKENIZER, "w3", 6, top_k=1, top_p=0.9, stop=None) == [texts[0][1]]
