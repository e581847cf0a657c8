"""The examples in the library's docstrings: every public name has one, and each gives what it says."""

import doctest
import importlib
import inspect
import pkgutil
import sys

import pytest

import alcl
from alcl import catalogue
from alcl.experiments import own_losses

MODULES = [
    importlib.import_module(f"alcl.{found.name}")
    for found in pkgutil.iter_modules(alcl.__path__)
    if not found.ispkg and not found.name.startswith("_")
]
# Parts of the wings that stood in the library, and keep their examples.
WINGS = [
    importlib.import_module(f"alcl.{name}")
    for name in ("experiments.levels", "experiments.location", "experiments.own_losses", "paper.smoothness")
]
EXAMPLES = [test for module in (*MODULES, *WINGS) for test in doctest.DocTestFinder().find(module) if test.examples]


def public(module):
    """Classes and functions that a module of the library defines and does not begin with an underscore."""
    there = inspect.getmembers(module, lambda thing: inspect.isclass(thing) or inspect.isfunction(thing))
    return {name: thing for name, thing in there if thing.__module__ == module.__name__ and not name.startswith("_")}


PUBLIC = {f"{module.__name__}.{name}" for module in MODULES for name in public(module)}


def test_what_the_package_offers_is_among_them():
    offered = [getattr(alcl, name) for name in alcl.__all__]
    offered = {f"{x.__module__}.{x.__qualname__}" for x in offered if not inspect.ismodule(x)}
    assert offered <= PUBLIC
    assert len(PUBLIC) > 40


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_has_an_example(name):
    assert name in {test.name for test in EXAMPLES}


@pytest.mark.parametrize("test", EXAMPLES, ids=lambda test: test.name)
def test_examples_give_what_they_say(test, monkeypatch):
    for module, registry in ((catalogue, "LOSSES"), (catalogue, "OWN"), (own_losses, "_loaded")):
        monkeypatch.setattr(module, registry, getattr(module, registry).copy())  # what an example registers is gone
    monkeypatch.setattr(catalogue, "_followers", [])
    monkeypatch.setattr(sys, "path", [*sys.path])
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert runner.run(test, out=said.append).failed == 0, "".join(said)
