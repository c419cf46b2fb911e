"""From graphs to native code."""
