"""The checks of callbacks can fail: each finds a callback that breaks the promise it is about."""

from __future__ import annotations

import copy
import random
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch

from textxfer.testing import check_callback
from textxfer.training import Callback, Learner, Order


class Good(Callback):
    """A callback with state that matters: noise on the gradients, less of it from update to update."""

    order = Order.GRADIENT
    train_only = True

    def __init__(self, scale: float = 0.1) -> None:
        self.scale = scale
        self.n = 0

    def before_fit(self, learn: Learner) -> None:
        self.n = 0

    def before_update(self, learn: Learner) -> None:
        self.n += 1
        for param in learn.model.parameters():
            if param.grad is not None:
                param.grad += torch.randn_like(param.grad) * self.scale / self.n

    def state_dict(self) -> dict[str, Any]:
        return {"n": self.n}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.n = state["n"]


def derived(**changes: Any) -> Callback:
    return type("Bad", (Good,), changes)()


def test_a_good_callback_passes():
    check_callback(Good(0.5))


def test_the_argument_itself_is_not_used():
    callback = Good()
    check_callback(callback)
    assert callback.n == 0


def _numpy_words() -> list[int]:
    state: Any = np.random.get_state()  # noqa: NPY002
    return state[1].tolist()


def test_random_generators_are_left_alone():
    before = torch.get_rng_state(), _numpy_words(), random.getstate()
    check_callback(Good(), exclude={"cleanup", "resume"})
    assert torch.equal(torch.get_rng_state(), before[0])
    assert _numpy_words() == before[1]
    assert random.getstate() == before[2]


class Misnamed(Callback):
    def __init__(self, scale: float = 1.0) -> None:
        self._scale = scale

    def __repr__(self) -> str:
        return "Misnamed(size=1.0)"


class Forgetful(Callback):
    def __init__(self, scale: float = 1.0) -> None:
        self.scale = 1.0


def test_repr_that_does_not_build():
    with pytest.raises(AssertionError, match=r"Misnamed\(size=1.0\) fails the check 'repr': it cannot be evaluated"):
        check_callback(Misnamed())


def test_an_argument_under_another_name():
    class Renamed(Callback):
        def __init__(self, scale: float = 1.0) -> None:
            self.factor = scale

    with pytest.raises(AssertionError, match=r"Renamed\(scale=\?\) fails .* keep each argument .* under its own name"):
        check_callback(Renamed())


def test_repr_that_builds_another():
    callback = Forgetful()
    callback.scale = 2.0
    with pytest.raises(AssertionError, match=r"fails the check 'repr': it builds Forgetful\(scale=1.0\)"):
        check_callback(callback)


def test_without_repr_it_is_copied():
    check_callback(Misnamed(), exclude={"repr", "resume", "order", "cleanup"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state_dict": lambda self: {"n": {1, 2}}}, "n is neither a tensor nor a JSON value"),
        ({"state_dict": lambda self: {"n": (1, 2)}}, "n is neither a tensor nor a JSON value"),
        ({"state_dict": lambda self: {1: 2}}, "the key 1 of state_dict is no text"),
        ({"state_dict": lambda self: None}, "state_dict returns a NoneType, not a dict"),
        ({"load_state_dict": lambda self, state: None}, "after load_state_dict, state_dict differs in n"),
        ({"before_fit": lambda self, learn: learn.stop()}, "the fit ended before its first batch was done"),
    ],
)
def test_state(changes, message):
    with pytest.raises(AssertionError, match=f"fails the check 'state': {message}"):
        check_callback(derived(**changes))


def test_resume_without_the_state():
    changes = {"state_dict": lambda self: {}, "load_state_dict": lambda self, state: None}
    with pytest.raises(
        AssertionError, match=r"fails the check 'resume': interrupted after .* and resumed: \S+ differs"
    ):
        check_callback(derived(**changes))


def test_resume_with_a_generator_that_is_not_saved():
    noise = random.Random(0)

    def disturb(self: Any, learn: Learner) -> None:
        learn.step.objective = learn.step.objective * noise.random()

    with pytest.raises(AssertionError, match="fails the check 'resume'"):
        check_callback(derived(after_loss=disturb))


def test_order():
    """It acts in the phase of another callback and looks at what that one changes."""

    def remember(self: Any, learn: Learner) -> None:
        self.scale = 10.0 if len(learn.step.inputs) == 1 else 0.1

    with pytest.raises(AssertionError, match=r"fails the check 'order': at position \d of \d instead of 0"):
        check_callback(derived(before_batch=remember, order=Order.DATA))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"after_valid": lambda self, learn: next(learn.model.parameters()).data.add_(1)}, r"changed \w+"),
        ({"before_valid": lambda self, learn: learn.history.add_epoch({"fit": 9, "epoch": 9})}, "changed the history"),
    ],
)
def test_evaluation(changes, message):
    callback = derived(train_only=False, **changes)
    with pytest.raises(
        AssertionError, match=f"fails the check 'evaluation': validate.. before the first fit {message}"
    ):
        check_callback(callback, exclude={"state", "resume", "order"})


def leave_forward(self: Any, learn: Learner) -> None:
    model = learn.model
    learn.forward = lambda *inputs: model(*inputs)


def leave_compute(self: Any, learn: Learner) -> None:
    compute = learn.compute
    learn.compute = lambda step: compute(step)


def leave_momentum(self: Any, learn: Learner) -> None:
    for group in learn.optimizer.param_groups:
        group["weight_decay"] = 0.5


def leave_frozen(self: Any, learn: Learner) -> None:
    learn.set_trainable([0, 1])


def leave_dtype(self: Any, learn: Learner) -> None:
    for module in learn.model.modules():
        if hasattr(module, "compute_dtype"):
            setattr(module, "compute_dtype", torch.float64)  # noqa: B010


def leave_hook(self: Any, learn: Learner) -> None:
    learn.model.register_forward_hook(lambda *args: None)


def leave_backward_hook(self: Any, learn: Learner) -> None:
    next(learn.model.children()).register_full_backward_hook(lambda *args: None)


def leave_hook_of_a_parameter(self: Any, learn: Learner) -> None:
    next(learn.model.parameters()).register_hook(lambda gradient: None)


def leave_hook_of_the_gradient(self: Any, learn: Learner) -> None:
    next(learn.model.parameters()).register_post_accumulate_grad_hook(lambda parameter: None)


def leave_hook_of_the_optimizer(self: Any, learn: Learner) -> None:
    learn.optimizer.register_step_pre_hook(lambda *args: None)


def leave_forward_of_the_model(self: Any, learn: Learner) -> None:
    forward = type(learn.model).forward.__get__(learn.model)
    learn.model.forward = lambda *inputs: forward(*inputs)


def leave_dropout(self: Any, learn: Learner) -> None:
    for module in learn.model.modules():
        if hasattr(module, "dropout_weight"):
            setattr(module, "dropout_weight", 0.9)  # noqa: B010


def leave_buffer(self: Any, learn: Learner) -> None:
    learn.model.register_buffer("mine", torch.zeros(1))


def leave_attribute(self: Any, learn: Learner) -> None:
    setattr(learn, "mine", 1)  # noqa: B010


def leave_metrics(self: Any, learn: Learner) -> None:
    learn.metrics = ()


def leave_optimizer(self: Any, learn: Learner) -> None:
    learn.optimizer = copy.copy(learn.optimizer)


@pytest.mark.parametrize(
    ("event", "change", "what"),
    [
        ("before_fit", leave_forward, "learn.forward"),
        ("before_fit", leave_compute, "learn.compute"),
        ("before_epoch", leave_momentum, "hyper-parameters"),
        ("after_train", leave_frozen, "learn.trainable"),
        ("after_loss", leave_hook, "hooks"),
        ("after_epoch", leave_dtype, "compute_dtype"),
        ("before_fit", leave_backward_hook, "hooks"),
        ("before_fit", leave_hook_of_a_parameter, "hooks"),
        ("before_fit", leave_hook_of_the_gradient, "hooks"),
        ("before_fit", leave_hook_of_the_optimizer, "hooks"),
        ("before_fit", leave_forward_of_the_model, "attributes of modules"),
        ("before_fit", leave_dropout, "attributes of modules"),
        ("before_fit", leave_buffer, "buffers"),
        ("before_fit", leave_attribute, "attributes of the learner"),
        ("before_fit", leave_metrics, "learn.metrics"),
        ("before_fit", leave_optimizer, "learn.optimizer"),
    ],
)
def test_cleanup(event, change, what):
    with pytest.raises(AssertionError, match=rf"fails the check 'cleanup': after an error in \w+, {what} is"):
        check_callback(derived(**{event: change}), exclude={"state", "resume", "order", "evaluation"})


def test_cleanup_of_a_fit_that_never_began():
    changes = {"after_fit": lambda self, learn: setattr(learn, "forward", None)}
    with pytest.raises(
        AssertionError, match=r"in a before_fit that had not begun, learn\.forward is not what it was: None, before"
    ):
        check_callback(derived(**changes), exclude={"state", "resume", "order", "evaluation"})


def test_an_error_that_is_swallowed():
    class Swallow(nullcontext):
        def __exit__(self, *error: object) -> bool:  # type: ignore[override]
            return True

    callback = derived(around_forward=lambda self, learn: Swallow())
    with pytest.raises(AssertionError, match=r"fails the check 'cleanup': an error in .* (was swallowed|came out as)"):
        check_callback(callback, exclude={"state", "resume", "order", "evaluation"})


def test_unknown_checks_are_refused():
    with pytest.raises(ValueError, match=r"unknown checks \['speed'\]; there are repr, state, resume"):
        check_callback(Good(), exclude={"speed"})  # type: ignore[arg-type]


def test_other_errors_go_through():
    with pytest.raises(ZeroDivisionError):
        check_callback(derived(before_batch=lambda self, learn: 1 / 0))
