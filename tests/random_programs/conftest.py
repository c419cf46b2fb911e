"""The option that sets how many random programs are run."""


def pytest_addoption(parser):
    parser.addoption("--programs", type=int, default=None, help="how many random programs to compare with plain Python")
