"""What the paradigms are trained on: one file per data set, and the base that all of them share."""
