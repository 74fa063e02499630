"""Training, prediction and generation on a simulated GPU: the results of the CPU, and nobody waits for the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.callbacks.test_graph import StandIn
from tests.callbacks.toys import lm, lm_batches, on, weights
from tests.programs.toys import TINY, documents, task
from tests.simulated_gpu import GPU, OnGPU, SimulatedGPU, simulated_gpu
from textxfer import Predictor, ulmfit
from textxfer.batch import Loaders
from textxfer.callbacks import (
    Accumulate,
    ActivationReg,
    CapturedStep,
    CarryHidden,
    ClipGrad,
    GradualUnfreeze,
    MixedPrecision,
    StopOnNonFinite,
    TemporalReg,
    WeightAverage,
    _cuda_graph,
)
from textxfer.callbacks._cuda_graph import Results
from textxfer.generation import generate
from textxfer.kernels.lstm_cudnn import CudnnLSTM
from textxfer.learners import Precision as TrainingPrecision
from textxfer.models import token_loss
from textxfer.names import Precision
from textxfer.recipe import Stage
from textxfer.training import Accuracy, Callback, Learner, Perplexity
from textxfer.upload import upload

SHORT = replace(TINY, classify=replace(TINY.classify, stages=(Stage(2, 5e-2, schedule="one-cycle"),)))


@pytest.fixture
def simulation() -> Iterator[SimulatedGPU]:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU: torch knows it, and must not be told of another")
    with simulated_gpu() as found:
        yield found


def learner(device: str, *callbacks: Callback, n: int = 3) -> Learner:
    torch.manual_seed(0)
    loaders = Loaders(lm_batches(n), lm_batches(2, seed=1))
    own = [CarryHidden(), ActivationReg(), TemporalReg(), ClipGrad(0.25), *callbacks]
    return Learner(lm(), loaders, token_loss, metrics=[Perplexity(), Accuracy()], callbacks=own, device=device)


def on_cpu(learn: Learner) -> dict[str, torch.Tensor]:
    return {name: value.cpu() for name, value in weights(learn.model).items()}


def apart(one: Learner, other: Learner) -> float:
    pairs = zip(on_cpu(one).values(), on_cpu(other).values(), strict=True)
    return max(float((a - b).abs().max()) for a, b in pairs)


# ---- the simulation itself -------------------------------------------------------------------------------------------


def test_it_computes(simulation: SimulatedGPU) -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], device="cuda").requires_grad_()
    y = (x[:, [1]] * torch.tensor(2.0)).sum()
    y.backward()
    assert isinstance(y, OnGPU) and y.is_cuda and y.device == GPU
    assert x.grad is not None and x.grad.tolist() == [[0, 2], [0, 2]]
    assert y.item() == 12


def test_two_devices_in_one_operation_are_an_error(simulation: SimulatedGPU) -> None:
    x = torch.ones(2, device="cuda")
    with pytest.raises(RuntimeError, match="some on cuda:0 and some on cpu"):
        torch.add(x, torch.ones(2))
    x.add_(torch.tensor(1.0))  # a scalar may be elsewhere
    x.copy_(torch.ones(2))


@pytest.mark.parametrize(
    ("act", "waits"),
    [
        (lambda x: x + 1, 0),
        (lambda x: x[1:], 0),
        (lambda x: x.item(), 1),
        (lambda x: x.cpu(), 1),
        (lambda x: x.tolist(), 1),
        (lambda x: bool(x > 0), 1),
        (lambda x: x[x > 0], 1),
        (lambda x: x.nonzero(), 1),
        (lambda x: x.copy_(torch.ones(1)), 1),
        (lambda x: upload(torch.ones(1), x.device), 0),
        (lambda x: torch.ones(1).to(x.device), 1),
        (lambda x: x.double(), 0),
    ],
)
def test_waits_are_written_down(simulation: SimulatedGPU, act: Callable[[torch.Tensor], object], waits: int) -> None:
    x = torch.zeros(1, device="cuda")
    act(x)
    assert len(simulation.waits) == waits


# ---- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "tolerance"),
    [
        (lambda: [], 1e-6),
        (lambda: [Accumulate(2), GradualUnfreeze()], 1e-6),
        (lambda: [WeightAverage(), StopOnNonFinite(every=100)], 1e-6),
        (lambda: [MixedPrecision("bf16")], 2e-2),
        (lambda: [MixedPrecision("fp16", allow_cpu=True)], 2e-2),
    ],
    ids=["plain", "accumulate", "average", "bf16", "fp16"],
)
def test_a_language_model_trains_as_on_the_cpu(
    simulation: SimulatedGPU, make: Callable[[], Sequence[Callback]], tolerance: float
) -> None:
    wanted, learn = learner("cpu", *make()), learner("cuda", *make())
    assert isinstance(learn.model.encoder.draw(3).weights[0], CudnnLSTM)
    before = on_cpu(learn)
    torch.manual_seed(1)
    wanted.fit_one_cycle(2, 1e-2)
    torch.manual_seed(1)
    learn.fit_one_cycle(2, 1e-2)
    assert all(isinstance(param, OnGPU) for param in learn.model.parameters())
    assert apart(learn, wanted) < tolerance
    assert any((value - before[name]).abs().max() > 1e-3 for name, value in on_cpu(learn).items())
    for column in ("train_loss", "valid_loss", "perplexity", "accuracy"):
        assert learn.history.column(column) == pytest.approx(wanted.history.column(column), rel=2e-2), column


def waits_of(simulation: SimulatedGPU, learn: Learner) -> int:
    simulation.waits.clear()
    learn.fit(1, 1e-2)
    return len(simulation.waits)


def test_no_step_of_a_language_model_waits(simulation: SimulatedGPU) -> None:
    # Once for the figures of training and once for those of validation, however many batches there are.
    parts = (MixedPrecision("bf16"), WeightAverage(), StopOnNonFinite(every=100))
    assert waits_of(simulation, learner("cuda", *parts[:2], n=2)) == 2
    assert waits_of(simulation, learner("cuda", *parts[:2], n=5)) == 2
    assert waits_of(simulation, learner("cuda", *parts, n=5)) == 3  # and one look at what was not finite


def test_no_step_of_the_recipe_waits(simulation: SimulatedGPU) -> None:
    counts = []
    for n in (60, 90):
        data = task(n)
        learn = ulmfit.pretrain(data, recipe=SHORT, device="cuda")
        clf = ulmfit.classifier(data, encoder=learn.model.encoder, recipe=SHORT, device="cuda")
        simulation.waits.clear()
        ulmfit.fit_stages(clf, SHORT.classify)
        counts.append((len(clf.loaders.train), len(simulation.waits)))
    (some, waits), (more, again) = counts
    assert some < more
    # For each of two epochs: the figures of training and of validation.
    assert waits == again == 4, simulation.waits


def test_the_recipe_trains_as_on_the_cpu(simulation: SimulatedGPU, monkeypatch: pytest.MonkeyPatch) -> None:
    data = task(60)

    def both(device: str, precision: TrainingPrecision) -> tuple[Learner, Learner]:
        language = ulmfit.pretrain(data, recipe=SHORT, precision=precision, device=device)
        encoder = language.model.encoder
        return language, ulmfit.classify(data, encoder, recipe=SHORT, precision=precision, device=device)

    wanted = both("cpu", "fp32")
    cases: list[tuple[TrainingPrecision, torch.dtype | None, float]] = [
        ("fp32", None, 1e-4),
        ("bf16", torch.bfloat16, 0.02),
        ("fp16", torch.float16, 0.02),
    ]
    for precision, dtype, tolerance in cases:
        for learn, other in zip(both("cuda", precision), wanted):
            assert apart(learn, other) < 1e-4 or precision != "fp32"
            losses, others = learn.history.column("train_loss"), other.history.column("train_loss")
            assert losses[0] == pytest.approx(others[0], rel=tolerance)
            assert (None if dtype is None else learn.callback(MixedPrecision).active) == dtype
    # As a T4, which has no bfloat16: the recipe's own precision is float32 there.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    learn, _ = both("cuda", "bf16")
    assert learn.callback(MixedPrecision).active == torch.float32
    assert apart(learn, wanted[0]) < 1e-4


def test_a_training_goes_on_with_its_state(simulation: SimulatedGPU, tmp_path: Path) -> None:
    whole, broken, resumed = (learner("cuda", n=4) for _ in range(3))

    def save(learn: Learner) -> None:
        if learn.step.training and (learn.progress.epoch, learn.progress.batch) == (1, 1):
            learn.save(tmp_path)
            learn.stop()

    for each, parts in ((whole, []), (broken, [on("after_batch", save)])):
        torch.manual_seed(1)
        each.fit(2, 1e-2, parts)
    resumed.resume(tmp_path)
    resumed.fit(2, 1e-2)
    assert apart(resumed, whole) == 0


class Strict(StandIn):
    """Records only what a CUDA graph can hold: nothing that waits for the device or sends something to it."""

    def __init__(self, simulation: SimulatedGPU) -> None:
        super().__init__()
        self.simulation = simulation

    def record(self, work: Callable[[], Results]) -> tuple[Results, Callable[[], None]]:
        def watched() -> Results:
            self.simulation.waits.clear()
            self.simulation.uploads.clear()
            results = work()
            assert (self.simulation.waits, self.simulation.uploads) == ([], [])
            return results

        return super().record(watched)


@pytest.mark.parametrize("precision", [None, "bf16"])
def test_a_captured_step_neither_waits_nor_sends(
    simulation: SimulatedGPU, monkeypatch: pytest.MonkeyPatch, precision: str | None
) -> None:
    recorder = Strict(simulation)
    monkeypatch.setattr(_cuda_graph, "recorder_for", lambda device: recorder)
    parts = [] if precision is None else [MixedPrecision("bf16")]
    wanted, learn = learner("cuda", *parts, n=4), learner("cuda", *parts, CapturedStep(warmup=1), n=4)
    for each in (wanted, learn):
        torch.manual_seed(1)
        each.fit(1, 1e-2)
    assert recorder.recorded == 1 and recorder.replayed == 2
    assert apart(learn, wanted) == 0


# ---- use -------------------------------------------------------------------------------------------------------------


def test_predictions_are_those_of_the_cpu_and_wait_once(simulation: SimulatedGPU, tmp_path: Path) -> None:
    data = task(60)
    clf = ulmfit.classify(data, recipe=SHORT, device="cpu")
    folder = ulmfit.save(tmp_path / "model", clf, data)
    texts = [document.text for document in documents(40, seed=9)]
    wanted = Predictor.load(folder, dtype="fp32").probabilities(texts)
    precisions: list[tuple[Precision, float]] = [("fp32", 1e-5), ("bf16", 0.05)]
    for dtype, tolerance in precisions:
        predictor = Predictor.load(folder, device="cuda", dtype=dtype)
        predictor.tokens_per_batch = 100  # several batches
        simulation.waits.clear()
        found = predictor.probabilities(texts)
        assert len(simulation.waits) == 1
        assert np.abs(found - wanted).max() < tolerance


def test_a_learner_predicts_as_on_the_cpu(simulation: SimulatedGPU) -> None:
    one, other = learner("cpu"), learner("cuda")
    found = other.predict(lm_batches(3))
    assert type(found) is torch.Tensor and found.device.type == "cpu"
    torch.testing.assert_close(found, one.predict(lm_batches(3)))


def test_what_is_generated_is_what_the_cpu_writes(simulation: SimulatedGPU) -> None:
    data = task(30)
    model = ulmfit.pretrain(data, recipe=TINY, device="cpu").model
    arguments = (data.vocab, data.tokenizer, ["the cat", "red"], 6)
    wanted = generate(model, *arguments, seed=3)
    model.to("cuda")
    simulation.waits.clear()
    assert generate(model, *arguments, seed=3) == wanted
    # Each prompt is sent, and what must never be chosen; then the chosen words are fetched once per step.
    assert len(simulation.waits) <= 2 + 1 + 6


def test_no_window_waits_when_perplexity_is_measured(simulation: SimulatedGPU) -> None:
    from textxfer.artifact import Artifact
    from textxfer.cli.perplexity import Text, measure

    data = task(90)
    model = ulmfit.pretrain(data, recipe=TINY, device="cpu").model
    artifact = Artifact(model, data.vocab, data.tokenizer)
    text = Text("some", documents(200), 2000, False)
    on_cpu = measure(artifact, text, "cpu")["per_token"]
    model.to("cuda")
    simulation.waits.clear()
    assert measure(artifact, text, "cuda")["per_token"] == pytest.approx(on_cpu, rel=1e-5)
    assert sum("perplexity" in wait or "total" in wait for wait in simulation.waits) == 1
