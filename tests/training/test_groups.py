"""Layer groups and the optimizer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.training.toys import Net
from textxfer.training import Optimizer
from textxfer.training.groups import LayerGroup, apply_trainable, layer_groups, trainable_groups


class Listed(Net):
    def __init__(self, groups):
        super().__init__()
        self.groups = groups

    def layer_groups(self):
        return [(name, [p for part in parts for p in getattr(self, part).parameters()]) for name, parts in self.groups]


def test_a_model_without_groups_is_one_group():
    (group,) = layer_groups(nn.Linear(2, 2))
    assert group.name == "model"
    assert len(group.params) == 2


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([("a", ["bottom"]), ("b", ["top"])], "middle.weight, middle.bias"),
        ([("a", ["bottom", "middle"]), ("b", ["middle", "top"])], "middle.weight, middle.bias"),
        ([("a", ["bottom"]), ("a", ["middle", "top"])], "must have different names"),
    ],
)
def test_every_parameter_is_in_exactly_one_group(groups, message):
    with pytest.raises(ValueError, match=message):
        layer_groups(Listed(groups))


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_one_parameter_group_per_layer_and_decay(kind):
    groups = layer_groups(Net())
    optimizer = Optimizer(kind, weight_decay=0.1).build(groups)
    names = [group["name"] for group in optimizer.param_groups]
    assert names == [f"{layer}/{part}" for layer in ("bottom", "middle", "top") for part in ("decay", "no_decay")]
    for group in optimizer.param_groups:
        assert group["weight_decay"] == (0.1 if group["name"].endswith("/decay") else 0.0)
        assert all((param.ndim > 1) == (group["weight_decay"] > 0) for param in group["params"])


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_the_first_update_is_that_of_the_formula(kind):
    model, lr, decay, eps = nn.Linear(3, 2), 0.1, 0.2, 0.5
    optimizer = Optimizer(kind, eps=eps, weight_decay=decay, momentum=0.9).build(layer_groups(model))
    for group in optimizer.param_groups:
        group["lr"] = lr
    model(torch.randn(4, 3)).square().sum().backward()
    expected = []
    for param, wd in ((model.weight, decay), (model.bias, 0.0)):
        old, grad = param.detach().clone(), param.grad.clone()
        coupled = grad + wd * old
        ways = {
            "adamw": (1 - lr * wd) * old - lr * grad / (grad.abs() + eps),
            "adam": old - lr * coupled / (coupled.abs() + eps),
            "sgd": old - lr * coupled,
        }
        expected.append(ways[kind])
    optimizer.step()
    torch.testing.assert_close([model.weight.detach(), model.bias.detach()], expected)


def test_parameters_that_fused_kernels_cannot_serve_get_plain_ones():
    model = nn.ParameterList([torch.ones(2, 2, dtype=torch.complex64), torch.ones(3)])
    optimizer = Optimizer().build(layer_groups(model))
    assert not optimizer.defaults["fused"]
    assert Optimizer().build(layer_groups(nn.Linear(2, 2))).defaults["fused"]


def test_a_group_trains_unless_all_of_it_is_frozen():
    some, none, empty = nn.Linear(2, 2), nn.Linear(2, 2).requires_grad_(False), nn.Identity()
    some.weight.requires_grad_(False)
    groups = [LayerGroup(name, tuple(part.parameters())) for name, part in zip("abc", (some, none, empty))]
    assert trainable_groups(groups) == (0, 2)


def test_unknown_kind():
    with pytest.raises(ValueError, match="kind must be"):
        Optimizer("lamb")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_frozen_parameters_do_not_drift_by_momentum(kind):
    net = Net(0.0)
    groups = layer_groups(net)
    optimizer = Optimizer(kind, momentum=0.9, weight_decay=0.1).build(groups)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    x = torch.ones(2, 3)
    net(x).sum().backward()
    optimizer.step()
    apply_trainable(groups, [2], [0, 1, 2])
    kept = net.bottom.weight.detach().clone()
    net(x).sum().backward()
    optimizer.step()
    assert torch.equal(net.bottom.weight, kept)


@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_a_parameter_may_get_its_first_gradient_later_than_its_neighbours(kind):
    early, late = nn.Linear(3, 2), nn.Linear(3, 2)
    model, x = nn.ModuleList([early, late]), torch.ones(2, 3)
    optimizer = Optimizer(kind, momentum=0.9).build(layer_groups(model))
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    before = late.weight.detach().clone()
    early(x).sum().backward()
    optimizer.step()
    assert torch.equal(late.weight, before)
    (early(x) + late(x)).sum().backward()
    optimizer.step()
    assert not torch.equal(late.weight, before)
