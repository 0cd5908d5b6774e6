"""What is trained: one file per paradigm, and the contract that all of them meet."""
