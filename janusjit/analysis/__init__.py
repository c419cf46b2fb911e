"""From a Python function to a graph: source, Core, scope, capture."""
