"""Run a command if what it uses, or what it made, is not as it was when the command last succeeded.

    python notebooks/if_changed.py TARGET SOURCE [FILE ...] -- COMMAND ...

make goes by times, which a checkout sets anew for every file. So this goes by checksums, and keeps them in build/: a
fresh clone has none, and everything runs. A command uses the files given, the lock file, and what of this checkout the
Python file SOURCE imports at any depth; it made TARGET and what the manifest of figures has from SOURCE.
"""

import ast
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def uses(path, found):
    """`found`, with a Python file, the files of this checkout that it imports, and those that they do."""
    found.add(path)
    for node in ast.walk(ast.parse(path.read_bytes())):
        base, names = ROOT, []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = path.parents[node.level - 1] if node.level else ROOT
            names = [f"{node.module or ''}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and re.fullmatch(r"\w+(\.\w+)?", name := str(node.value)):
            # A file of data beside its module; or, in a package, a module that it imports only when it is asked for.
            base, names = path.parent, [name] if path.name == "__init__.py" else []
            if "." in name and (base / name).is_file():
                found.add(base / name)
        for parts in (name.strip(".").split(".") for name in names):
            for end in range(1, len(parts) + 1):
                module = base.joinpath(*parts[:end])
                for file in (module.with_suffix(".py"), module / "__init__.py"):
                    if file not in found and file.is_file():
                        uses(file, found)
    return found


def made(target, source):
    """The target and the files of the figures and tables of which the manifest says that `source` made them."""
    folder = Path(os.environ.get("ALCL_FIGURES") or ROOT / "paper_figures")
    manifest = folder / "manifest.json"
    entries = json.loads(manifest.read_text("utf-8")) if manifest.is_file() else {}
    names = (source.stem, ".".join(source.relative_to(ROOT).with_suffix("").parts))
    files = [file for entry in entries.values() if entry["notebook"] in names for file in entry["files"]]
    return {target, *(folder / file for file in files)}


def checksums(files):
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None for file in files}


def main(arguments):
    split = arguments.index("--")
    target, source, *others = (Path(name).resolve() for name in arguments[:split])
    stamp = ROOT / "build" / "checksums" / f"{target.relative_to(ROOT)}.json"
    used = checksums(uses(source, {ROOT / "requirements.lock", *others}))
    if stamp.is_file() and json.loads(stamp.read_text("utf-8")) == used | checksums(made(target, source)):
        print(f"{arguments[0]}: unchanged")
        return 0
    began = time.monotonic()
    if failed := subprocess.run(arguments[split + 1 :]).returncode:
        return failed
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(json.dumps(used | checksums(made(target, source)), indent=1), "utf-8")
    print(f"{arguments[0]}: {time.monotonic() - began:.1f} s")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the command is ended as by Ctrl-C
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
