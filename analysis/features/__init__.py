"""φ: what images are compared by, and the factors that can be read from it.

In come images (N, C, H, W) in [-1, 1]; out go features (N, D), bounded, and readings of the factors. A line in here may
train a small network on the data set, and keep it; it knows no model under test, which lends its features to no φ.
"""
