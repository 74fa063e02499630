"""Fitting, freezing, evaluating: what the learner itself promises."""

from __future__ import annotations

import inspect
import time

import pytest
import torch
from torch import nn

from tests.training.toys import Net, Recorder, Stopper, batches, learner, snapshot
from textxfer.batch import Batch, Loaders
from textxfer.callbacks import EarlyStop
from textxfer.training import Accuracy, Callback, Learner, Linear, Mean, ParamSchedule, Perplexity, SlantedTriangular
from textxfer.training.dispatch import Dispatcher


def weights(learn):
    return [param.detach().clone() for param in learn.model.parameters()]


def test_fit_equals_a_loop_by_hand():
    learn = learner(valid=None, dropout=0.0)
    by_hand = Net(0.0)
    by_hand.load_state_dict(learn.model.state_dict())
    decays = [{"params": [p for p in by_hand.parameters() if p.ndim > 1], "weight_decay": 0.01}]
    decays += [{"params": [p for p in by_hand.parameters() if p.ndim == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(decays, lr=1e-2, betas=(0.8, 0.99))
    learn.fit(3, 1e-2)
    for _ in range(3):
        for x, y in batches(2):
            nn.functional.mse_loss(by_hand(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()
    for mine, theirs in zip(learn.model.parameters(), by_hand.parameters()):
        torch.testing.assert_close(mine, theirs)


def test_means_are_weighted_by_what_counts():
    targets = [torch.tensor([0, 0, 0]), torch.tensor([1])]
    data = [Batch((torch.zeros(len(y), 2),), y, len(y)) for y in targets]
    model = nn.Linear(2, 2)
    with torch.no_grad():
        model.bias.copy_(torch.tensor([2.0, 0.0]))
    learn = Learner(model, Loaders(data, data), nn.functional.cross_entropy, metrics=[Accuracy(), Perplexity()])
    results = learn.validate()
    each = nn.functional.cross_entropy(model(torch.zeros(4, 2)), torch.cat(targets))
    assert results["loss"] == pytest.approx(each.item(), rel=1e-6)
    assert results["perplexity"] == pytest.approx(each.exp().item(), rel=1e-6)
    assert results["accuracy"] == 0.75


def test_metrics_may_be_assigned():
    learn = learner()
    learn.metrics = [Mean(lambda pred, target: (pred - target).abs().mean(), "distance", "lower")]
    assert learn.validate().keys() == {"loss", "distance"}
    learn.lr_find(n_steps=3)
    learn.fit(3, 0.0, [EarlyStop("distance", patience=1)])
    assert len(learn.history.column("distance")) == 2
    learn.metrics = ()
    assert learn.validate().keys() == {"loss"}


@pytest.mark.parametrize("name", ["fit", "epoch", "train_loss", "valid_loss", "seconds", "loss"])
def test_a_metric_may_not_take_the_place_of_another_column(name):
    metric = Mean(lambda pred, target: pred.mean(), name, "lower")
    with pytest.raises(ValueError, match=f"called {name}"):
        learner(metrics=[metric])
    learn = learner()
    with pytest.raises(ValueError, match=f"called {name}"):
        learn.metrics = [metric]
    assert learn.metrics == ()
    assert learn.validate().keys() == {"loss"}


def test_an_empty_loader_is_not_the_learners_own():
    learn = learner()
    results = learn.validate([])
    assert list(results) == ["loss"]
    assert results["loss"] != results["loss"], "it is NaN"


def test_one_history_over_all_fits_and_evaluation_never_writes_it():
    learn = learner()
    learn.fit_one_cycle(2, 1e-2)
    learn.fit_slanted(1, 1e-2)
    learn.validate()
    learn.predict(batches(2))
    assert learn.history.column("fit") == [0, 0, 1]
    assert learn.history.steps["fit"] == [0] * 4 + [1] * 2


def test_predict_keeps_order_and_lets_go_of_the_batch():
    learn = learner()
    learn.model.train()
    predicted = learn.predict(batches(3))
    learn.model.eval()
    with torch.no_grad():
        expected = torch.cat([learn.model(x) for x, _ in batches(3)])
    assert torch.equal(predicted, expected)
    assert learn.step.inputs == ()
    assert not hasattr(learn.step, "out")


def test_predictions_are_float32_whatever_the_model_computes_in():
    learn = learner()
    data = [x.to(torch.bfloat16) for x, _ in batches(2)]
    learn.model.to(torch.bfloat16)
    assert learn.predict([Batch((x,), None, 4) for x in data]).dtype == torch.float32


def test_predict_needs_no_target():
    data = [Batch((x,), None, len(x)) for x, _ in batches(2)]
    assert learner().predict(data).shape == (8, 2)


def test_evaluating_within_a_fit_changes_nothing():
    class Evaluate(Callback):
        def after_batch(self, learn):
            if learn.step.training:
                step = learn.step
                learn.validate()
                assert learn.step is step
                assert learn.model.training

    plain = learner()
    plain.fit(2, 1e-2)
    nosy = learner()
    nosy.fit(2, 1e-2, [Evaluate()])
    for a, b in zip(weights(plain), weights(nosy)):
        assert torch.equal(a, b)
    assert plain.history.column("train_loss") == nosy.history.column("train_loss")


def test_frozen_groups_stay_and_keep_their_moments():
    learn = learner()
    learn.fit(1, 1e-2)
    bottom = learn.groups[0].params[0]
    moment = learn.optimizer.state[bottom]["exp_avg"].clone()
    before = bottom.detach().clone()
    learn.freeze_to(1)
    learn.fit(1, 1e-2)
    assert torch.equal(bottom, before)
    assert torch.equal(learn.optimizer.state[bottom]["exp_avg"], moment)
    learn.unfreeze()
    learn.fit(1, 1e-2)
    assert not torch.equal(bottom, before)


def test_a_parameter_frozen_by_hand_stays_frozen_as_long_as_its_group_trains():
    learn = learner()
    weight = learn.model.middle.weight
    weight.requires_grad_(False)
    before = weight.detach().clone()
    learn.fit(1, 1e-2)
    learn.freeze_to(1)
    learn.unfreeze()
    learn.lr_find(n_steps=3)
    learn.fit(1, 1e-2)
    assert not weight.requires_grad
    assert torch.equal(weight, before)
    learn.set_trainable([])
    learn.unfreeze()
    assert all(param.requires_grad for param in learn.model.parameters())


def test_a_learner_sees_what_another_one_has_frozen():
    first = learner()
    first.freeze()
    second = Learner(first.model, first.loaders, nn.functional.mse_loss, device="cpu")
    assert second.trainable == (2,)
    second.freeze_to(-2)
    assert second.trainable == (1, 2) and all(param.requires_grad for param in second.groups[1].params)
    first.set_trainable([])
    second.freeze_to(-2)
    assert all(param.requires_grad for index in (1, 2) for param in second.groups[index].params)


@pytest.mark.parametrize(("index", "trained"), [(0, (0, 1, 2)), (1, (1, 2)), (-1, (2,)), (-3, (0, 1, 2)), (3, ())])
def test_freeze_to(index, trained):
    learn = learner()
    learn.freeze_to(index)
    assert learn.trainable == trained
    flags = [all(p.requires_grad for p in group.params) for group in learn.groups]
    assert flags == [i in trained for i in range(3)]


@pytest.mark.parametrize("index", [4, -4])
def test_freeze_to_out_of_range(index):
    with pytest.raises(ValueError, match="this model has 3 layer groups"):
        learner().freeze_to(index)


def test_rates_of_frozen_groups_are_absent_from_the_history():
    learn = learner()
    learn.freeze()
    learn.fit(1, 1e-2)
    lrs = learn.history.steps["lrs"]
    assert lrs["top"] == [1e-2, 1e-2]
    assert all(rate is None or rate != rate for name in lrs if name != "top" for rate in lrs[name])


def test_updates_planned_and_made():
    assert learner().progress.fraction == 0.0
    learn = learner(train=5)
    learn.fit(2, 1e-2)
    assert (learn.progress.step, learn.progress.n_steps) == (10, 10)
    assert learn.progress.fraction == 1.0


class Growing:
    """A loader whose epochs become longer, as those of windows of drawn lengths differ."""

    def __init__(self):
        self.epoch, self.read = 0, []

    def __len__(self):
        return 2 + self.epoch

    def set_epoch(self, epoch):
        self.epoch = epoch

    def seek(self, batch):
        raise AssertionError("nothing is resumed here")

    def __iter__(self):
        self.read.append(self.epoch)
        return iter(batches(len(self), seed=self.epoch))


def test_epochs_are_counted_on_over_fits():
    learn, loader = learner(), Growing()
    learn.loaders = Loaders(loader)
    learn.fit(2, 1e-2)
    assert (learn.epoch_lengths, learn.progress.step, learn.progress.n_steps) == ([2, 3], 5, 5)
    learn.fit(1, 1e-2)
    assert (learn.epoch_lengths, learn.progress.step, learn.progress.n_steps) == ([4], 4, 4)
    assert loader.read == [0, 1, 2]


def test_slanted_rates_are_those_of_the_schedule():
    learn = learner(train=10)
    learn.fit_slanted(2, 1e-2, cut=0.25, ratio=8)
    schedule = SlantedTriangular(0.25, 8)
    expected = [1e-2 * schedule.at(step, 20) for step in range(20)]
    assert learn.history.steps["lrs"]["top"] == pytest.approx(expected, rel=1e-12)


def test_hyper_parameters_come_back_after_a_scheduled_fit():
    learn = learner()
    before = snapshot(learn)["hypers"]
    learn.fit_one_cycle(1, 1e-2, momentum=(0.95, 0.85))
    assert snapshot(learn)["hypers"] == before


def test_two_schedules_of_one_parameter_are_refused():
    with pytest.raises(ValueError, match="both set lr: keep one of them"):
        learner().fit_one_cycle(1, 1e-2, callbacks=[ParamSchedule(lr=SlantedTriangular())])


def test_rate_and_momentum_may_have_a_schedule_each():
    learn = learner()
    learn.fit_slanted(1, 1e-2, callbacks=[ParamSchedule(momentum=Linear(0.9, 0.7))])
    assert learn.history.steps["momentum"][0] == 0.9
    assert len(set(learn.history.steps["lrs"]["top"])) > 1


def test_a_fit_within_a_fit_is_refused():
    class Nested(Callback):
        def after_epoch(self, learn):
            learn.fit(1, 1e-2)

    with pytest.raises(RuntimeError, match="a fit of this learner is already running"):
        learner().fit(1, 1e-2, [Nested()])


@pytest.mark.parametrize("epochs", [0, -1])
def test_epochs_below_one(epochs):
    with pytest.raises(ValueError, match="n_epochs must be at least 1"):
        learner().fit(epochs, 1e-2)


def test_empty_training_data():
    with pytest.raises(ValueError, match="the training loader is empty"):
        learner(train=0).fit(1, 1e-2)


def test_no_validation_loader():
    with pytest.raises(ValueError, match="no validation loader"):
        learner(valid=None).validate()


def test_stop_does_not_outlive_its_fit():
    learn = learner()
    learn.fit(3, 1e-2, [Stopper("after_epoch")])
    assert len(learn.history) == 1
    learn.fit(2, 1e-2)
    assert len(learn.history) == 3


def test_a_stop_in_validation_lets_it_finish():
    learn = learner(valid=5)
    expected = learn.validate()["loss"]
    learn.fit(2, 0.0, [Stopper("before_valid")])
    assert learn.history.column("valid_loss") == [expected]


def test_model_without_logits():
    learn = learner()
    learn.forward = lambda x: {"a": x}
    with pytest.raises(TypeError, match="the model returned dict; it must return a tensor or a record"):
        learn.fit(1, 1e-2)


def test_dataloader_pairs_are_accepted_and_others_named():
    learn = learner()
    data = torch.utils.data.TensorDataset(torch.randn(8, 3), torch.randn(8, 2))
    learn.loaders = Loaders(torch.utils.data.DataLoader(data, batch_size=4))
    learn.fit(1, 1e-2)
    learn.loaders = Loaders([torch.zeros(2)])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"a loader must yield textxfer.Batch or a pair"):
        learn.fit(1, 1e-2)


def test_at_most_five_frames_between_fit_and_the_model():
    names = []

    class Deep(Net):
        def forward(self, x):
            frames = [f for f in inspect.stack() if "/torch/" not in f.filename]
            names.extend(f.function for f in frames[1 : next(i for i, f in enumerate(frames) if f.function == "fit")])
            return super().forward(x)

    learn = Learner(Deep(), Loaders(batches(1)), nn.functional.mse_loss)
    learn.fit(1, 1e-2)
    assert 1 <= len(names) <= 5, names


def test_dispatch_costs_under_two_microseconds():
    def handler(self, learn):
        pass

    callbacks = [type(f"C{i}", (Callback,), {"after_loss": handler})() for i in range(8)]
    table, learn = Dispatcher(callbacks).table(training=True), learner()

    def microseconds(n=20_000):
        began = time.perf_counter()
        for _ in range(n):
            table(Callback.after_loss, learn)
        return (time.perf_counter() - began) / n * 1e6

    assert min(microseconds() for _ in range(7)) < 2


def test_callbacks_of_one_fit_are_gone_afterwards():
    learn = learner()
    recorder = Recorder()
    learn.fit(1, 1e-2, [recorder])
    seen = len(recorder.events)
    learn.fit(1, 1e-2)
    assert len(recorder.events) == seen
    assert learn.callbacks == []


def test_metrics_that_a_callback_assigns_count_from_the_next_pass_on():
    class Assign(Callback):
        def before_valid(self, learn):
            learn.metrics = [Mean(lambda pred, target: (pred - target).square().mean(), "first", "lower")]

        def after_batch(self, learn):
            learn.metrics = [Mean(lambda pred, target: (pred - target).abs().mean(), "second", "lower")]

    learn = learner(Assign())
    learn.fit(2, 1e-2)
    for row in learn.history:
        assert row["valid_loss"] == pytest.approx(row["first"]) and "second" not in row
