"""What is trained, one file per paradigm; what is adopted, in ``pretrained``; what both stand on, contract and taps."""
