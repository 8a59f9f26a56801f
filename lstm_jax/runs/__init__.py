"""Runs: from a config to results, on from a checkpoint, and back into Python.

configs     a config file to a config, a task and the folder of the run
shipped     the configs that come with the package
train       a run from its config to its results
resume      a run from its last good checkpoint on
results     the metrics of a trained run
load        a trained run, in Python: `lstm_jax.load_run`
"""
