"""The LLVM backend: entry functions, lowering of graphs, kernels."""
