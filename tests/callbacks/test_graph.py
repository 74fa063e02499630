"""CapturedStep: its bookkeeping on a CPU, with a stand-in that repeats work by doing it again; CUDA graphs on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.callbacks.toys import VOCAB, Planned, fail, lm_batch, lm_batches, lm_learner, on
from textxfer._tiny_training import difference
from textxfer.batch import Batch, Loaders
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
from textxfer.models import AWDLSTMConfig, LanguageModel, LMOutput, token_loss
from textxfer.testing import check_callback
from textxfer.training import Callback, Learner, Optimizer


def leaves(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, LMOutput):  # but not its decoder, which holds the parameters themselves
        yield from leaves((value.hidden, value.raw, value.dropped))


class StandIn:
    """Repeats work by doing it again, into the tensors of the first time; recording computes nothing."""

    def __init__(self) -> None:
        self.eager = self.recorded = self.replayed = self.waits = 0

    def run(self, work: Callable[[], None]) -> None:
        self.eager += 1
        work()

    def record(self, work: Callable[[], Results]) -> tuple[Results, Callable[[], None]]:
        self.recorded += 1
        random = torch.get_rng_state()
        results = work()
        torch.set_rng_state(random)
        with torch.no_grad():
            for tensor in leaves(results):
                assert not tensor.requires_grad
                tensor.fill_(float("nan"))

        def replay() -> None:
            self.replayed += 1
            with torch.enable_grad():  # as it was when the work was recorded
                again = work()
            for kept, new in zip(leaves(results), leaves(again)):
                kept.copy_(new)

        return results, replay

    def wait(self) -> None:
        self.waits += 1


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setattr(_cuda_graph, "recorder_for", lambda device: stand_in)
    return stand_in


def usual() -> list[Callback]:
    return [CarryHidden(), ActivationReg(), TemporalReg(), ClipGrad(), MixedPrecision(), StopOnNonFinite()]


def compare(*callbacks: Callback, n: int = 8, epochs: int = 2, **options: Any) -> tuple[Learner, str | None]:
    """Train without and with CapturedStep; return the latter learner and the first difference."""
    expected = lm_learner(*usual(), *callbacks, train=n, **options)
    expected.fit_one_cycle(epochs, 1e-2)
    learn = lm_learner(*usual(), CapturedStep(), *callbacks, train=n, **options)
    learn.fit_one_cycle(epochs, 1e-2)
    return learn, difference(learn, expected)


def test_training_is_the_same_bit_for_bit(recorder: StandIn) -> None:
    learn, found = compare(WeightAverage())
    assert found is None
    # Epoch 0: batch 0 has no state, 1 to 3 are eager, then 4 steps are repeated; epoch 1: all but batch 0.
    assert (recorder.eager, recorder.recorded, recorder.replayed) == (5, 1, 11)
    assert learn.callback(CapturedStep).n_replayed == 11


def test_the_contract(recorder: StandIn) -> None:
    # `cleanup` adds callbacks that act within the step: those are refused, see below.
    check_callback(CapturedStep(warmup=1), exclude={"cleanup"})
    assert recorder.replayed


def test_repr() -> None:
    assert repr(CapturedStep(warmup=2)) == "CapturedStep(warmup=2, max_graphs=4)"


@pytest.mark.parametrize("arguments", [{"warmup": 0}, {"max_graphs": 0}])
def test_bad_arguments(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be at least 1"):
        CapturedStep(**arguments)


def test_a_cpu_is_refused() -> None:
    learn = lm_learner(CapturedStep())
    compute = learn.compute
    with pytest.raises(ValueError, match="CapturedStep needs a CUDA GPU, but this learner trains on cpu: leave it out"):
        learn.fit(1, 1e-2)
    assert learn.compute is compute


def test_callbacks_that_act_within_the_step_are_refused_unless_they_may(recorder: StandIn) -> None:
    learn = lm_learner(CapturedStep(), Accumulate(every=2), on("after_loss", fail), on("after_batch", fail))
    with pytest.raises(ValueError, match=r"but Accumulate\(every=2\) \(before_backward\); On\(\) \(after_loss\) would"):
        learn.fit(1, 1e-2)


def test_odd_shapes_and_those_that_alternate_are_never_recorded(recorder: StandIn) -> None:
    batches = [lm_batch(time=4 + index % 2, seed=index) for index in range(12)]
    lm_learner(CarryHidden(), CapturedStep(), train=batches).fit(2, 1e-2)
    assert (recorder.eager, recorder.recorded) == (24, 0)


def test_the_number_of_recordings_is_bounded(recorder: StandIn) -> None:
    batches = [lm_batch(time=time, seed=index) for time in (3, 4, 5) for index in range(3)]
    learn = lm_learner(CapturedStep(warmup=1, max_graphs=2), train=batches)
    learn.fit(2, 1e-2)
    assert recorder.recorded == 2
    assert recorder.replayed == 2 * 2 + 2 * 3
    assert recorder.eager == 1 + 1 + 3 + 3


def test_a_short_last_window_is_computed_as_ever(recorder: StandIn) -> None:
    batches = [*lm_batches(7), lm_batch(time=2, seed=9)]
    expected = lm_learner(*usual(), train=batches)
    expected.fit(3, 1e-2)
    learn = lm_learner(*usual(), CapturedStep(), train=batches)
    learn.fit(3, 1e-2)
    assert difference(learn, expected) is None
    assert recorder.recorded == 1


def test_freezing_drops_the_recordings(recorder: StandIn) -> None:
    learn, found = compare(GradualUnfreeze(), epochs=4)
    assert found is None
    assert recorder.recorded == len(learn.groups)
    assert recorder.waits > recorder.recorded


def test_held_updates_add_up(recorder: StandIn) -> None:
    def hold(learn: Learner) -> None:
        if learn.step.training and learn.progress.batch % 3 < 2:
            learn.step.update = None

    learn, found = compare(on("before_batch", hold), n=9)
    assert found is None
    assert recorder.replayed == 5 + 8
    assert learn.progress.step == 6


def test_what_is_watched_is_not_overwritten(recorder: StandIn) -> None:
    losses: list[Tensor] = []
    objectives: list[Tensor] = []

    def watch(learn: Learner) -> None:
        losses.append(learn.step.loss.detach())
        objectives.append(learn.step.objective.detach())

    learn = lm_learner(*usual(), CapturedStep(), on("after_backward", watch, train_only=True), train=8)
    learn.fit(1, 1e-2)
    assert [float(loss) for loss in losses] == learn.history.steps["loss"]
    assert len({float(objective) for objective in objectives}) == 8


def test_predictions_are_those_of_the_step(recorder: StandIn) -> None:
    def collect(*callbacks: Callback) -> list[Tensor]:
        found: list[Tensor] = []

        def look(learn: Learner) -> None:
            found.extend(t.detach().clone() for t in (learn.step.pred, learn.step.out.logits, learn.step.out.raw))

        learn = lm_learner(CarryHidden(), *callbacks, on("after_backward", look, train_only=True), train=8)
        learn.fit(1, 1e-2)
        return found

    expected, found = collect(), collect(CapturedStep())
    assert recorder.replayed == 4
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_gradients_are_where_the_optimizer_looks_for_them(recorder: StandIn) -> None:
    learn = lm_learner(CarryHidden(), CapturedStep(), train=8)
    missing: list[bool] = []

    def look(learn: Learner) -> None:
        missing.append(any(param.grad is None for param in learn.model.parameters()))

    learn.fit(1, 1e-2, [on("after_backward", look)])
    assert missing == [False] * 8
    assert all(param.grad is None for param in learn.model.parameters())


class Looked(nn.Module):
    """A model with an input that a recording cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)

    def forward(self, x: Tensor, extra: Any) -> Tensor:
        return self.linear(x) * extra.get("factor", 1) if isinstance(extra, dict) else self.linear(x) * extra


@pytest.mark.parametrize("extra, recorded", [({"factor": 2}, 0), (2, 1), ([2.0, 3.0], 3)])
def test_steps_with_inputs_that_may_change_unseen_are_not_recorded(
    recorder: StandIn, extra: Any, recorded: int
) -> None:
    extras = extra if isinstance(extra, list) else [extra]
    batches = [Batch((torch.randn(4, 2), e), torch.zeros(4, dtype=torch.int64), 4) for e in extras for _ in range(6)]
    learn = Learner(Looked(), Loaders(batches), nn.functional.cross_entropy, callbacks=[CapturedStep()], device="cpu")
    learn.fit(1, 1e-2)
    assert recorder.recorded == min(recorded, len(extras))
    assert (recorder.replayed > 0) == (recorded > 0)


@pytest.mark.parametrize("batch", [0, 2, 5])
def test_an_error_leaves_the_learner_as_it_was(recorder: StandIn, batch: int) -> None:
    learn = lm_learner(CarryHidden(), CapturedStep(), train=8)
    compute, forward = learn.compute, learn.forward

    def failing(*inputs: Any) -> Any:
        if learn.progress.batch == batch:
            raise Planned
        return forward(*inputs)

    learn.forward = failing
    with pytest.raises(Planned):
        learn.fit(1, 1e-2)
    learn.forward = forward
    assert learn.compute is compute
    assert all(param.grad is None for param in learn.model.parameters())
    assert not learn.callback(CapturedStep)._recordings
    learn.fit(1, 1e-2)


def test_evaluation_within_a_fit_is_not_recorded(recorder: StandIn) -> None:
    learn = lm_learner(CarryHidden(), CapturedStep(), train=8)
    learn.fit(1, 1e-2, [on("after_epoch", lambda learn: learn.predict(learn.loaders.train))])
    assert recorder.eager + recorder.replayed == 8


# ---- on a GPU --------------------------------------------------------------------------------------------------------


def gpu_learner(*callbacks: Callback, dropout: float = 1.0, train: Sequence[Batch] | None = None) -> Learner:
    torch.manual_seed(0)
    # Sizes for which cuDNN has its standard kernels, as for those of real models: above 192 and no multiple of 128.
    model = LanguageModel(AWDLSTMConfig(vocab=VOCAB, embed=200, hidden=264, layers=2).scaled(dropout))
    batches = [lm_batch(width=8, time=12, seed=index) for index in range(10)] if train is None else list(train)
    loaders = Loaders([*batches, lm_batch(width=8, time=5, seed=99)], [lm_batch(width=8, time=12, seed=100)])
    # A large eps: Adam must not blow up the last bits of gradients that are next to zero.
    return Learner(model, loaders, token_loss, callbacks=callbacks, optimizer=Optimizer(eps=1e-4), device="cuda")


def gpu_compare(*callbacks: Callback, dropout: float = 1.0, tolerance: float = 1e-3) -> Learner:
    """Train without and with recordings, and compare weights and losses."""
    learners = []
    for extra in ([], [CapturedStep()]):
        learn = gpu_learner(
            CarryHidden(), ActivationReg(), TemporalReg(), ClipGrad(), *callbacks, *extra, dropout=dropout
        )
        torch.manual_seed(1)
        learn.fit_one_cycle(3, 1e-3)
        learners.append(learn)
    expected, learn = learners
    torch.testing.assert_close(
        torch.tensor(learn.history.steps["loss"]),
        torch.tensor(expected.history.steps["loss"]),
        rtol=tolerance,
        atol=tolerance,
    )
    for (name, one), other in zip(learn.model.named_parameters(), expected.model.parameters()):
        torch.testing.assert_close(
            one, other, rtol=10 * tolerance, atol=10 * tolerance, msg=lambda text, n=name: f"{n}: {text}"
        )
    return learn


@pytest.mark.cuda
@pytest.mark.parametrize("dropout", [0.0, 1.0])
@pytest.mark.parametrize("dtype", [None, "bf16", "fp16"])
def test_a_gpu_trains_as_without_recordings(gpu: torch.device, dropout: float, dtype: Any) -> None:
    precision = [] if dtype is None else [MixedPrecision(dtype)]
    # The random numbers are the same ones: a graph draws from the same generator, and moves it on.
    learn = gpu_compare(*precision, dropout=dropout, tolerance=1e-4 if dtype is None else 2e-2)
    assert learn.callback(CapturedStep).n_replayed == 6 + 9 + 9


@pytest.mark.cuda
def test_a_gpu_draws_new_masks_for_each_repetition(gpu: torch.device) -> None:
    same = [lm_batch(width=8, time=12, seed=0)] * 12
    learn = gpu_learner(CapturedStep(), train=same)
    learn.fit(1, 0.0)
    losses = learn.history.steps["loss"][:12]
    assert learn.callback(CapturedStep).n_replayed == 9
    assert len(set(losses)) == 12


@pytest.mark.cuda
def test_a_gpu_with_freezing_held_updates_and_averages(gpu: torch.device) -> None:
    def hold(learn: Learner) -> None:
        if learn.step.training and learn.progress.batch % 3 < 2:
            learn.step.update = None

    learn = gpu_compare(GradualUnfreeze(), WeightAverage(), StopOnNonFinite(), on("before_batch", hold), dropout=0.0)
    assert learn.callback(CapturedStep).n_replayed == 6 + 6 + 6


class Waiting(nn.Module):
    """A model that waits for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(VOCAB, VOCAB)

    def forward(self, ids: Tensor) -> Tensor:
        onehot = nn.functional.one_hot(ids, VOCAB).float()
        return self.linear(onehot) * float(onehot.sum().item() > 0)


@pytest.mark.cuda
def test_a_model_that_waits_for_the_device_is_explained(gpu: torch.device) -> None:
    batches = [lm_batch(seed=index) for index in range(6)]
    learn = Learner(Waiting(), Loaders(batches), token_loss, callbacks=[CapturedStep()], device="cuda")
    with pytest.raises(Exception) as caught:  # torch's own kind, which differs between versions
        learn.fit(1, 1e-2)
    notes = "".join(getattr(caught.value, "__notes__", ()))
    assert "something in it cannot be recorded" in notes
