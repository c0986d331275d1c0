"""Measurements. Every claim of speed or memory comes from here, beside peers run in the same minute on the same threads.

python -m benchmarks steps --models mlp_tiny mlp_784 --threads 1 2
python -m benchmarks kernels --families contraction
python -m benchmarks calls
python -m benchmarks math_ulp
"""
