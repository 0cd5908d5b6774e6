"""Models that are adopted, not trained: text-to-image pipelines of ``diffusers``, behind the same contract.

In come weights on disk and prompts; out goes a model with its latent candidates, found in its network by the rules of a
family. A line in here may know ``diffusers`` and ``transformers``; it trains nothing and downloads nothing.
"""
