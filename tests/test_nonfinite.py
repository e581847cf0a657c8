"""Residuals that are inf or NaN: refused with their number and place, before anything is poisoned."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from alcl.base import NONFINITE, AdaptiveLoss, ResidualLoss
from alcl.catalogue import LOSSES, make_loss
from alcl.experiments import reconstruction
from alcl.experiments.training import fit
from alcl.functional import REDUCTIONS
from alcl.losses import ALCLoss, GeneralizedCorrentropyLoss, optimizer_groups

every_loss = pytest.mark.parametrize("name", LOSSES)
values = pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
MESSAGE = r"residuals must be finite; got 1 of 12 that are not .* at \[1, 2\]; {} has 1 of its own"


def batch(value=None, where=(1, 2)):
    input = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    if value is not None:
        input[where] = value
    return input, torch.zeros(4, 3)


@values
@every_loss
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("side", ["input", "target"])
def test_every_loss_refuses_them_and_says_how_many_and_where(name, reduction, value, side):
    bad, good = batch(value)
    arguments = (bad, good) if side == "input" else (good, bad)
    with pytest.raises(ValueError, match=MESSAGE.format(side)):
        make_loss(name, reduction=reduction)(*arguments)


def test_the_message_counts_kinds_and_shortens_a_long_list():
    input, target = batch()
    input[0], input[3, 0] = math.nan, math.inf
    with pytest.raises(
        ValueError, match=r"got 4 of 12 .*\(3 NaN, 1 inf\), at \[0, 0\], \[0, 1\], \[0, 2\] \.\.\.; input"
    ):
        ALCLoss()(input, target)


def test_a_difference_that_overflows_is_told_from_bad_data():
    huge = torch.tensor([3e38, 1.0])
    with pytest.raises(ValueError, match=r"at \[0\]; input and target are finite, their difference overflows"):
        ALCLoss()(huge, -huge)


LARGEST = {
    torch.float16: [65504.0, -65504.0, 6e-8],
    torch.bfloat16: [3.3895e38, -3.3895e38, 1e-40],
    torch.float32: [3.4028e38, -3.4028e38, 1e-45],
    torch.float64: [1.797e308, -1.797e308, 5e-324],
}


@every_loss
@pytest.mark.parametrize("dtype", LARGEST)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_finite_residuals_of_any_size_are_never_refused(name, dtype, reduction):
    """Not even where the loss itself overflows on them, as the squared error does: that is the loss's own affair."""
    input = torch.tensor([*LARGEST[dtype], 0.0], dtype=dtype)
    value = make_loss(name, reduction=reduction).to(torch.float64 if dtype == torch.float64 else torch.float32)(
        input, torch.zeros_like(input)
    )
    if name in ("alcl", "gcl", "cauchy", "student_t"):
        assert value.isfinite().all()
    if name == "mse" and dtype != torch.float16:
        assert not value.isfinite().all()  # so the closer look was taken, and found nothing


def test_empty_input_is_not_refused():
    assert ALCLoss()(torch.zeros(0, 3), torch.zeros(0, 3)).isnan()  # as every mean of nothing
    assert ALCLoss(reduction="sum")(torch.zeros(0, 3), torch.zeros(0, 3)) == 0


@every_loss
def test_propagate_gives_what_the_arithmetic_gives(name):
    input, target = batch(math.nan)
    input.requires_grad_()
    loss = make_loss(name, nonfinite="propagate")
    value = loss(input, target)
    assert value.isnan()
    plain = make_loss(name)
    assert torch.equal(loss(*batch()), plain(*batch()))  # and nothing else differs
    assert loss.nonfinite == "propagate"
    assert plain.nonfinite == "raise"


@pytest.mark.parametrize("wrong", ["ignore", None, True])
def test_an_unknown_policy_is_named(wrong):
    with pytest.raises(ValueError, match=rf"nonfinite must be one of {', '.join(NONFINITE)}; got"):
        ALCLoss(nonfinite=wrong)


@values
@every_loss
def test_no_parameter_is_ever_poisoned(name, value):
    """A training loop that meets a bad target in its third batch: the error comes before any gradient of that step."""
    torch.manual_seed(0)
    model, criterion = nn.Linear(3, 3), make_loss(name)
    inputs, targets = torch.randn(20, 3), torch.randn(20, 3)
    targets[11, 1] = value
    optimizer = torch.optim.Adam(optimizer_groups(model, criterion, lr=0.01))
    before = []

    def train():
        for x, y in zip(inputs.split(4), targets.split(4), strict=True):
            optimizer.zero_grad()
            before[:] = [p.detach().clone() for p in (*model.parameters(), *criterion.parameters())]
            criterion(model(x), y).backward()
            optimizer.step()

    with pytest.raises(ValueError, match=r"got 1 of 12 .*at \[3, 1\]; target has 1"):
        train()
    after = [p.detach() for p in (*model.parameters(), *criterion.parameters())]
    assert all(p.isfinite().all() for p in after)
    torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_fit_stops_with_the_same_words():
    inputs, targets = torch.randn(8, 3), torch.randn(8, 3)
    targets[5, 2] = math.inf
    model, criterion = nn.Linear(3, 3), ALCLoss()
    with pytest.raises(ValueError, match="residuals must be finite; got 1 of "):
        fit(model, criterion, inputs, targets, epochs=1, batch_size=4, lr=1e-3)
    assert all(p.isfinite().all() for p in (*model.parameters(), *criterion.parameters()))


def test_a_poisoned_loss_parameter_is_named():
    """Finite residuals, and a parameter that something else has made NaN."""
    criterion = ALCLoss()
    criterion.raw_beta.data.fill_(math.nan)
    with pytest.raises(ValueError, match="ALCLoss: its parameter raw_beta is not finite"):
        criterion(*batch())


# --- losses of one's own --------------------------------------------------------------------------------------------


class Welsch(ResidualLoss):
    """Bounded, and says nothing of it; at a residual of inf it is 1, at NaN as blind as it can be made."""

    def rho(self, residual):
        return 1 - torch.exp(-residual.square()).nan_to_num(0.0)


class LearnedWelsch(AdaptiveLoss):
    def __init__(self, reduction="mean"):
        super().__init__(reduction)
        self._store("scale", torch.tensor(1.0), 1e-3)

    def rho(self, residual):
        return 1 - torch.exp(-(residual / self._value("scale", self.scale_min)).square())


@values
@pytest.mark.parametrize("make", [Welsch, LearnedWelsch])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_a_bounded_loss_of_ones_own_need_not_know_of_the_check(make, reduction, value):
    loss = make(reduction=reduction)
    assert loss(*batch()).isfinite().all()
    with pytest.raises(ValueError, match=MESSAGE.format("input")):
        loss(*batch(value))
    bad, good = batch(value)
    with pytest.raises(ValueError, match=r"residuals must be finite; got 1 of "):
        vmap(loss)(bad, good)


@values
@pytest.mark.parametrize("name", [name for name in LOSSES if not make_loss(name).bounded])
def test_what_calls_itself_unbounded_is(name, value):
    """A loss may say so only if its value tells of every residual that is not finite."""
    assert not make_loss(name).rho(torch.tensor(value)).isfinite()


def test_a_poisoned_parameter_of_a_bounded_loss_is_named():
    loss = LearnedWelsch()
    loss.raw_scale.data.fill_(math.nan)
    with pytest.raises(ValueError, match="LearnedWelsch: its parameter raw_scale is not finite"):
        loss(torch.zeros(3), torch.zeros(3))


# --- where Python sees no numbers -----------------------------------------------------------------------------------


@values
@every_loss
def test_under_vmap_and_grad(name, value):
    criterion = make_loss(name)
    bad, good = batch(value)
    scalar = grad(lambda i, t: criterion(i, t).sum())
    for action in (
        lambda: scalar(bad, good),
        lambda: vmap(criterion)(bad, good),
        lambda: vmap(scalar)(bad, good),
        lambda: vmap(criterion, (0, None))(bad, good[0]),
        lambda: vmap(vmap(criterion))(bad, good),
        lambda: vmap(criterion, 1)(bad, good),
    ):
        with pytest.raises(ValueError, match=r"residuals must be finite; got 1 of "):
            action()
    one_by_one = torch.stack([criterion(i, t) for i, t in zip(*batch(), strict=True)])
    torch.testing.assert_close(vmap(criterion)(*batch()), one_by_one)


def test_under_vmap_over_an_ensemble_of_parameters():
    criterion = ALCLoss()
    stacked = {name: torch.stack([p.detach(), p.detach() + 1]) for name, p in criterion.named_parameters()}
    member = vmap(lambda p, i, t: functional_call(criterion, p, (i, t)), (0, None, None))
    assert member(stacked, *batch()).isfinite().all()
    with pytest.raises(ValueError, match="residuals must be finite"):
        member(stacked, *batch(math.nan))


@pytest.mark.parametrize("criterion", [ALCLoss(), GeneralizedCorrentropyLoss()], ids=["alcl", "gcl"])
@values
def test_compiled_graphs_hold_the_assertion(criterion, value):
    checks = torch.distributions.Distribution._validate_args
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(criterion), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*batch()), criterion(*batch()))
    with pytest.raises(RuntimeError, match="residuals must be finite"):
        compiled(*batch(value))
    torch._dynamo.reset()
    torch.distributions.Distribution.set_default_validate_args(checks)  # the compiler switches them off for good


# --- the experiment -------------------------------------------------------------------------------------------------


def test_a_run_that_diverges_is_recorded_not_lost():
    """In a benchmark, divergence is a result: None in the record, and the condition stays complete."""
    config = reconstruction.method_run(
        "mse", "digits", "extreme", epochs=2, n_train=64, n_test=32, n_validation=32, lr=1e25
    )
    record = reconstruction.run(config)
    assert record["metrics"]["psnr"] is None
    assert record["metrics"]["accuracy"] == 0.0
