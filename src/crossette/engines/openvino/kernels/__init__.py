"""Layers and products with quantised matrices, by kernels of crossette's own where a C++ compiler is."""
