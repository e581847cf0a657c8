"""Several processes that train together: every documented way trains as one process does, and the one that does not
warns. All of it in two real processes, started once."""

import copy
import datetime
import gc
import math
import warnings
import weakref

import pytest
import torch
from torch import nn

from alcl.comparators import StudentTLoss
from alcl.losses import ALCLoss, optimizer_groups

WORLD, STEPS = 2, 4
pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="torch without gloo"
)


class WithLoss(nn.Module):
    """As the documentation of ALCLoss has it."""

    def __init__(self, model, criterion):
        super().__init__()
        self.model, self.criterion = model, criterion

    def forward(self, input, target):
        return self.criterion(self.model(input), target)


class Masked(WithLoss):
    def forward(self, input, target, mask):
        return self.criterion(self.model(input)[mask], target[mask])


def network():
    torch.manual_seed(1)
    return nn.Linear(3, 2)


def batch(step):
    g = torch.Generator().manual_seed(step)
    return torch.randn(8, 3, generator=g), torch.randn(8, 2, generator=g)


def masks(step):
    """Which elements count: none of the second half in step 1, as one process may meet it; half of them otherwise."""
    mask = torch.arange(16).reshape(8, 2) % 2 == 0
    mask[4:] &= step != 1
    return mask


def averaged(gradient):
    """A gradient hook of one's own."""
    torch.distributed.all_reduce(gradient)
    return gradient / WORLD


def parallel(module):
    return nn.parallel.DistributedDataParallel(module)


def one_module(model, criterion):
    return parallel(WithLoss(model, criterion))


def each_for_itself(model, criterion):
    return WithLoss(parallel(model), parallel(criterion))


def only_the_model(model, criterion):
    return WithLoss(parallel(model), criterion)


def own_hooks(model, criterion):
    for p in criterion.parameters():
        p.register_hook(averaged)
    return only_the_model(model, criterion)


def masked(model, criterion):
    return parallel(Masked(model, criterion))


def static():
    return ALCLoss(learn=())


def columns():
    return ALCLoss(parameter_shape=(2,), beta=torch.tensor([0.1, 1.0]))


#: What is trained, and how it is wrapped.
SCENARIOS = {
    "one module": (ALCLoss, one_module),
    "one module, kappa learned": (lambda: ALCLoss(kappa=1.5, learn=("alpha", "beta", "kappa")), one_module),
    "one module, Student-t": (StudentTLoss, one_module),
    "one module, nothing learned": (static, one_module),
    "nothing learned, only the model": (static, only_the_model),
    "each for itself": (ALCLoss, each_for_itself),
    "each for itself, a scale for each column": (columns, each_for_itself),
    "own hooks": (ALCLoss, own_hooks),
    "a mask that holds nothing": (ALCLoss, masked),
    "only the model": (ALCLoss, only_the_model),
}
AS_ONE = [name for name in SCENARIOS if name not in ("only the model", "a mask that holds nothing")]


def train(module, model, criterion, part):
    """Four steps on `part` of every batch; the parameters at the end, the losses, the warnings."""
    optimizer = torch.optim.SGD(optimizer_groups(model, criterion, lr=0.1, loss_lr=0.3))
    values = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(STEPS):
            arguments = (
                batch(step)
                if not isinstance(getattr(module, "module", module), Masked)
                else (*batch(step), masks(step))
            )
            optimizer.zero_grad()
            value = module(*(x[part] for x in arguments))
            value.backward()
            optimizer.step()
            values.append(value.item())
    parameters = [p.detach().clone() for p in (*model.parameters(), *criterion.parameters())]
    said = [str(w.message) for w in caught if "processes train" in str(w.message)]
    return {"parameters": parameters, "values": values, "said": said}


def run(name, rank):
    make, wrap = SCENARIOS[name]
    model, criterion = network(), make()
    return train(wrap(model, criterion), model, criterion, slice(4 * rank, 4 * rank + 4))


def refusal():
    try:
        parallel(static())
    except RuntimeError as error:
        return str(error)


def worker(rank, rendezvous, results):
    # DDP imports this module, whose functions have the process group of that moment as a default argument. Imported
    # before there is a group, they do not keep it alive beyond destroy_process_group. Gloo's threads hold tensors for a
    # while after a collective: one that outlived the interpreter would abort the process on freeing one.
    import torch.distributed.nn

    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=rendezvous, rank=rank, world_size=WORLD, timeout=datetime.timedelta(seconds=120)
    )
    try:
        torch.save({name: run(name, rank) for name in SCENARIOS} | {"refused": refusal()}, f"{results}/{rank}.pt")
    finally:
        group = weakref.ref(torch.distributed.group.WORLD)
        torch.distributed.destroy_process_group()
        gc.collect()
    assert group() is None, "the process group outlives its end, and its threads the interpreter"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(worker, (f"file://{folder}/rendezvous", str(folder)), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


@pytest.mark.parametrize("name", AS_ONE)
def test_two_processes_train_as_one_and_nothing_is_said(name, found):
    first, second = (one[name] for one in found)
    torch.testing.assert_close(first["parameters"], second["parameters"], rtol=0, atol=0)  # in step to the last bit
    make, _ = SCENARIOS[name]
    model, criterion = network(), make()
    start = copy.deepcopy(list(criterion.parameters()))
    expected = train(WithLoss(model, criterion), model, criterion, slice(None))["parameters"]
    torch.testing.assert_close(first["parameters"], expected, rtol=1e-5, atol=1e-6)
    for before, after in zip(start, expected[2:], strict=True):
        assert (after - before).abs().max() > 1e-3  # what is learned did move
    assert first["said"] == second["said"] == []


def test_a_bare_criterion_beside_a_parallel_model_drifts_apart_and_says_so_once(found):
    first, second = (one["only the model"] for one in found)
    torch.testing.assert_close(first["parameters"][0], second["parameters"][0], rtol=0, atol=0)
    assert (first["parameters"][-1] - second["parameters"][-1]).abs() > 1e-3
    for one in (first, second):
        (said,) = one["said"]
        assert said.startswith(
            "ALCLoss: 2 processes train, and nothing averages the gradients of its parameters (alpha, beta)"
        )
        assert "DistributedDataParallel" in said


def test_one_process_may_have_nothing_to_learn_from(found):
    first, second = (one["a mask that holds nothing"] for one in found)
    torch.testing.assert_close(first["parameters"], second["parameters"], rtol=0, atol=0)
    assert all(p.isfinite().all() for p in first["parameters"])
    assert [math.isnan(value) for value in first["values"]] == [False] * STEPS
    assert [math.isnan(value) for value in second["values"]] == [False, True, False, False]
    model, criterion = network(), ALCLoss()
    module = Masked(model, criterion)

    # the mean over the processes of each one's gradient, of which the second's is 0 in step 1
    def halves(step):
        arguments = (*batch(step), masks(step))
        parts = [module(*(x[part] for x in arguments)) for part in (slice(0, 4), slice(4, 8))]
        return sum(value for value in parts if value.isfinite()) / WORLD

    optimizer = torch.optim.SGD(optimizer_groups(model, criterion, lr=0.1, loss_lr=0.3))
    for step in range(STEPS):
        optimizer.zero_grad()
        halves(step).backward()
        optimizer.step()
    expected = [p.detach() for p in (*model.parameters(), *criterion.parameters())]
    torch.testing.assert_close(first["parameters"], expected, rtol=1e-5, atol=1e-6)


def test_torch_refuses_a_criterion_that_learns_nothing(found):
    """Which is why the documentation lets it stay outside."""
    assert "is not needed when a module doesn't have any parameter that requires a gradient" in found[0]["refused"]


@pytest.fixture
def pretended():
    """A process group of two whose other member does not exist, and which moves nothing: enough for what is said."""
    store = pytest.importorskip("torch.testing._internal.distributed.fake_pg").FakeStore()
    torch.distributed.init_process_group("fake", store=store, rank=0, world_size=WORLD)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("way", ["sharded", "bare"])
def test_a_sharded_criterion_is_in_good_hands(way, pretended):
    fully_shard = pytest.importorskip("torch.distributed.fsdp").fully_shard
    model, criterion = network(), ALCLoss(parameter_shape=(1,))  # which fully_shard needs
    module = WithLoss(model, criterion)
    if way == "sharded":
        fully_shard(module, mesh=torch.distributed.init_device_mesh("cpu", (WORLD,)))
    assert len(train(module, model, criterion, slice(0, 4))["said"]) == (way == "bare")


def test_fully_shard_takes_no_scalar_parameters(pretended):
    fully_shard = pytest.importorskip("torch.distributed.fsdp").fully_shard
    with pytest.raises(ValueError, match="doesn't support scalar parameters"):
        fully_shard(ALCLoss(), mesh=torch.distributed.init_device_mesh("cpu", (WORLD,)))


def test_one_process_alone_is_told_nothing():
    model, criterion = network(), ALCLoss()
    assert train(WithLoss(model, criterion), model, criterion, slice(None))["said"] == []
