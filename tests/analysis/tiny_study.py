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
# For several step sizes, of which 1e30 fails.
GRID = (
    "study=demo",
    "measure.n=0",
    *VAE,
    "wandb.mode=disabled",
)


def named(learning_rate):
    """The cell of :data:`GRID` with one of several step sizes, as overrides have it."""
    return f"vae-shapes-learning_rate{learning_rate}-b16-s0"
