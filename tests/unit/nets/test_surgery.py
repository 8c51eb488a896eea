"""Surgery: a copy with other layers, the original as it was; a folded net computes what the net did."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from course_lib.nets import LeNet5, Residual, SmallResNet, fold_batch_norm, replace_layers


def drawn(model, seed=0):
    """Every number of a model drawn, running statistics too, so that no factor is one and no offset zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if value.is_floating_point():
                value.normal_(0, (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.5, generator=generator)
                if name.endswith(("running_var", "bn.weight")):
                    value.abs_().add_(0.3)
    return model.eval()


def state_of(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def unchanged(before, model):
    return before.keys() == model.state_dict().keys() and all(
        torch.equal(value, model.state_dict()[key]) for key, value in before.items())


# ---- replacing


def test_replaced_in_the_copy_and_nowhere_else():
    model = LeNet5()
    before, asked = state_of(model), []

    def choose(name, layer):
        asked.append(name)
        return nn.AvgPool2d(layer.kernel_size) if isinstance(layer, nn.MaxPool2d) else None

    other = replace_layers(model, choose)
    assert asked == [name for name, _ in model.named_modules()]
    assert [type(layer).__name__ for layer in other][:4] == ["Conv2d", "AvgPool2d", "Conv2d", "AvgPool2d"]
    assert isinstance(model.pool1, nn.MaxPool2d) and unchanged(before, model)
    with torch.no_grad():
        other.conv1.weight.zero_()
    assert unchanged(before, model)


def test_any_tree_and_wrappers_around_the_layer():
    """Inside a residual block too; what replaces a layer may hold it, and is not gone into."""
    model = drawn(SmallResNet())
    twice = replace_layers(model, lambda _, layer: nn.Sequential(layer, nn.ReLU()) if type(layer) is nn.ReLU else None)
    assert sum(type(layer) is nn.ReLU for layer in twice.modules()) == 2 * sum(
        type(layer) is nn.ReLU for layer in model.modules())
    x = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert torch.equal(twice(x), model(x))
    assert type(replace_layers(nn.ReLU(), lambda *_: nn.Sigmoid())) is nn.Sigmoid


def test_what_is_shared_stays_shared():
    linear, relu = nn.Linear(4, 4), nn.ReLU()
    model = nn.Sequential(linear, relu, nn.Sequential(linear, relu), nn.Linear(4, 4))
    model[3].weight = linear.weight
    asked = []

    def choose(name, layer):
        asked.append(name)
        return nn.Tanh() if isinstance(layer, nn.ReLU) else None

    other = replace_layers(model, choose)
    assert asked == ["", "0", "1", "2", "3"]
    assert other[0] is other[2][0] and other[1] is other[2][1] and other[3].weight is other[0].weight
    assert other[0] is not linear and isinstance(other[1], nn.Tanh)


def test_a_module_in_itself_ends():
    model = nn.Sequential(nn.ReLU())
    model.append(model)
    other = replace_layers(model, lambda _, layer: nn.Tanh() if isinstance(layer, nn.ReLU) else None)
    assert isinstance(other[0], nn.Tanh) and other[1] is other


@pytest.mark.parametrize("call", [replace_layers, lambda model, choose: fold_batch_norm(model)])
def test_what_is_no_module_is_refused(call):
    with pytest.raises(TypeError, match="model is a list; it should be an nn.Module"):
        call([nn.ReLU()], lambda *_: None)


def test_what_is_chosen_must_be_a_module():
    with pytest.raises(TypeError, match="choose returned a str for '0'; it should return a module, or None"):
        replace_layers(nn.Sequential(nn.ReLU()), lambda name, layer: "ReLU" if name else None)


# ---- folding


def bn(channels, **options):
    return nn.BatchNorm2d(channels, **options)


FOLDED = {
    "small resnet": lambda: SmallResNet(),
    "with a bias": lambda: nn.Sequential(nn.Conv2d(1, 4, 3), bn(4), nn.ReLU(), nn.Conv2d(4, 3, 3), bn(3)),
    "of linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 9), nn.BatchNorm1d(9), nn.ReLU()),
    "without factor and offset": lambda: nn.Sequential(nn.Conv2d(1, 4, 3), bn(4, affine=False)),
    "a large epsilon": lambda: nn.Sequential(nn.Conv2d(1, 4, 3), bn(4, eps=0.3)),
    "two in a row": lambda: nn.Sequential(nn.Conv2d(1, 4, 3), bn(4), bn(4)),
    "behind a Sequential, dropout, identity": lambda: nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout(), nn.Identity()), bn(4)),
    "one norm in two places": lambda: (lambda norm: nn.Sequential(
        nn.Conv2d(1, 4, 3), norm, nn.Conv2d(4, 4, 3), norm))(bn(4)),
    "a block in two places": lambda: (lambda block: nn.Sequential(nn.Conv2d(1, 4, 3), block, block))(
        Residual(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), bn(4)))),
}


@pytest.mark.parametrize("name", FOLDED)
def test_folded_to_the_rounding_of_float32(name):
    """In float32 to some spacings of the largest output, in float64 to its own: the algebra is exact."""
    model = drawn(FOLDED[name]())
    x = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    before = state_of(model)
    folded = fold_batch_norm(model)
    assert not any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in folded.modules())
    assert unchanged(before, model)
    with torch.no_grad():
        theirs, ours = model(x), folded(x)
        assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()
        wide = copy.deepcopy(model).double()
        assert (fold_batch_norm(wide)(x.double()) - wide(x.double())).abs().max() < 1e-13 * theirs.abs().max()
        # what would be left of the model if the step were left out
        bare = replace_layers(model, lambda _, layer: nn.Identity() if "BatchNorm" in type(layer).__name__ else None)
        assert (bare(x) - theirs).abs().max() > 0.1 * theirs.abs().max()


def test_pruned_weights_stay_pruned():
    model = drawn(nn.Sequential(nn.Conv2d(1, 4, 3), bn(4)))
    prune.random_unstructured(model[0], "weight", 0.5)
    x = torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(1))
    folded = fold_batch_norm(model)
    with torch.no_grad():
        assert (folded(x) - model(x)).abs().max() < 1e-5
    assert torch.equal(folded[0].weight == 0, model[0].weight == 0) and (folded[0].weight == 0).sum() == 18


def test_frozen_layers_stay_frozen_and_are_leaves():
    model = drawn(nn.Sequential(nn.Conv2d(1, 4, 3), bn(4))).requires_grad_(False)
    assert not any(p.requires_grad for p in fold_batch_norm(model).parameters())
    model.requires_grad_(True)
    assert all(p.requires_grad and p.is_leaf for p in fold_batch_norm(model).parameters())


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(1, 4, 3), bn(4)

    def forward(self, x):
        return self.conv(x) + self.bn(self.conv(x))


def shared():
    conv = nn.Conv2d(4, 4, 3)
    return nn.Sequential(nn.Conv2d(1, 4, 3), conv, nn.ReLU(), conv, bn(4))


def normed():
    return nn.Sequential(parametrizations.weight_norm(nn.Conv2d(1, 4, 3)), bn(4))


REFUSED = {
    "first": (lambda: nn.Sequential(bn(1)), "batch norm '0' has no layer to fold into: nothing stands before it"),
    "after a relu": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), bn(4)),
                     "batch norm '2' has no layer to fold into: before it stands a ReLU"),
    "after a block": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), Residual(nn.ReLU()), bn(4)),
                      "batch norm '2' has no layer .* a Residual"),
    "at the start of a block": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), Residual(nn.Sequential(bn(4)))),
                                "batch norm '1.body.0' has no layer to fold into: nothing stands before it"),
    "a forward of its own": (lambda: nn.Sequential(Own()), "batch norm '0.bn' has no layer to fold into; it should"),
    "alone": (lambda: bn(4), "batch norm '' has no layer to fold into"),
    "no statistics": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), bn(4, track_running_stats=False)),
                      "batch norm '1' has no running statistics"),
    "a layer in two places": (shared, "layer '3' stands in 2 places, so batch norm '4' cannot be folded"),
    "a weight made anew": (normed, "layer '0' has a weight that is made anew before each call, so batch norm '1'"),
    "other features": (lambda: nn.Sequential(nn.Conv2d(1, 4, 3), bn(5)),
                       "batch norm '1' has 5 features, and layer '0' before it gives 4"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    make, message = REFUSED[name]
    with pytest.raises(TypeError, match=message):
        fold_batch_norm(make())
