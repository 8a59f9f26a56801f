"""The training engine: it takes objects and knows no task.

optimizer.py     an Optax chain from its config
step.py          one step, and a block of steps, as pure functions
checkpoint.py    the state on disk, atomically
record.py        the files of a run: config, metrics, versions, weights
progress.py      what a person sees meanwhile
plots.py         curves, from the metrics of a run
loop.py          blocks of steps, evaluation, checkpoints, clean stops
"""
