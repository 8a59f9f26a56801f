"""The training engine: it takes objects and knows no task.

task.py          what a task is: a protocol of pure functions
metrics.py       named metrics: sums and weights, units, directions
batches.py       batches from the device or from the host, by step
placement.py     where arrays lie: one device, or the devices of a mesh
parallel.py      the config of that
processes.py     several processes that train one run
schedules.py     learning-rate schedules, a config for each kind
optimizer.py     an Optax chain from its config
averaging.py     averages of the parameters
step.py          one step, and blocks of steps of any number of seeds, as pure functions
trainer.py       blocks of steps, and the hooks between them
hooks.py         logging, evaluation, checkpoints, progress
validation.py    what follows from validation metrics: best, patience, plateaus
checkpoint.py    the state on disk, whole or not there
run_folder.py    the files of a run: config, metrics, weights
metrics_file.py  the lines of metrics.jsonl
run_errors.py    what cannot be read or written, and what to do
environment.py   versions and devices
metadata.py      what is known of a run, as one typed object
progress.py      what the user sees meanwhile
events.py        the metrics for TensorBoard
plots.py         curves, one image a metric
stop.py          Ctrl-C, SIGTERM and SIGHUP as requests
"""
