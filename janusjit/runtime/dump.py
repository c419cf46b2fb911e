"""``JANUSJIT_DUMP``: the intermediate forms of every specialization, as files.

Owns the numbering and naming of the files. Invariant: files of one specialization share a number, numbers grow in the
order of compilation, and nothing is written unless a directory is configured.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from janusjit.analysis.core import Atom, Block, Constant, FunctionCore, Instruction, Local

_numbers = itertools.count()


def dump(directory: Path, name: str, core: FunctionCore | None, forms: dict[str, str]) -> None:
    """Write the forms of one specialization.

    Parameters
    ----------
    directory : Path
        Made if it does not exist.
    name : str
        The function's name.
    core : FunctionCore or None
        Written as ``.core``.
    forms : dict
        File suffix to text: ``.captured.ir``, ``.ir``, ``.ll``, ``.s``.
    """
    directory.mkdir(parents=True, exist_ok=True)
    stem = f"{next(_numbers):03d}-{re.sub(r'[^A-Za-z0-9_.]+', '_', name)}"
    if core is not None:
        forms = {".core": "\n".join(format_core(core)) + "\n", **forms}
    for suffix, text in forms.items():
        (directory / f"{stem}{suffix}").write_text(text, encoding="utf-8")


def format_core(core: FunctionCore) -> Iterator[str]:
    """Yield the lines of a function in Core: site, instruction, operands, source position."""
    yield f"{core.kind} {core.qualified_name}  @{core.span}"
    yield from _block(core.body, "  ")


def _block(block: Block, indent: str) -> Iterator[str]:
    for instruction in block.instructions:
        yield from _instruction(instruction, indent)


def _instruction(instruction: Instruction, indent: str) -> Iterator[str]:
    operands, blocks = [], []
    for item in fields(instruction):
        value = getattr(instruction, item.name)
        if isinstance(value, Block | FunctionCore) or (isinstance(value, list) and value):
            blocks.append((item.name, value))
        elif item.name not in ("site", "span"):
            operands.append(f"{item.name}={_operand(value)}")
    yield f"{indent}{instruction.site}: {type(instruction).__name__} {' '.join(operands)}  @{instruction.span}"
    for name, value in blocks:
        yield f"{indent}  {name}:"
        yield from _nested(value, indent + "    ")


def _nested(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Block):
        yield from _block(value, indent)
    elif isinstance(value, FunctionCore):
        yield from (indent + line for line in format_core(value))
    else:
        for handler in value:
            yield f"{indent}except {_operand(handler.exception_type)} as {handler.name}"
            yield from _block(handler.matcher, indent + "  ")
            yield from _block(handler.body, indent + "  ")


def _operand(value: Atom | Any) -> str:
    if isinstance(value, Local):
        return value.name
    if isinstance(value, Constant):
        return repr(value.value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_operand, value))})"
    return repr(value)
