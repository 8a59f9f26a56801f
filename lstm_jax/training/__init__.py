"""The training engine: it takes objects and knows no task.

optimizer.py     an Optax chain from its config
averaging.py     averages of the parameters
step.py          one step, and blocks of steps of any number of seeds, as pure functions
validation.py    what follows from validation losses: best, patience, plateaus
checkpoint.py    the state on disk, whole or not there
record.py        the files of a run: config, metrics, versions, weights
progress.py      what a person sees meanwhile, in the words of the task
events.py        the metrics once more, for TensorBoard
plots.py         curves, from the metrics of a run
stop.py          Ctrl-C and SIGTERM as requests
loop.py          blocks of steps, evaluation, checkpoints, clean stops
"""
