"""Every test runs with the verifier on: a bug of the compiler is an error here, not a quiet fallback."""

import gc
import math
import os

os.environ.setdefault("JANUSJIT_VERIFY", "1")
os.environ.setdefault("JANUSJIT_QUIET", "1")
os.environ.setdefault("JANUSJIT_BACKGROUND", "0")  # which calls run where must not depend on timing
os.environ["JANUSJIT_CACHE"] = "0"  # nor on what was compiled before, and never touch the user's directory
os.environ["JANUSJIT_CALIBRATION"] = "0"  # nor on what the machine is good at
os.environ.setdefault("JANUSJIT_TRIALS", "0")  # nor on which way is faster for a toy

from collections.abc import Iterator

import hypothesis
import pytest

hypothesis.settings.register_profile("default", deadline=None, derandomize=True)
hypothesis.settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the files that tests compare output with")
    parser.addoption("--programs", type=int, default=None, help="how many random programs to run")
    parser.addoption("--seed", type=int, default=0, help="the first of the seeds of random gradients")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """Whether a golden file is to be written rather than compared."""
    return bool(request.config.getoption("--update-golden"))


def pytest_configure(config: pytest.Config) -> None:
    # not in pyproject.toml: to name the class, pytest imports the package, and the variables above have to be set first
    config.addinivalue_line("filterwarnings", "error::janusjit.errors.DegradedWarning")


@pytest.fixture(autouse=True, scope="module")
def _collections_look_through_what_a_module_makes() -> None:
    """The thousands of tests, and what compiled functions before left alive, are not gone through each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_loop_is_hot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a loop is taken over must not depend on how busy the machine is; tests of that say when."""
    from janusjit.runtime import replacement

    monkeypatch.setattr(replacement, "HOT_SECONDS", math.inf)


@pytest.fixture(autouse=True)
def _unchanged_configuration() -> Iterator[None]:
    from janusjit import config

    before = config.current()
    assert before.verify
    yield
    assert config.current() is before, "a test left the configuration changed"
