"""The training loop: its batches, its schedule, what it records, and what it refuses."""

import copy
import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from alcl.catalogue import LOSSES, make_loss
from alcl.comparators import StudentTLoss
from alcl.experiments import training
from alcl.experiments.models import make_model
from alcl.experiments.training import SCHEDULES, TRACKED, History, fit
from alcl.losses import ALCLoss, HuberLoss, MSELoss, optimizer_groups


def regression(number=50):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(number, 4, generator=g)
    return x, x @ torch.tensor([[1.0, 0.5], [-1.0, 0.0], [0.3, 2.0], [0.0, -0.7]]) + 0.1


def linear():
    torch.manual_seed(1)
    return nn.Linear(4, 2)


def run(model=None, criterion=None, data=None, seed=3, **options):
    model, criterion = linear() if model is None else model, MSELoss() if criterion is None else criterion
    options = {"epochs": 3, "batch_size": 16, "lr": 0.01, **options}
    history = fit(model, criterion, *(data or regression()), generator=torch.Generator().manual_seed(seed), **options)
    return model, criterion, history


class Spy(nn.Module):
    """A model that remembers what it was shown."""

    def __init__(self, model):
        super().__init__()
        self.model, self.shown = model, []

    def forward(self, x):
        self.shown.append(x.detach().clone())
        return self.model(x)


# --- determinism and batches ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["alcl", "student_t", "mse"])
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_two_runs_are_equal_to_the_last_bit(loss, network):
    g = torch.Generator().manual_seed(0)
    clean = torch.rand(20, 1, 8, 8, generator=g)
    noisy = clean + 0.3 * torch.randn(20, 1, 8, 8, generator=g)
    outcomes = []
    for disturbance in (0, 1):
        torch.manual_seed(disturbance)  # the global generator plays no part
        model = make_model(network, (1, 8, 8), hidden=6, code=4, seed=0)
        model, criterion, history = run(model, make_loss(loss), (noisy, clean), schedule="cosine")
        outcomes.append((model.state_dict(), criterion.state_dict(), history.loss, history.parameters))
    one, two = outcomes
    for a, b in zip(one[:2], two[:2], strict=True):
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert one[2:] == two[2:]


def test_another_generator_draws_other_batches():
    one, two = (run(Spy(linear()), seed=s)[0].shown for s in (3, 4))
    assert not all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_batches_do_not_depend_on_the_loss(loss):
    """Seeds can only be paired across methods if every method sees the same examples in the same order."""
    reference = run(Spy(linear()), MSELoss())[0].shown
    shown = run(Spy(linear()), make_loss(loss))[0].shown
    assert len(shown) == len(reference)
    assert all(torch.equal(a, b) for a, b in zip(shown, reference, strict=True))


@pytest.mark.parametrize(
    ("number", "batch_size", "sizes"), [(50, 16, [16, 16, 16, 2]), (8, 8, [8]), (5, 100, [5]), (3, 1, [1, 1, 1])]
)
def test_an_epoch_shows_every_example_once(number, batch_size, sizes):
    data = regression(number)
    model, _, history = run(Spy(linear()), data=data, epochs=2, batch_size=batch_size)
    shown = model.shown
    assert [len(batch) for batch in shown] == sizes * 2
    assert history.steps == len(sizes) * 2
    orders = []
    for epoch in (shown[: len(sizes)], shown[len(sizes) :]):
        seen = torch.cat(epoch)
        orders.append([int((data[0] == row).all(1).nonzero()) for row in seen])
        assert sorted(orders[-1]) == list(range(number))
    assert number < 10 or orders[0] != orders[1]  # shuffled anew


def test_inputs_and_targets_stay_together_and_unchanged():
    x = torch.arange(40.0)[:, None]
    pairs = []

    class Compare(nn.Module):
        def forward(self, output, target):
            pairs.extend(zip(output.detach().flatten().tolist(), target.flatten().tolist(), strict=True))
            return (output * 0).sum()

    class Identity(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return x + self.shift

    data = (x, 10 * x)
    run(Identity(), Compare(), data, epochs=1)
    assert len(pairs) == 40
    assert all(target == 10 * output for output, target in pairs)
    assert torch.equal(x, torch.arange(40.0)[:, None])


# --- what a step is -------------------------------------------------------------------------------------------------


def by_hand(
    model, criterion, data, seed=3, epochs=3, batch_size=16, lr=0.01, loss_lr=None, weight_decay=0.0, rate=lambda t: 1.0
):
    """The loop written out with a plain (unfused) Adam and an explicit schedule."""
    groups = optimizer_groups(model, criterion, lr, loss_lr, weight_decay)
    rates = [group["lr"] for group in groups]
    optimizer = torch.optim.Adam(groups)
    generator = torch.Generator().manual_seed(seed)
    means, step = [], 0
    for _ in range(epochs):
        order, total = torch.randperm(len(data[0]), generator=generator), 0.0
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            for group, base in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = base * rate(step)
            optimizer.zero_grad()
            loss = criterion(model(data[0][chosen]), data[1][chosen])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
            step += 1
        means.append(total / len(order))
    return means


@pytest.mark.parametrize(
    "options",
    [{}, {"loss_lr": 0.1}, {"weight_decay": 0.3}, {"schedule": "cosine"}, {"schedule": "cosine", "loss_lr": 0.1}],
    ids=str,
)
def test_fit_is_the_loop_written_out(options):
    data = regression()
    model, criterion, history = run(criterion=ALCLoss(), data=data, **options)
    twin, its_criterion = linear(), ALCLoss()
    steps = 3 * 4
    plain = {k: v for k, v in options.items() if k != "schedule"}
    if "schedule" in options:
        plain["rate"] = lambda t: 0.5 * (1 + math.cos(math.pi * t / steps))
    means = by_hand(twin, its_criterion, data, **plain)
    torch.testing.assert_close(list(model.parameters()), list(twin.parameters()), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(list(criterion.parameters()), list(its_criterion.parameters()), rtol=1e-5, atol=1e-6)
    assert history.loss == pytest.approx(means, rel=1e-5)


def test_the_cosine_schedule_ends_at_rest():
    """The last step is nearly nothing, the first as large as with a constant rate."""
    moves = {}
    for schedule in SCHEDULES:
        model = linear()
        seen = []
        model.register_forward_pre_hook(lambda m, _, seen=seen: seen.append(m.weight.detach().clone()))
        run(model, schedule=schedule, epochs=25)
        seen.append(model.weight.detach().clone())
        moves[schedule] = [(b - a).abs().max().item() for a, b in itertools.pairwise(seen)]
    assert moves["cosine"][0] == pytest.approx(moves["constant"][0], rel=1e-6)
    assert moves["cosine"][-1] < 1e-3 * moves["cosine"][0]
    assert moves["constant"][-1] > 1e-2 * moves["constant"][0]


def test_the_mean_loss_weights_the_last_batch_by_its_size():
    """With a rate too small to move anything, every epoch's loss is the loss of the whole set."""
    x, y = regression(21)
    y[0] = 100.0  # which batch the outlier falls into must not matter
    model = linear()
    whole = MSELoss()(model(x), y).item()
    _, _, history = run(model, data=(x, y), epochs=3, batch_size=4, lr=1e-12)
    assert history.loss == pytest.approx([whole] * 3, rel=1e-5)


def test_it_learns():
    model, _, history = run(epochs=60, batch_size=10, lr=0.05)
    assert history.loss[-1] < 1e-4 < history.loss[0]
    assert len(history.loss) == 60
    assert history.seconds > 0
    torch.testing.assert_close(model.bias.detach(), torch.tensor([0.1, 0.1]), rtol=0, atol=0.01)


# --- the loss's own parameters --------------------------------------------------------------------------------------


def test_the_course_of_the_loss_parameters_is_recorded():
    start = ALCLoss(2.5, 0.8)
    values = [(start.alpha.item(), start.beta.item())]
    criterion = copy.deepcopy(start)

    def at_epoch(epoch, inputs, targets):
        if epoch:
            values.append((criterion.alpha.item(), criterion.beta.item()))
        return inputs, targets

    _, _, history = run(criterion=criterion, on_epoch=at_epoch)
    values.append((criterion.alpha.item(), criterion.beta.item()))
    assert list(zip(history.parameters["alpha"], history.parameters["beta"], strict=True)) == values
    assert history.parameters["kappa"] == [1.0] * 4  # fixed, recorded all the same
    assert len(set(history.parameters["beta"])) == 4  # they move


def test_parameters_of_a_shape_are_recorded_by_their_mean():
    criterion = ALCLoss(beta=torch.tensor([0.5, 1.5]), parameter_shape=(2,))
    _, _, history = run(criterion=criterion)
    assert history.parameters["beta"][0] == pytest.approx(1.0)
    assert history.parameters["beta"][-1] == pytest.approx(criterion.beta.mean().item())


@pytest.mark.parametrize(
    ("criterion", "names"),
    [
        (MSELoss(), []),
        (nn.L1Loss(), []),
        (HuberLoss(), []),
        (make_loss("cauchy"), []),  # its scale is a plain number, which cannot move
        (StudentTLoss(), ["dof", "scale"]),
        (make_loss("barron"), ["alpha", "scale"]),
        (ALCLoss(learn=()), ["alpha", "beta", "kappa"]),
    ],
    ids=lambda c: type(c).__name__,
)
def test_what_is_recorded_of_each_criterion(criterion, names):
    _, _, history = run(criterion=criterion, epochs=1)
    assert list(history.parameters) == names
    assert set(names) <= set(TRACKED)
    assert all(len(v) == 2 for v in history.parameters.values())


def test_loss_lr_moves_the_loss_parameters_faster():
    betas = [run(criterion=ALCLoss(), loss_lr=lr, epochs=1)[1].beta.item() for lr in (None, 0.1)]
    assert abs(betas[1] - 1) > 3 * abs(betas[0] - 1) > 0


def test_weight_decay_touches_the_network_only():
    x, _ = regression()
    zero = (x, torch.zeros(50, 2))

    class Flat(nn.Module):
        """No gradient at all: only the decay moves anything."""

        def __init__(self):
            super().__init__()
            self.raw_alpha = nn.Parameter(torch.tensor(2.0))

        def forward(self, output, target):
            return 0 * (output.sum() + self.raw_alpha)

    criterion, before = Flat(), linear()
    model, _, _ = run(criterion=criterion, data=zero, weight_decay=0.5, epochs=1)
    assert model.weight.norm() < before.weight.norm()
    assert criterion.raw_alpha == 2.0


# --- modes, progress, callbacks -------------------------------------------------------------------------------------


def test_model_and_criterion_are_put_into_training_mode():
    model = nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5)).eval()
    criterion = ALCLoss().eval()
    run(model, criterion, epochs=1)
    assert model.training
    assert criterion.training


def test_silent_unless_asked(capsys):
    run()
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_progress_asks_tqdm_for_a_bar(monkeypatch):
    asked = []

    def tqdm(iterable, **options):
        asked.append(options)
        return iterable

    monkeypatch.setattr(training, "tqdm", tqdm)
    run(progress=False)
    run(progress=True)
    assert [options["disable"] for options in asked] == [True, None]  # None: shown on a terminal only


def test_on_epoch_sees_each_epoch_and_its_tensors_are_used():
    calls = []
    x, y = regression(12)

    def drift(epoch, inputs, targets):
        calls.append((epoch, inputs.clone(), targets.clone()))
        return inputs + 1, targets

    model, _, _ = run(Spy(linear()), data=(x, y), epochs=3, batch_size=12, on_epoch=drift)
    assert [c[0] for c in calls] == [0, 1, 2]
    for epoch, inputs, targets in calls:
        torch.testing.assert_close(inputs, x + epoch)  # what it returned the last time
        assert torch.equal(targets, y)
    for epoch, shown in enumerate(model.shown):
        torch.testing.assert_close(shown.sort(0).values, (x + epoch + 1).sort(0).values)


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be an integer, at least 1; got 0"),
        ({"epochs": 2.5}, "epochs must be an integer, at least 1; got 2.5"),
        ({"batch_size": 0}, "batch_size must be an integer, at least 1; got 0"),
        ({"batch_size": 16.0}, "batch_size must be an integer, at least 1; got 16.0"),
        ({"lr": 0.0}, "lr must be positive and finite; got 0.0"),
        ({"lr": math.nan}, "lr must be positive and finite"),
        ({"loss_lr": -0.1}, "loss_lr must be positive and finite; got -0.1"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0 and finite; got -1.0"),
        ({"schedule": "linear"}, "schedule must be one of constant, cosine; got 'linear'"),
        ({"data": (torch.zeros(3, 4), torch.zeros(2, 2))}, "inputs and targets must hold the same number.*got 3, 2"),
        ({"data": (torch.zeros(0, 4), torch.zeros(0, 2))}, "at least one; got 0, 0"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_named_before_anything_is_trained(options, message):
    model, criterion = linear().eval(), ALCLoss().eval()
    before = [p.detach().clone() for p in (*model.parameters(), *criterion.parameters())]
    calls = []

    def on_epoch(epoch, inputs, targets):
        calls.append(epoch)
        return inputs, targets

    with pytest.raises(ValueError, match=message):
        run(model, criterion, on_epoch=on_epoch, **options)
    after = [*model.parameters(), *criterion.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not calls
    assert not model.training
    assert not criterion.training


def test_numpy_integers_count_as_integers():
    _, _, history = run(epochs=np.int64(1), batch_size=np.int32(16))
    assert json.dumps(history.steps) == "4"


def test_histories_do_not_share_their_lists():
    assert History().loss is not History().loss


def test_a_loss_with_a_schedule_is_told_the_time_before_every_step():
    times = []

    class Timed(MSELoss):
        def advance(self, t):
            times.append(t)

    x = torch.rand(10, 3)
    fit(nn.Linear(3, 3), Timed(), x, x, epochs=2, batch_size=4, lr=1e-3)
    assert times == pytest.approx([step / 6 for step in range(6)])
