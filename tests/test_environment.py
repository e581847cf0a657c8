"""pyproject.toml has ranges, requirements.lock pins, environment.yml installs them: the three agree."""

import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli", reason="Python 3.10 has no reader of TOML")

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
CONDA = (ROOT / "environment.yml").read_text("utf-8")
# The lock holds pins for each of them, told apart by markers.
LOCKED_PYTHONS = ("3.10", "3.11", "3.12", "3.13")
# What a marker may look at, for the machines that the project is meant for.
MACHINES = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64", "os_name": "posix"},
    "mac": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64", "os_name": "posix"},
}


def direct(project):
    """Direct dependencies, those of the extras included; but not a cluster's software, which the cluster pins."""
    extras = [group for name, group in project.get("optional-dependencies", {}).items() if name != "cluster"]
    return [Requirement(line) for group in (project["dependencies"], *extras) for line in group]


def pins(lock):
    """The lock's requirements; its comments and empty lines mean nothing."""
    lines = (line.split("#")[0].strip() for line in lock.splitlines())
    return [Requirement(line) for line in lines if line]


def applies(pin, python, machine):
    environment = MACHINES[machine] | {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    return pin.marker is None or pin.marker.evaluate(environment)


def badly_locked(lock):
    """Lines that are anything but name==version: a host, a local file or an option has no place in a committed lock."""
    problems = []
    for number, line in enumerate(lock.splitlines(), start=1):
        content = line.split("#")[0].strip()
        plain = re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.!]*( *; *.+)?", content)
        if "://" in line or (content and not plain):
            problems.append(f"line {number}: {line}")
    return problems


def disagreements(project, lock, pythons):
    """Direct dependencies without exactly one pin for each Python and machine, or whose pin is outside their range."""
    problems = []
    for requirement in direct(project):
        name = canonicalize_name(requirement.name)
        same = [pin for pin in pins(lock) if canonicalize_name(pin.name) == name]
        for pin in same:
            version = str(pin.specifier).removeprefix("==")
            if not requirement.specifier.contains(version, prereleases=True):
                problems.append(f"{pin}: pyproject.toml wants {requirement}")
        for machine in MACHINES:
            for python in pythons:
                count = sum(applies(pin, python, machine) for pin in same)
                wanted = applies(requirement, python, machine)  # what the book needs is for 3.11 on
                if wanted and count != 1:
                    problems.append(f"{name}: {count} pins for Python {python} on {machine}")
    return problems


def conda_disagreements(environment, project, lock):
    """What environment.yml says that the other two do not."""
    entries = yaml.safe_load(environment)["dependencies"]
    pip = [line for entry in entries if isinstance(entry, dict) for line in entry.get("pip", [])]
    problems = [f"pip does not install {line!r}" for line in ("-r requirements.lock", "-e .") if line not in pip]
    problems += [f"pip installs {line!r}, which no lock pins" for line in pip if not line.startswith(("-r ", "-e ."))]
    pinned = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins(lock)}
    named = dict(re.match(r"([\w.-]+)\s*=*\s*(.*)", entry).groups() for entry in entries if isinstance(entry, str))
    if not SpecifierSet(project["requires-python"]).contains(named.get("python", "") + ".9"):
        problems.append(f"python={named.get('python')}: pyproject.toml wants {project['requires-python']}")
    for name, version in named.items():
        if name not in ("python", "pip") and version != pinned.get(canonicalize_name(name)):
            problems.append(f"{name}={version}: the lock has {pinned.get(canonicalize_name(name))}")
    return problems


def not_as_locked(lock, installed, python, machine):
    """Pins that apply here and are not what is installed."""
    wanted = {
        canonicalize_name(pin.name): str(pin.specifier)[2:] for pin in pins(lock) if applies(pin, python, machine)
    }
    return [f"{name}: {installed.get(name)}, locked {v}" for name, v in wanted.items() if installed.get(name) != v]


# ------------------------------------------------------------ the committed files


def test_lock_holds_pins_and_nothing_else():
    assert badly_locked(LOCK) == []
    assert len(pins(LOCK)) > 50


def test_lock_has_one_pin_within_range_for_each_direct_dependency():
    assert disagreements(PROJECT, LOCK, LOCKED_PYTHONS) == []


def test_environment_yml_installs_the_lock():
    assert conda_disagreements(CONDA, PROJECT, LOCK) == []


def test_make_oldest_names_the_lower_end_of_every_direct_dependency():
    pinned = subprocess.run(["make", "--silent", "oldest"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    oldest = {pin.name: str(pin.specifier)[2:] for pin in map(Requirement, pinned.split())}
    lower = {}
    new = {"jupyter", "jupytext", "papermill", "nbval", "mpmath", "sympy"}  # what it is tested with may be new
    for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["companion"]):
        requirement = Requirement(text)
        if requirement.name in new:
            continue
        lower[requirement.name] = next(each.version for each in requirement.specifier if each.operator == ">=")
    assert oldest == lower


def test_the_path_of_a_checkout_may_have_a_space_in_it(tmp_path):
    folder = tmp_path / "a checkout"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    targets = ["test", "test-deep", "mutants", "determinism", "check", "audit", "bench", "runs", "studies"]
    command = ["make", "-n", "VENV=none", f"PYTHON={folder}/python", *targets]
    words = shlex.split(subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout)
    mentioned = [word for word in words if str(tmp_path) in word]
    assert len(mentioned) > len(targets)
    assert [word for word in mentioned if str(folder) not in word] == []


def test_pip_check_is_clean(locked_environment):
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def here():
    return f"{sys.version_info.major}.{sys.version_info.minor}", "mac" if sys.platform == "darwin" else "linux"


@pytest.fixture
def locked_environment():
    # Somebody's own environment, with their own torch, may well differ; the one that `make setup` builds may not.
    if Path(sys.prefix).resolve() != ROOT / ".venv":
        pytest.skip("not the environment that make setup builds from the lock")
    # The first of a name is the one that is imported; setuptools may have put copies of its own further down the path.
    found = [found for found in distributions() if found.metadata["Name"]]
    return {canonicalize_name(each.metadata["Name"]): each for each in reversed(found)}


def test_what_is_installed_is_what_is_locked(locked_environment):
    installed = {name: found.version for name, found in locked_environment.items()}
    assert not_as_locked(LOCK, installed, *here()) == []


def test_pins_admit_every_python_the_lock_is_for(locked_environment):
    python, machine = here()
    problems = []
    for pin in pins(LOCK):
        if not applies(pin, python, machine):
            continue
        admits = SpecifierSet(locked_environment[canonicalize_name(pin.name)].metadata.get("Requires-Python") or "")
        wanted = [version for version in LOCKED_PYTHONS if applies(pin, version, machine)]
        problems += [f"{pin} does not run on {version}" for version in wanted if not admits.contains(f"{version}.9")]
    assert problems == []


# ------------------------------------------------------------ each gate can fail

SMALL = {
    "requires-python": ">=3.11",
    "dependencies": ["numpy>=1.26"],
    "optional-dependencies": {"dev": ["pytest-xdist>=3"]},
}
SMALL_LOCK = (
    "# by make lock\nnumpy==2.0 ; python_full_version < '3.12'\nnumpy==2.1 ; python_full_version >= '3.12'\n"
    "pytest_xdist==3.8.0\n"
)
SMALL_CONDA = "dependencies: [python=3.12, pip, {pip: [-r requirements.lock, -e .]}]"


@pytest.mark.parametrize(
    "line",
    [
        "--index-url https://example.org/simple",
        "--find-links wheels",
        "numpy>=2",
        "numpy @ file:///tmp/numpy.whl",
        "torch==2.13.0+cpu",
        "numpy",
        "# from https://example.org",
    ],
)
def test_gate_lock_lines(line):
    assert badly_locked(SMALL_LOCK) == []
    assert badly_locked(f"{SMALL_LOCK}{line}\n") == [f"line 5: {line}"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            ("numpy==2.1 ", "numpy==1.25 "),
            'numpy==1.25; python_full_version >= "3.12": pyproject.toml wants numpy>=1.26',
        ),
        (("pytest_xdist==3.8.0", ""), "pytest-xdist: 0 pins for Python 3.11 on linux"),
        (("< '3.12'", "<= '3.12.9'"), "numpy: 2 pins for Python 3.12 on mac"),
        ((" < '3.12'", " < '3.11'"), "numpy: 0 pins for Python 3.11 on mac"),
        (("'3.12'", "'3.11' and sys_platform == 'linux'"), "numpy: 0 pins for Python 3.12 on mac"),
    ],
)
def test_gate_pins(change, problem):
    assert disagreements(SMALL, SMALL_LOCK, ["3.11", "3.12"]) == []
    assert problem in disagreements(SMALL, SMALL_LOCK.replace(*change), ["3.11", "3.12"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("python=3.12", "python=3.10"), "python=3.10: pyproject.toml wants >=3.11"),
        (("python=3.12, ", ""), "python=None: pyproject.toml wants >=3.11"),
        ((", -e .", ""), "pip does not install '-e .'"),
        (("-r requirements.lock", "-r other.txt"), "pip does not install '-r requirements.lock'"),
        (("-e .]", "-e ., torch]"), "pip installs 'torch', which no lock pins"),
        (("pip,", "pip, pytest-xdist=3.7,"), "pytest-xdist=3.7: the lock has 3.8.0"),
        (("pip,", "pip, scipy,"), "scipy=: the lock has None"),
    ],
)
def test_gate_conda(change, problem):
    assert conda_disagreements(SMALL_CONDA, SMALL, SMALL_LOCK) == []
    assert conda_disagreements(SMALL_CONDA.replace(*change), SMALL, SMALL_LOCK) == [problem]


def test_gate_installed():
    assert not_as_locked(SMALL_LOCK, {"numpy": "2.0", "pytest-xdist": "3.8.0"}, "3.11", "linux") == []
    assert not_as_locked(SMALL_LOCK, {"numpy": "2.0"}, "3.12", "linux") == [
        "numpy: 2.0, locked 2.1",
        "pytest-xdist: None, locked 3.8.0",
    ]
