"""Loading finds exactly the source of the code that runs, or says why not."""

import functools
import importlib.util
import linecache
import subprocess
import sys
import textwrap
import time
import types
from pathlib import Path

import numpy as np
import pytest

from janusjit.analysis import source_files
from janusjit.analysis.core import Call, MakeFunction
from janusjit.analysis.source import SourceError, load
from janusjit.analysis.source_files import locate
from janusjit.analysis.walk import walk


def code_for(function):
    with pytest.raises(SourceError) as raised:
        load(function)
    assert raised.value.reason
    assert raised.value.span.file
    return raised.value.code


def module_from(tmp_path, text, name="module_under_test"):
    path = tmp_path / f"{name}_{time.monotonic_ns()}.py"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, path


def in_linecache(source, names=None, file="<cell 1>"):
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    names = {} if names is None else names
    exec(compile(source, file, "exec"), names)
    return names


def test_cached_by_code_object():
    def function(x):
        return x

    assert load(function) is load(function)
    assert load(function).code is function.__code__


def test_sites_are_numbered_and_point_at_the_source():
    def function(x):
        return x.shape[0] + 1

    core = load(function)
    sites = [(instruction.site, instruction.span.text) for instruction in walk(core.body)]
    assert sites == [(0, "x.shape"), (1, "x.shape[0]"), (2, "x.shape[0] + 1"), (3, "return x.shape[0] + 1")]
    assert core.sites[2].line == function.__code__.co_firstlineno + 1
    assert core.sites[2].column == 16
    assert core.sites[2].file == __file__


def test_lambdas_on_one_line():
    functions = [lambda x: x + 1, lambda x: x + 2, (lambda x: lambda y: x + y)(3)]  # fmt: skip
    assert [load(function).sites[0].text for function in functions] == ["x + 1", "x + 2", "x"]
    assert load(functions[2]).free == ("x",)


def test_lambda_in_the_middle_of_other_things():
    table = {"é": (lambda x,
                          y: (x,
                              y)), "b": lambda: 0}  # fmt: skip
    core = load(table["é"])
    assert core.parameters.positional == ("x", "y")
    assert core.span.line == table["é"].__code__.co_firstlineno
    assert load(table["b"]).span.text == "lambda: 0"


def decorate(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


@decorate
@(lambda f: f)
def decorated(x):
    def inner():
        return x

    return inner


class Owner:
    def method(self, x):
        return self.__secret + x

    @staticmethod
    def static(x):
        return x

    @classmethod
    def made(cls):
        return cls

    @property
    def value(self):
        return super().__repr__()

    class Inner:
        def deep(self):
            return [k + 1 for k in self.__items]


def test_decorated_methods_and_nested_functions():
    assert load(decorated.__wrapped__).name == "decorated"
    assert load(decorated).name == "wrapper"  # functools.wraps changes the function's name, not its code's
    assert load(decorated.__wrapped__(1)).free == ("x",)
    assert "_Owner__secret" in str(load(Owner().method).body)
    assert "_Inner__items" in str(load(Owner.Inner.deep).body)
    assert load(Owner.static).parameters.positional == ("x",)
    assert load(Owner.made).parameters.positional == ("cls",)
    assert load(Owner.value.fget).free == ("__class__",)


def test_super_becomes_explicit():
    call = next(item for item in walk(load(Owner.value.fget).body) if isinstance(item, Call))
    assert len(call.positional) == 2


def test_nested_core_is_that_of_the_function_itself():
    def outer(x):
        def inner(y):
            return [lambda: x + y + k for k in range(2)]  # noqa: B023

        return inner

    made = next(item for item in walk(load(outer).body) if isinstance(item, MakeFunction))
    assert made.function is load(outer(1))
    assert made.function.code is outer(1).__code__
    assert load(outer(1)(2)[0]).free == ("k", "x", "y")


def test_generator_expression():
    generator = (x * 2 for x in range(3) if x)
    function = types.FunctionType(generator.gi_code, globals())
    core = load(function)
    assert core.kind == "generator"
    assert core.parameters.positional_only == (".0",)


@pytest.mark.parametrize(
    "function", [len, np.sum, np.add, int, functools.partial(len), Owner, print, [].append, Owner(), 3]
)
def test_what_is_no_python_function(function):
    if function is np.sum:
        assert load(function.__wrapped__ if hasattr(function, "__wrapped__") else function)
    else:
        assert code_for(function) == "source.not_python"


def test_no_source():
    names = {}
    # a file name of its own: from 3.13 on, the text given to ``python -c`` is kept under "<string>"
    exec(compile("def function(x): return x", "<no source>", "exec"), names)
    assert code_for(names["function"]) == "source.missing"


def test_source_in_linecache():
    names = in_linecache("def function(x):\n    return x + 1\n")
    assert load(names["function"]).sites[0].text == "x + 1"


def test_a_cell_run_again_with_other_text():
    first = in_linecache("def function(x):\n    return x + 1\n", file="<cell 2>")["function"]
    assert load(first).sites[0].text == "x + 1"
    second = in_linecache("def function(x):\n    return x + 22\n", file="<cell 2>")["function"]
    assert load(second).sites[0].text == "x + 22"
    third = in_linecache("def function(x):\n    return x + 3\n", file="<cell 2>")["function"]
    in_linecache("def function(x):\n    return x - 3\n", file="<cell 2>")
    assert code_for(third) == "source.stale"


def test_file_edited_after_import(tmp_path):
    module, path = module_from(tmp_path, "def f(x):\n    return x + 1\n\ndef g(x):\n    return x\n")
    path.write_text("def f(x):\n    return x + 2\n\ndef g(x):\n    return x\n", encoding="utf-8")
    linecache.checkcache(str(path))
    assert code_for(module.f) == "source.stale"
    assert load(module.g).name == "g"


def test_file_that_is_no_longer_python(tmp_path):
    module, path = module_from(tmp_path, "def f(x):\n    return x + 1\n")
    path.write_text("def f(x:\n", encoding="utf-8")
    assert code_for(module.f) == "source.stale"


def test_file_edited_after_it_was_read(tmp_path):
    module, path = module_from(tmp_path, "def f(x):\n    return x + 1\n")
    linecache.getlines(str(path))
    path.write_text("def f(x):\n    return x + 2\n", encoding="utf-8")
    assert load(module.f).sites[0].text == "x + 1"


def test_tabs_comments_strings_and_semicolons(tmp_path):
    module, _ = module_from(
        tmp_path,
        '''
        if True:
        \tclass A:
        \t\tdef f(self, x): return x; """
        not indented
        """
        \t\tdef g(self, x = (
        1)):  # comment
        \t\t\t"""é"""; y = "é"; return (x
        +
        \ty); # end
        ''',
    )
    assert load(module.A.f).sites[0].text == "return x"
    core = load(module.A.g)
    assert core.sites[1].column == 30
    assert core.sites[1].line == core.span.line + 2


def test_future_annotations(tmp_path):
    text = "def f(x):\n    def g(y: int | None = 1) -> 'x': return y\n    return g\n"
    plain, _ = module_from(tmp_path, text)
    future, _ = module_from(tmp_path, "from __future__ import annotations\n" + text)
    made = [next(i for i in walk(load(m.f).body) if isinstance(i, MakeFunction)) for m in (plain, future)]
    assert [name for name, _ in made[0].annotations] == ["y", "return"]
    assert [atom.value for _, atom in made[1].annotations] == ["int | None", "'x'"]


def test_rewritten_asserts_are_recognised():
    def function(x):
        assert x > 0, "positive"
        return x

    assert any(name.startswith("@py") for name in function.__code__.co_varnames + function.__code__.co_names)
    assert load(function).sites[0].text == "x > 0"


def test_changed_code_is_refused():
    def function(x):
        return x + 1

    code = function.__code__
    constants = tuple(2 if constant == 1 else constant for constant in code.co_consts)
    function.__code__ = code.replace(co_consts=constants)
    assert code_for(function) == "source.stale"


def test_async_comprehension_is_refused():
    async def function(xs):
        return [x async for x in xs]

    assert code_for(function) == "source.unsupported"


def test_code_without_columns(tmp_path):
    program = textwrap.dedent(
        """
        import sys
        sys.path.insert(0, "")
        from janusjit.analysis.source import load
        one = lambda x: x + 1
        def f(x):
            def g(y): return y
            return g, lambda: x
        print(load(one).name, load(f).name, load(f(1)[0]).name, load(f(1)[1]).free)
        """
    )
    path = tmp_path / "columns.py"
    path.write_text(program, encoding="utf-8")
    command = [sys.executable, "-X", "no_debug_ranges", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.stdout.split() == ["<lambda>", "f", "g", "('x',)"], done.stderr


def doctested(x):
    """Load a function defined in a doctest.

    >>> from janusjit.analysis.source import load
    >>> def inner(y):
    ...     return y + 1
    >>> load(inner).sites[0].text
    'y + 1'
    """


def test_doctest():
    import doctest

    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder().find(doctested, globs={}):
        runner.run(test)
    assert runner.summarize(verbose=False) == (0, 3)


def test_traced_functions_load(tmp_path):
    module, _ = module_from(tmp_path, "def f(x):\n    y = x\n    return [k for k in y]\n")
    sys.settrace(lambda frame, event, argument: None)
    try:
        module.f([1])
        assert load(module.f).name == "f"
    finally:
        sys.settrace(None)


def test_only_the_function_is_parsed():
    function = textwrap.dedent
    load(function)  # reads the file
    started = time.perf_counter()
    for _ in range(100):
        load(function)
    assert (time.perf_counter() - started) / 100 < 1e-4
    place = locate(function.__code__, function.__globals__)
    assert place.node.name == "dedent"
    assert place.class_name is None


def test_of_a_definition_only_its_own_lines_are_parsed(tmp_path):
    """Unless there is more to know: what is at the margin may be in a string."""
    module, path = module_from(
        tmp_path,
        '''
        import numpy as np

        def keep(function):
            return function

        @keep
        @keep
        def step(
            x,
        ):
            return np.exp(x + 1)

        class Layer:
            # at the margin:
        #
            @keep
            def forward(self, x):
                def inner(y):
                    return x + y
                return inner(x)

        def talks(x):
            """
        def step(
            """
            return x + 2
        '''.replace('"""', "'''"),
    )
    assert load(module.step).sites[-1].text == "return np.exp(x + 1)"
    assert load(module.Layer.forward).parameters.positional == ("self", "x")
    file = str(path)
    known = [found.lines for (name, _, _), found in source_files._DEFINITIONS.items() if name == file]
    assert [lines[0] for lines in known] == ["import numpy, np"] * 2
    assert [lines[1] for lines in known] == ["@keep\n", "class Layer:\n"]
    assert all("def talks(x):\n" not in lines for lines in known)
    assert (file, 0) not in source_files._FILES
    assert load(module.talks).sites[-1].text == "return x + 2"
    assert (file, 0) in source_files._FILES
