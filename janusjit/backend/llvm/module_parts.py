"""Modules cut into parts that LLVM compiles one by one.

Owns `parts_of`. Invariants: the parts, linked, are the module; how it is cut depends on its text alone, so the code is
the same on every machine of a kind, however many threads compile it; functions that refer to each other stay together,
so LLVM sees of a kernel what it would see of it in one module, but for those that are vector code already. Why: parts
can be compiled side by side, and each as carefully as it is worth. The entry function, which is long and mostly calls
kernels, is not worth much, and vector code needs no more than good instructions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from janusjit.pacing import pause

#: from how many lines on a further part pays for itself, and how many parts there are at most
LINES_A_PART = 1000
MOST_PARTS = 8

#: how the names of functions begin that go through no passes, which gain nothing: vector code, and guards called often
HANDWRITTEN = "janusjit_handwritten."

#: what says of other functions that they are vector code
VECTORS = '"janusjit-vectors"'

_NAME = re.compile(r"@(?:\"([^\"]*)\"|([\w.$-]+))")
_INTERNAL = re.compile(r"^define (?:internal|private) ")
_LINKAGE = re.compile(r"^define (?:internal |private )?")
#: the variable that keeps declarations LLVM would drop: of vector versions that loops may come to call
_KEEPING = "llvm.compiler.used"
_CONSTANT = re.compile(r"^@\S+ = (?:\w+ )*constant ")


@dataclass(frozen=True)
class Part:
    """A module that defines some of the functions of another.

    Attributes
    ----------
    text : str
        Its textual LLVM IR.
    is_cold : bool
        Whether it is to be translated quickly, not optimised.
    is_handwritten : bool
        Whether it is vector code already, and only instructions are to be chosen well.
    """

    text: str
    is_cold: bool = False
    is_handwritten: bool = False


@dataclass
class _Function:
    """A function of the module: its text, and what it refers to."""

    name: str
    heading: str
    body: str  #: the lines after the heading, with the last one's end
    references: set[str]

    @property
    def length(self) -> int:
        """How many lines it has."""
        return self.body.count("\n") + 1

    @property
    def is_cold(self) -> bool:
        return " optnone" in self.heading

    @property
    def is_handwritten(self) -> bool:
        """Whether it is vector code already."""
        return self.name.startswith(HANDWRITTEN) or VECTORS in self.heading

    @property
    def is_copied(self) -> bool:
        """Whether each part has a function of its own of this kind."""
        return " alwaysinline" in self.heading

    @property
    def declaration(self) -> str:
        return _LINKAGE.sub("declare ", self.heading).removesuffix("{").replace(" optnone", "")

    @property
    def text(self) -> str:
        """The function's text."""
        return f"{self.heading}\n{self.body}"

    @property
    def exported(self) -> str:
        """The function's text, such that other parts can call it."""
        return f"{_INTERNAL.sub('define ', self.heading)}\n{self.body}"


class _Module:
    """The text of a module, taken apart."""

    def __init__(self, text: str) -> None:
        self.functions: dict[str, _Function] = {}
        self.variables: dict[str, str] = {}
        self.declarations: dict[str, str] = {}
        self.begin: list[str] = []  #: target, types
        self.end: list[str] = []  #: metadata
        self._read(text)

    def _read(self, text: str) -> None:
        text, position = f"\n{text}", 0
        while (begin := text.find("\ndefine ", position)) >= 0:
            pause()
            self._read_between(text[position:begin])
            position = text.index("\n}", begin) + len("\n}")
            heading, _, body = text[begin + 1 : position].partition("\n")
            references = {quoted or plain for quoted, plain in _NAME.findall(body)}
            function = _Function(_name(_NAME.search(heading)), heading, body, references)
            self.functions[function.name] = function
        self._read_between(text[position:])

    def _read_between(self, text: str) -> None:
        for line in text.split("\n"):
            if line.startswith("@"):
                self.variables[_name(_NAME.match(line))] = line
            elif line.startswith("declare "):
                self.declarations[_name(_NAME.search(line))] = line
            elif line:
                (self.end if line.startswith("!") else self.begin).append(line)

    def groups(self) -> list[list[_Function]]:
        """Return the functions that are neither cold nor copied, those together that refer to each other."""
        leaders = {name: name for name, function in self.functions.items() if not self._stands_apart(function)}

        def leader(name: str) -> str:
            while leaders[name] != name:
                leaders[name] = name = leaders[leaders[name]]
            return name

        for name in leaders:
            if self.functions[name].is_handwritten:  # what it calls gains as little by being seen with it
                continue
            for reference in self._reached(self.functions[name].references):
                if reference in leaders and not self.functions[reference].is_handwritten:
                    leaders[leader(reference)] = leader(name)
        found: dict[str, list[_Function]] = {}
        for name in leaders:
            found.setdefault(leader(name), []).append(self.functions[name])
        return list(found.values())

    @staticmethod
    def _stands_apart(function: _Function) -> bool:
        return function.is_cold or function.is_copied

    def _reached(self, names: Iterable[str]) -> set[str]:
        """Return the names, and those that functions with copies and variables among them refer to."""
        found: set[str] = set()
        pending = list(names)
        while pending:
            pause()
            name = pending.pop()
            if name in found:
                continue
            found.add(name)
            if name in self.variables:
                pending.extend(map(_name, _NAME.finditer(self.variables[name])))
            elif name in self.functions and self.functions[name].is_copied:
                pending.extend(self.functions[name].references)
        return found

    def part(self, own: Sequence[_Function], is_first: bool) -> str:
        """Return the text of a module that defines some functions, and the variables if it is the first one."""
        lines = list(self.begin)
        needed = self._reached(reference for function in own for reference in function.references)
        needed -= {function.name for function in own}
        needed |= self._reached(self.variables if is_first else {_KEEPING} & self.variables.keys())
        for name in sorted(needed):
            pause()
            if name in self.variables:
                line = self.variables[name]
                is_whole = is_first or name == _KEEPING or _CONSTANT.match(line)
                lines.append(line if is_whole else f'@"{name}" = external global i8')
            elif name in self.functions:
                function = self.functions[name]
                lines.append(function.text if function.is_copied else function.declaration)
            elif name in self.declarations:
                lines.append(self.declarations[name])
        for function in own:
            lines.append(function.exported)
        return "\n".join([*lines, *self.end, ""])


def _is_handwritten(group: Sequence[_Function]) -> bool:
    return all(function.is_handwritten for function in group)


def _name(match: re.Match[str] | None) -> str:
    assert match is not None
    return match[1] or match[2]


def parts_of(text: str) -> list[Part]:
    """Cut a module, as `janusjit.backend.llvm.engine.text_of` writes it, into parts.

    Parameters
    ----------
    text : str
        Its textual LLVM IR.
    """
    if text.count("\n") < LINES_A_PART and " optnone" not in text and HANDWRITTEN not in text and VECTORS not in text:
        return [Part(text)]
    module = _Module(text)
    groups = module.groups()
    kinds = {
        (True, False): [[f for f in module.functions.values() if f.is_cold]],
        (False, True): _shares([group for group in groups if _is_handwritten(group)]),
        (False, False): _shares([group for group in groups if not _is_handwritten(group)]),
    }
    contents = [(share, kind) for kind, shares in kinds.items() for share in shares if share]
    if len(contents) == 1 and not contents[0][1][0]:
        return [Part(text, False, contents[0][1][1])]
    return [Part(module.part(own, is_first=number == 0), *kind) for number, (own, kind) in enumerate(contents)]


def _shares(groups: list[list[_Function]]) -> list[list[_Function]]:
    """Divide groups of functions into shares of about the same length."""
    lengths = {id(group): sum(function.length for function in group) for group in groups}
    count = max(1, min(MOST_PARTS, len(groups), sum(lengths.values()) // LINES_A_PART))
    shares: list[list[_Function]] = [[] for _ in range(count)]
    totals = [0] * count
    for group in sorted(groups, key=lambda group: -lengths[id(group)]):
        least = totals.index(min(totals))
        shares[least].extend(group)
        totals[least] += lengths[id(group)]
    return [share for share in shares if share]
