"""The book in a browser: Debian's chromium, driven by Playwright. Skipped, with its reason, where there is none."""

import importlib.util
import os
import re
import shutil
from pathlib import Path

import pytest
import torch

from alcl import ALCLoss, ContaminatedALCLoss, losses
from alcl.experiments.location import location_estimate

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PARAMETERS = ("alpha", "beta", "kappa", "eps")
#: axe-core on every page takes minutes; these are one of each kind.
LOOKED_AT = ("index.html", "06_benchmark.html", "choices.html", "book/alcl.losses.html", "book/bibliography.html",
             "book/explorer.html")  # fmt: skip
#: How Sphinx lists the methods of a class, and sphinxcontrib-bibtex its entries.
NOT_OURS = ("definition-list", "aria-required-children")


@pytest.fixture(scope="module")
def browser():
    program = next(filter(None, map(shutil.which, NAMES)), None)
    reason = "" if program else "no Chromium on this machine: apt-get install chromium"
    if not importlib.util.find_spec("playwright") or not importlib.util.find_spec("axe_playwright_python"):
        reason = "the extra book has Playwright and axe-core (Python 3.11 on)"
    if reason:
        assert not os.environ.get("ALCL_NEEDS_BROWSER"), reason  # .ci/run has installed one
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        options = {"executable_path": program, "args": ["--no-sandbox", "--disable-gpu"]}
        launched = playwright.chromium.launch(**options)
        yield launched
        launched.close()


def opened(page, book, name):
    page.goto((book / name).as_uri(), wait_until="load")
    page.evaluate("() => window.MathJax?.startup?.promise")
    return page


def test_every_page_is_quiet_set_and_fits_a_phone(browser, book):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    problems, formulas = [], 0
    page.on("console", lambda message: message.type == "error" and problems.append(f"{name}: {message.text}"))
    page.on("pageerror", lambda error: problems.append(f"{name}: {error}"))
    page.on("request", lambda r: r.url.startswith(("file:", "data:", "blob:")) or problems.append(f"{name}: {r.url}"))
    names = sorted(p.relative_to(book).as_posix() for p in book.rglob("*.html") if "_static" not in p.parts)
    # Of the pages that are a module's source, one: they are alike.
    names = [name for name in names if not name.startswith("_modules/") or name == "_modules/alcl/losses.html"]
    assert len(names) > 35
    for name in names:
        opened(page, book, name)
        if (width := page.evaluate("document.documentElement.scrollWidth")) > 390:
            problems.append(f"{name}: {width} px wide")
        formulas += page.evaluate("document.querySelectorAll('mjx-container').length")
        raw = page.evaluate(
            """() => {
              const article = (document.querySelector("article") ?? document.body).cloneNode(true);
              article.querySelectorAll("pre, code, script, style, mjx-container").forEach((e) => e.remove());
              return article.textContent.match(/\\\\(?:frac|alpha|beta|log)\\b|\\$[^$\\n]{1,60}\\$/g) ?? [];
            }"""
        )
        problems += [f"{name}: {text!r} is not set" for text in raw]
        errors = page.evaluate("document.querySelectorAll('[data-mjx-error], mjx-merror').length")
        problems += [f"{name}: {errors} formulas with errors"] if errors else []
        page.set_viewport_size({"width": 1280, "height": 844})
        wide = page.evaluate(
            """() => [...document.querySelectorAll("mjx-container[display]")]
                       .filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.textContent.slice(0, 50))"""
        )
        problems += [f"{name}: {text!r} is wider than its column" for text in wide]
        page.set_viewport_size({"width": 390, "height": 844})
    page.close()
    assert problems == []
    assert formulas > 1500


def test_axe_finds_nothing_serious_of_our_making(browser, book):
    from axe_playwright_python.sync_playwright import Axe

    page, problems = browser.new_page(viewport={"width": 1280, "height": 900}), []
    for name in LOOKED_AT:
        opened(page, book, name)
        # Contrast takes most of the time, and beside the explorer the colours are the theme's.
        rules = {"color-contrast": {"enabled": name == "book/explorer.html"}}
        options = {"resultTypes": ["violations"], "rules": rules}
        found = Axe().run(page, context="article", options=options).response["violations"]
        problems += [
            f"{name}: {each['id']}: {len(each['nodes'])} x {each['nodes'][0]['html'][:150]}"
            for each in found
            if each["impact"] in ("serious", "critical") and each["id"] not in NOT_OURS
        ]
    page.close()
    assert problems == []


@pytest.fixture
def explorer(browser, book):
    page = browser.new_page(viewport={"width": 1000, "height": 900}, has_touch=True)
    yield opened(page, book, "book/explorer.html")
    page.close()


def values(page):
    """(points, parameters, estimates) as the page shows them."""
    points = page.locator("circle.point").evaluate_all(
        "all => all.map(each => Number(each.getAttribute('aria-valuenow')))"
    )
    parameters = {name: float(page.locator(f"input[name={name}]").input_value()) for name in PARAMETERS}
    estimates = page.locator("[data-estimate]").evaluate_all(
        "all => all.map(each => [each.dataset.estimate, Number(each.dataset.value), Number(each.textContent)])"
    )
    return points, parameters, estimates


def agrees_with_the_library(page):
    points, p, estimates = values(page)
    ours = {
        "mse": losses.MSELoss(),
        "huber": losses.HuberLoss(p["beta"]),
        "cauchy": losses.CauchyLoss(p["beta"]),
        "welsch": losses.GeneralizedCorrentropyLoss(2.0, p["beta"]),
        "alcl": ALCLoss(p["alpha"], p["beta"], p["kappa"], learn=(), normalized=False),
        "contaminated_alcl": ContaminatedALCLoss(**p, learn=(), density=0.05),
    }
    x = torch.tensor(points, dtype=torch.float64)
    assert [name for name, *_ in estimates] == list(ours)
    for name, value, printed in estimates:
        expected = location_estimate(x, ours[name])
        assert abs(value - expected) < 1e-6, (name, value, expected)
        assert abs(printed - expected) < 6e-4


def test_sliders_change_the_curves_and_the_estimates(explorer):
    agrees_with_the_library(explorer)
    before = [
        explorer.locator(f"[data-panel={name}] [data-curve=alcl]").get_attribute("d") for name in ("density", "psi")
    ]
    _, _, first = values(explorer)
    for name, value in {"alpha": "1.5", "beta": "0.7", "kappa": "1.5"}.items():
        explorer.locator(f"input[name={name}]").fill(value)
    after = [
        explorer.locator(f"[data-panel={name}] [data-curve=alcl]").get_attribute("d") for name in ("density", "psi")
    ]
    assert before[0] != after[0]
    assert before[1] != after[1]
    assert values(explorer)[2] != first
    agrees_with_the_library(explorer)
    mixture = "[data-panel=psi] [data-curve=contaminated_alcl]"
    own, beside, shape = explorer.locator("[data-panel=psi] [data-curve=alcl]"), explorer.locator(mixture), []
    for fraction in ("0.05", "0.4"):
        explorer.locator("input[name=eps]").fill(fraction)
        shape.append((own.get_attribute("d"), beside.get_attribute("d"), values(explorer)[2]))
        agrees_with_the_library(explorer)
    assert shape[0][0] == shape[1][0]  # the fraction is the mixture's alone
    assert shape[0][1] != shape[1][1]
    assert shape[0][2][:-1] == shape[1][2][:-1]
    assert shape[0][2][-1] != shape[1][2][-1]


def test_without_a_density_there_is_no_mixture(explorer):
    explorer.locator("input[name=kappa]").fill("0.6")
    assert explorer.locator("[data-estimate=contaminated_alcl]").inner_text() == "none"
    assert "no density" in explorer.locator("[data-note]").inner_text()


def test_points_move_by_mouse_and_keys_come_and_go(explorer):
    point = explorer.locator("circle.point").last
    point.scroll_into_view_if_needed()
    box, start = point.bounding_box(), values(explorer)[0]
    explorer.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    explorer.mouse.down()
    explorer.mouse.move(box["x"] - 150, box["y"] + 5, steps=4)
    explorer.mouse.up()
    moved = values(explorer)[0]
    assert moved[:-1] == start[:-1]
    assert moved[-1] < start[-1] - 2
    agrees_with_the_library(explorer)
    point.press("ArrowRight")
    assert values(explorer)[0][-1] == pytest.approx(moved[-1] + 0.1)
    explorer.locator("[data-action=add]").click()
    assert len(values(explorer)[0]) == len(start) + 1
    agrees_with_the_library(explorer)
    explorer.locator("circle.point").last.press("Delete")
    explorer.locator("circle.point").first.press("Delete")
    assert len(values(explorer)[0]) == len(start) - 1
    agrees_with_the_library(explorer)
    explorer.locator("[data-action=reset]").click()
    assert values(explorer)[0] == start


def test_points_move_by_touch(explorer):
    point = explorer.locator("circle.point").first
    point.scroll_into_view_if_needed()
    box, start = point.bounding_box(), values(explorer)[0]
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = explorer.context.new_cdp_session(explorer)
    for kind, place in (("touchStart", x), ("touchMove", x - 60), ("touchMove", x - 120), ("touchEnd", None)):
        touches = [] if place is None else [{"x": place, "y": y}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
    assert values(explorer)[0][0] < start[0] - 1
    agrees_with_the_library(explorer)


def test_the_cell_of_the_notebook_shows_it_too_and_may_run_twice(browser, tmp_path):
    source = (Path(__file__).resolve().parents[2] / "notebooks" / "02_influence.py").read_text("utf-8")
    (cell,) = [code for code in re.split(r"^# %%.*$", source, flags=re.MULTILINE) if "explorer.js" in code]
    names = {}
    exec(cell.rpartition("\n\n")[0] + "\n\nshown = " + cell.rpartition("\n\n")[2], names)
    (tmp_path / "cell.html").write_text(f"<meta charset=utf-8>{names['shown'].data}{names['shown'].data}", "utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "cell.html").as_uri())
    assert page.locator("[data-field]").count() == 2
    page.locator(".alcl-explorer").last.evaluate("each => each.remove()")
    agrees_with_the_library(page)
    page.close()


def test_a_loss_can_be_left_out(explorer):
    explorer.locator("[data-loss=huber]").click()
    assert explorer.locator("[data-panel=loss] [data-curve=huber]").count() == 0
    assert explorer.locator("[data-panel=loss] [data-curve=alcl]").count() == 1


def test_the_photograph_is_repaired_better_by_alcl(explorer):
    explorer.locator("[data-picture=alcl]").scroll_into_view_if_needed()
    explorer.wait_for_function(
        "() => document.querySelector('.alcl-explorer').shadowRoot.querySelector('[data-learned]').textContent"
    )
    text = explorer.locator("[data-picture=alcl] figcaption")
    first = text.inner_text()
    shown = {
        name: float(explorer.locator(f"[data-picture={name}] figcaption").inner_text().split()[1])
        for name in ("mse", "alcl")
    }
    assert shown["alcl"] > shown["mse"] + 6
    explorer.locator("input[name=level]").fill("0.2")
    explorer.wait_for_function(
        "(was) => document.querySelector('.alcl-explorer').shadowRoot"
        ".querySelector('[data-picture=alcl] figcaption').textContent !== was",
        arg=first,
    )
    assert float(text.inner_text().split()[1]) > shown["alcl"]
