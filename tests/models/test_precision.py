from __future__ import annotations

from threading import Event, Thread
from typing import Any

import pytest
import torch

from textxfer.kernels import capability, cpu_multiplies_bf16, fp16_is_usable, int8_is_usable
from textxfer.models import AWDLSTMConfig, ClassifierConfig, TextClassifier, precision
from textxfer.models.precision import chosen_precision, computing_in, measure_spans

CPU = torch.device("cpu")


def classifier() -> TextClassifier:
    torch.manual_seed(0)
    return TextClassifier(AWDLSTMConfig(50, embed=32, hidden=64, layers=2), ClassifierConfig(3, bptt=7)).eval()


def dtypes(model: TextClassifier) -> list[Any]:
    return [getattr(module, "compute_dtype") for module in model.modules() if hasattr(module, "compute_dtype")]  # noqa: B009


def test_the_model_is_as_before_afterwards_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capability, "cpu_multiplies_bf16", lambda: True)
    model = classifier()
    with pytest.raises(KeyError), computing_in(model, "bf16"):
        assert set(dtypes(model)) == {torch.bfloat16}
        raise KeyError
    assert set(dtypes(model)) == {None}


def test_threads_take_turns_and_leave_the_model_as_it_was() -> None:
    model, other = classifier(), classifier()
    begun, waiting, free = Event(), Event(), Event()
    seen = []

    def first() -> None:
        with computing_in(model, "fp32"), computing_in(model, "fp32"):  # its own lock does not stop it
            begun.set()
            free.wait(10)
            seen.append("first")

    def second() -> None:
        begun.wait(10)
        with computing_in(other, "int8" if int8_is_usable(CPU) else "fp32"):  # another model does not wait
            seen.append("other")
        waiting.set()
        with computing_in(model, "int8" if int8_is_usable(CPU) else "fp32"):
            seen.append("second")

    threads = [Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    assert waiting.wait(10)
    threads[1].join(0.1)
    free.set()
    for thread in threads:
        thread.join(10)
    assert seen == ["other", "first", "second"]
    assert set(dtypes(model)) == {None}


@pytest.mark.parametrize("name, tolerance", [("fp32", 0.0), ("fp16", 2e-4), ("bf16", 0.02), ("int8", 0.05)])
def test_answers_agree_with_float32(name: Any, tolerance: float) -> None:
    if name == "int8" and not int8_is_usable(CPU):
        pytest.skip("torch has no 8-bit products here")
    model, ids, lengths = classifier(), torch.randint(0, 50, (20, 6)), torch.tensor([20, 20, 15, 8, 7, 1])
    with torch.inference_mode():
        exact = model(ids, lengths).logits.softmax(dim=1)
        with computing_in(model, name):
            answers = model(ids, lengths).logits.softmax(dim=1)
        assert torch.equal(model(ids, lengths).logits.softmax(dim=1), exact)
    torch.testing.assert_close(answers, exact, rtol=0, atol=tolerance)
    assert torch.equal(answers, exact) == (chosen_precision(name, CPU) == "fp32")


def test_auto_asks_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    small = "fp16" if fp16_is_usable(CPU) else "fp32"
    assert chosen_precision("auto", CPU) == ("bf16" if cpu_multiplies_bf16() else small)
    monkeypatch.setattr(capability, "cpu_multiplies_bf16", lambda: False)
    assert chosen_precision("auto", CPU) == chosen_precision("fp16", CPU) == small
    assert chosen_precision("bf16", CPU) == "fp32"
    monkeypatch.setattr(precision, "fp16_is_usable", lambda device: False)
    assert chosen_precision("auto", CPU) == chosen_precision("fp16", CPU) == "fp32"
    with computing_in(model := classifier(), "int8" if int8_is_usable(CPU) else "bf16"):
        assert torch.bfloat16 not in dtypes(model)
    assert chosen_precision("auto", torch.device("meta")) == "fp32"


def test_bf16_is_what_it_says_on_other_devices_than_a_cpu() -> None:
    assert chosen_precision("bf16", torch.device("meta")) == "bf16"
    with computing_in(model := classifier().to("meta"), "bf16"):
        assert set(dtypes(model)) == {torch.bfloat16}


def test_fp16_is_weights_on_a_cpu_and_all_numbers_elsewhere() -> None:
    if fp16_is_usable(CPU):
        with computing_in(model := classifier(), "fp16"):
            assert {lstm.compute_dtype for lstm in model.encoder.lstms} == {torch.float16}
            assert model.encoder.compute_dtype is None
    with computing_in(model := classifier().to("meta"), "fp16"):
        assert set(dtypes(model)) == {torch.float16}


def test_what_cannot_be_had_is_refused() -> None:
    with pytest.raises(ValueError, match="int8 needs a CPU"):
        chosen_precision("int8", torch.device("meta"))
    wrong: Any = "fp8"
    with pytest.raises(ValueError, match="one of auto, fp32, fp16, bf16, int8"):
        chosen_precision(wrong, CPU)


def test_measured_ranges_hold_the_hidden_states_and_follow_one_another() -> None:
    encoder = classifier().encoder
    measure_spans(encoder, [1] * 50)
    spans = [lstm.spans for lstm in encoder.lstms]
    assert spans[0][0] == 1.0 and spans[1][0] == spans[0][1] and all(0 < own < 1 for _, own in spans)
    with torch.inference_mode():
        out = encoder(torch.randint(0, 50, (30, 8)))
    assert out.raw.abs().max() <= spans[-1][1]
    again = classifier().encoder
    measure_spans(again, [1] * 50)
    assert [lstm.spans for lstm in again.lstms] == spans


def test_ranges_are_a_quarter_above_what_the_words_that_occur_reach() -> None:
    encoder = classifier().encoder
    measure_spans(encoder, [10**9 if word == 7 else 0 for word in range(50)])
    with torch.inference_mode():
        x = encoder.embedding.weight[torch.full((100, 1), 7)]
        for lstm in encoder.lstms:
            x, _ = lstm(x)
            assert lstm.spans[1] == pytest.approx(1.25 * float(x.abs().max()), rel=1e-4)


@pytest.mark.skipif(not int8_is_usable(CPU), reason="torch has no 8-bit products here")
def test_states_in_8_bits_of_measured_ranges_are_close_to_float32() -> None:
    encoder, ids = classifier().encoder, torch.randint(0, 50, (20, 6))
    measure_spans(encoder)
    with torch.inference_mode():
        exact = encoder(ids).raw
        with computing_in(encoder, "int8"):
            found = encoder(ids).raw
    assert (found - exact).norm() < 0.05 * exact.norm()
