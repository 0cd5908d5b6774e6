"""A model is asked: draws, pairs, injections, walks; and what the answers are held against.

In come a model that meets the contract, real images and φ; out goes the evidence that the four questions look at.
``Subject`` is the model with its images, ``Ruler`` what real images say of them in one φ, ``Observations`` are the
values and images of one candidate, ``Evidence`` is what one φ sees of these. A line in here may draw, generate and
invert; it judges nothing.
"""
