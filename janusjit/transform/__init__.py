"""Transformations of graphs: the pass manager, the passes, and the rewrite rules."""
