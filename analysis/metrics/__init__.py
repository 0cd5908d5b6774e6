"""Mathematics on arrays: neighbours, kernels, paths, effects, similarity, probes, disentanglement, calibration.

In come features, values and factors as arrays; out go numbers, and how sure one may be of them. A line in here knows no
model, no image and no file, and imports nothing of ours but from this room.
"""
