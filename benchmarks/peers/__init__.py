"""janusjit beside what one would otherwise rewrite a program for: ``python -m benchmarks peers``."""
