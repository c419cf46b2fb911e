"""``python -m janusjit``: the demonstration, reports of saved events, comparisons, and a look at the machine.

Owns the command line. Invariant: a command exits with 0 if what it looked at is in order, 1 if it is not, and 2 if it
could not look.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from janusjit.api import jit
from janusjit.backend.calibration import ImplausibleError
from janusjit.backend.llvm import calibrating, engine_cache
from janusjit.backend.llvm.measurement import DisturbedError
from janusjit.compare import compare
from janusjit.demo import run_demo
from janusjit.doctor import cache_finding, examine
from janusjit.errors import JanusError
from janusjit.report.model import build_report
from janusjit.runtime.dispatch import JitFunction
from janusjit.runtime.journal import read_journal
from janusjit.version import __version__


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : list of str, optional
        The command line without the program's name; ``sys.argv``'s when not given.

    Returns
    -------
    int
        The exit status.
    """
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except (JanusError, OSError, ImportError) as error:
        print(f"janusjit: {error}", file=sys.stderr)
        return 2
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m janusjit", description="A speculative JIT for NumPy programs.")
    parser.add_argument("--version", action="version", version=f"janusjit {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="train a network eagerly and under @jit, and compare")
    demo.add_argument("--epochs", type=int, default=10)
    demo.set_defaults(command=_demo)

    report = commands.add_parser("report", help="print the report of a file of events")
    report.add_argument("file", type=Path, help="written by JANUSJIT_EVENTS or janusjit.save_events")
    report.add_argument("--json", action="store_true", help="as JSON")
    report.add_argument("--width", type=int, help="columns")
    report.set_defaults(command=_report)

    comparison = commands.add_parser("compare", help="run a function eagerly and from its graph")
    comparison.add_argument("target", metavar="MODULE:FUNCTION")
    comparison.add_argument(
        "--arguments", default="()", metavar="EXPRESSION", help="a tuple, evaluated in the module's namespace"
    )
    comparison.set_defaults(command=_compare)

    doctor = commands.add_parser("doctor", help="say what this machine has, and whether compiled code runs on it")
    doctor.set_defaults(command=_doctor)

    cache = commands.add_parser("cache", help="say what is in the cache of compiled code, or remove it")
    cache.add_argument("action", nargs="?", choices=("show", "clear"), default="show")
    cache.set_defaults(command=_cache)

    calibration = commands.add_parser("calibrate", help="measure this machine now, for processes that start later")
    calibration.set_defaults(command=_calibrate)
    return parser


def _cache(options: argparse.Namespace) -> int:
    if options.action == "clear":
        removed = engine_cache.clear()
        print(f"{removed} file{'' if removed == 1 else 's'} removed")
        return 0
    finding = cache_finding()
    print(finding.text)
    return 0 if finding.good else 1


def _calibrate(options: argparse.Namespace) -> int:
    try:
        made = calibrating.measure_again()
    except (DisturbedError, ImplausibleError) as error:
        print(f"janusjit: not measured: {error}", file=sys.stderr)
        return 1
    print("\n".join(made.lines()))
    return 0


def _demo(options: argparse.Namespace) -> int:
    return 0 if run_demo(options.epochs) else 1


def _report(options: argparse.Namespace) -> int:
    report = build_report(read_journal(options.file), {})
    if options.json:
        print(report.to_json())
    else:
        report.print(width=options.width)
    return 0


def _compare(options: argparse.Namespace) -> int:
    name, _, path = options.target.partition(":")
    if not path:
        print("janusjit: name the function as MODULE:FUNCTION", file=sys.stderr)
        return 2
    sys.path.insert(0, str(Path.cwd()))
    module = importlib.import_module(name)
    target: Any = module
    for part in path.split("."):
        if not hasattr(target, part):
            print(f"janusjit: {name} has no {path}", file=sys.stderr)
            return 2
        target = getattr(target, part)
    arguments = eval(options.arguments, vars(module))
    function = target if isinstance(target, JitFunction) else jit(target)
    comparison = compare(function, *(arguments if isinstance(arguments, tuple) else (arguments,)))
    print(comparison)
    return 0 if comparison.in_graph else 1


def _doctor(options: argparse.Namespace) -> int:
    findings = examine()
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        print(f"{'ok ' if finding.good else 'BAD'}  {finding.name:<{width}}  {finding.text}")
    return 0 if all(finding.good for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
