"""What studies of the tests are told: tiny data, and a narrow network."""

TINY = (
    "preset=smoke",
    "data.num_images=1000",
    "phi=[labeller]",
    "phi.labeller.steps=40",
    "threads=1",
    "wandb.mode=offline",
    "budget.batch_size=8",
)
NARROW = ("paradigm.width=8", "paradigm.max_width=16")
VAE = ("paradigm=vae", *NARROW, *TINY)
# In the process of its study a cell takes no second import.
DEMO = ("study=demo", "hydra/launcher=basic", *VAE)
# Named by its step size, of which 1e30 fails.
GRID = (
    "study=demo",
    "hydra.sweep.subdir=cells/vae-${paradigm.learning_rate}",
    "measure.n=0",
    *VAE,
    "wandb.mode=disabled",
)
