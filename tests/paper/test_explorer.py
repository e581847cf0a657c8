"""The explorer's formulas, run by a JavaScript engine, are the library's."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import integrate

from alcl import ALCLoss, ContaminatedALCLoss, ContaminatedT, GeneralizedT, losses
from alcl.distributions import log_normalizer
from alcl.experiments.location import location_estimate
from alcl.functional import alcl_loss
from alcl.influence import Influence
from alcl.paper import figures

quickjs = pytest.importorskip("quickjs", reason="the extra book has the JavaScript engine (Python 3.11 on)")

SOURCE = Path(__file__).resolve().parents[2] / "notebooks" / "explorer" / "explorer.js"
NAMES = ("mse", "huber", "cauchy", "welsch", "alcl", "contaminated_alcl")
PARAMETERS = ("alpha", "beta", "kappa", "eps")


@pytest.fixture(scope="module")
def script():
    """A function: JavaScript's value of f(arguments), where f is an expression in E, the explorer."""
    context = quickjs.Context()
    context.eval(SOURCE.read_text("utf-8") + "; const E = ALCLExplorer; 0")

    def call(function, *arguments):
        # JSON has no infinity; a number that is none comes back as its name.
        named = "(key, x) => typeof x === 'number' && !Number.isFinite(x) ? String(x) : x"
        text = f"JSON.stringify(({function})(...{json.dumps(arguments)}), {named})"
        return json.loads(context.eval(text))

    return call


pytestmark = pytest.mark.usefixtures("double_precision")


def library(name, alpha, beta, kappa, eps=0.1):
    own = {"learn": (), "alpha_min": min(1.0, alpha / 2)}
    return {
        "mse": lambda: losses.MSELoss(),
        "huber": lambda: losses.HuberLoss(beta),
        "cauchy": lambda: losses.CauchyLoss(beta),
        "welsch": lambda: losses.GeneralizedCorrentropyLoss(2.0, beta),
        "alcl": lambda: ALCLoss(alpha, beta, kappa, normalized=False, **own),
        "contaminated_alcl": lambda: ContaminatedALCLoss(alpha, beta, kappa, eps, density=0.05, **own),
    }[name]()


def settings(count, seed=0):
    """Residuals over six decades, and parameters over the sliders' ranges and past them."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        e = float(rng.choice([-1, 1]) * 10 ** rng.uniform(-3, 3))
        yield e, *(float(rng.uniform(*span)) for span in ((0.6, 8), (0.05, 5), (0.4, 5), (0.01, 0.6)))


@pytest.mark.parametrize("name", NAMES)
def test_loss_influence_and_weight_are_those_of_the_library(script, name):
    points = list(settings(400))
    if name == "contaminated_alcl":
        points = [point for point in points if point[1] * point[3] > 1.01]
    points = points[:200]
    theirs = script(
        f"(points) => points.map(([e, alpha, beta, kappa, eps]) => "
        f"['rho', 'psi', 'weight'].map((f) => E.losses.{name}[f](e, {{alpha, beta, kappa, eps}})))",
        points,
    )
    assert len(points) == 200
    for (e, *parameters), found in zip(points, theirs, strict=True):
        influence = Influence(library(name, *parameters))
        at = torch.tensor([e], dtype=torch.float64)
        rho = influence.loss.rho(at) - influence.loss.rho(torch.zeros_like(at))  # not 0 at 0 where it is -log p
        ours = [rho, influence.psi(at), influence.weight(at)]
        # A mixture loses digits in the difference above, and the library takes less than exp(-80) of it for nothing.
        lost = (1e-14, 1e-30, 1e-30) if name == "contaminated_alcl" else (1e-300,) * 3
        for value, expected, least in zip(found, ours, lost, strict=True):
            assert math.isclose(value, expected.item(), rel_tol=1e-10, abs_tol=least), (name, e, parameters)


@pytest.mark.parametrize("name", ["alcl", "contaminated_alcl"])
def test_densities_are_those_of_the_library(script, name):
    points = [point for point in settings(400, seed=3) if point[1] * point[3] > 1.01 and abs(point[0]) < 10][:200]
    theirs = script(
        f"(points) => points.map(([e, alpha, beta, kappa, eps]) => "
        f"E.density('{name}', e, {{alpha, beta, kappa, eps}}))",
        points,
    )
    assert len(points) == 200
    for (e, alpha, beta, kappa, eps), found in zip(points, theirs, strict=True):
        parameters = [torch.tensor(x, dtype=torch.float64) for x in (alpha, beta, kappa)]
        own = GeneralizedT(*parameters)
        density = own if name == "alcl" else ContaminatedT(*parameters, eps, radius=10.0)
        expected = density.log_prob(torch.tensor(e, dtype=torch.float64)).exp().item()
        assert math.isclose(found, expected, rel_tol=1e-10), (e, alpha, beta, kappa, eps)


def test_where_no_density_exists_all_is_contamination(script):
    p = {"alpha": 0.6, "beta": 1, "kappa": 1.2, "eps": 0.1}
    own = "E.losses.contaminated_alcl"
    assert script(f"(p) => [{own}.rho(2, p), {own}.psi(2, p), {own}.weight(0, p)].map(Math.abs)", p) == [0, 0, 0]
    assert script("(p) => [E.density('contaminated_alcl', 1, p), E.locate('contaminated_alcl', [1, 2], p)]", p) == [
        0,
        "NaN",
    ]


def test_weights_at_zero_are_the_limits(script):
    for alpha in (1.5, 2.0, 3.0):
        found = script("(alpha) => E.losses.alcl.weight(0, {alpha, beta: 0.5, kappa: 1.5})", alpha)
        expected = Influence(library("alcl", alpha, 0.5, 1.5)).weight(torch.zeros(1)).item()
        assert float(found.replace("Infinity", "inf") if isinstance(found, str) else found) == pytest.approx(expected)


def test_the_normalizer_is_that_of_the_library(script):
    points = [p for p in settings(250, seed=1) if p[1] * p[3] > 1.01][:200]
    theirs = script(
        "(points) => points.map(([e, alpha, beta, kappa]) => E.logNormalizer({alpha, beta, kappa}))", points
    )
    for (_, alpha, beta, kappa, _), found in zip(points, theirs, strict=True):
        expected = log_normalizer(*(torch.tensor(x, dtype=torch.float64) for x in (alpha, beta, kappa))).item()
        assert math.isclose(found, expected, rel_tol=1e-10, abs_tol=1e-10), (alpha, beta, kappa)
    assert script("() => E.logNormalizer({alpha: 1, beta: 1, kappa: 1})") == "Infinity"


@pytest.mark.parametrize("name", ["mse", "huber", "cauchy", "alcl"])
@pytest.mark.parametrize("beta", [0.3, 2.0, 4.0])
def test_densities_integrate_to_one(script, name, beta):
    def density(e):
        return script(f"(e) => E.density('{name}', e, {{alpha: 2.5, beta: {beta}, kappa: 1.3}})", e)

    total = 2 * integrate.quad(density, 0, 5, limit=200)[0]
    total += 2 * integrate.quad(lambda s: density(1 / s) / s**2, 1e-9, 0.2, limit=200)[0]
    assert total == pytest.approx(1, abs=1e-6)


def test_welsch_has_no_density(script):
    assert script("() => [0, 1, 9].map((e) => E.density('welsch', e, {beta: 1}))") == [0, 0, 0]


@pytest.mark.parametrize("name", NAMES)
def test_locations_are_those_of_the_library(script, name):
    rng = np.random.default_rng(2)
    for _ in range(12):
        x = rng.standard_t(1.5, size=11).clip(-10, 10).tolist()
        p = [float(rng.uniform(*span)) for span in ((1.2, 4), (0.3, 3), (0.9, 3), (0.01, 0.6))]
        found = script(f"(x, p) => E.locate('{name}', x, p)", x, dict(zip(PARAMETERS, p, strict=True)))
        loss = library(name, *p)
        sample = torch.tensor(x, dtype=torch.float64)
        expected = location_estimate(sample, loss)
        if not math.isclose(found, expected, abs_tol=1e-6):  # two minima: the lower one is the estimate
            ours, theirs = (loss.double().rho(sample - t).sum().item() for t in (expected, found))
            assert theirs < ours


def test_one_point_and_equal_points_are_their_own_centre(script):
    for name in NAMES:
        assert script(f"() => [E.locate('{name}', [3], {{alpha: 2, beta: 1, kappa: 1, eps: 0.1}})]") == [3]


# ------------------------------------------------------------ the photograph


@pytest.fixture(scope="module")
def repaired(script):
    clean = [(i % 7) / 8 + 0.1 for i in range(60)]
    found = script(
        "(clean) => { const copies = E.spoil(clean, 0.5, 20).map((copy) => [...copy]), r = E.repair(copies, 300);"
        "return {copies, picture: [...r.picture], alpha: r.alpha, beta: r.beta, mean: E.mean(copies)}; }",
        clean,
    )
    return found | {"clean": clean}


def test_the_mean_is_the_mean(repaired):
    assert repaired["mean"] == pytest.approx(np.mean(repaired["copies"], axis=0), rel=1e-12)


def test_the_repair_ends_where_the_library_has_no_gradient(repaired):
    copies = torch.tensor(repaired["copies"], dtype=torch.float64)
    picture = torch.tensor(repaired["picture"], dtype=torch.float64, requires_grad=True)
    alpha, log_beta = torch.tensor(repaired["alpha"]).double(), torch.tensor(repaired["beta"]).double().log()
    alpha.requires_grad_(), log_beta.requires_grad_()
    alcl_loss(picture.expand_as(copies), copies, alpha, log_beta.exp()).backward()
    assert abs(alpha.grad) < 1e-5
    assert abs(log_beta.grad) < 1e-5
    assert picture.grad.abs().max() * picture.numel() * repaired["beta"] < 1e-5
    fit = GeneralizedT.fit((picture.detach() - copies).flatten(), learn=("alpha", "beta"))
    assert repaired["alpha"] == pytest.approx(fit.alpha.item(), rel=1e-3)
    assert repaired["beta"] == pytest.approx(fit.beta.item(), rel=1e-3)


def test_the_noise_is_what_it_says(script):
    copies = np.array(script("() => E.spoil(new Array(500).fill(0.5), 0.4, 40).map((copy) => [...copy])"))
    added = (copies - 0.5).flatten()
    hit = np.abs(np.abs(added) - 0.5)
    # A fifth of the pixels is black or white, then Cauchy noise of scale 0.08: half of each within one scale.
    quiet = 0.8 * (2 / math.pi) * math.atan(1) + 0.2 * (math.atan(58 / 8) - math.atan(42 / 8)) / math.pi
    assert np.mean(np.abs(added) < 0.08) == pytest.approx(quiet, abs=0.02)
    loud = 0.2 * 0.5 + 0.8 * (math.atan(58 / 8) - math.atan(42 / 8)) / math.pi
    assert np.mean(hit < 0.08) == pytest.approx(loud, abs=0.03)
    again = np.array(script("() => E.spoil(new Array(500).fill(0.5), 0.4, 40).map((copy) => [...copy])"))
    assert np.array_equal(copies, again)


def test_decibels(script):
    clean, picture = [0.0, 0.5, 1.0], [0.1, 0.5, 7.0]
    assert script("(a, b) => E.psnr(a, b)", picture, clean) == pytest.approx(-10 * math.log10(0.01 / 3))


def test_the_colours_are_those_of_the_figures(script):
    shown = script("() => E.SHOWN")
    assert shown["contaminated_alcl"][0] == figures.LABELS["contaminated_alcl"]
    shown = {name: color for name, (_, color) in shown.items()}
    assert shown == {name: figures.COLORS["gcl" if name == "welsch" else name] for name in NAMES}


def test_the_file_asks_for_nothing():
    text = SOURCE.read_text("utf-8")
    assert [word for word in ("import ", "require(", "fetch(", "XMLHttp", "<script") if word in text] == []


def test_the_executed_notebook_holds_this_explorer():
    notebook = json.loads((SOURCE.parents[1] / "02_influence.ipynb").read_text("utf-8"))
    shown = ["".join(output.get("data", {}).get("text/html", "")) for cell in notebook["cells"]
             for output in cell.get("outputs", [])]  # fmt: skip
    assert sum(SOURCE.read_text("utf-8").strip() in html for html in shown) == 1
