"""What the commands share: finished trainings, cells side by side, and what is logged to Weights & Biases.

In come settings and the directories of runs; out go a trained model with what it is held against, processes with their
lines of progress, and a sink. A line in here may read and write run directories; it measures nothing.
"""
