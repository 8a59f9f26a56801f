"""Runs: from a config to results, on from a checkpoint, and back into Python.

configs         a config file to a config, a task and the folder of the run
shipped         the configs that come with the package
old_keys        config keys of older versions
train           a run from its config to its results
resume          a run from its last good checkpoint on
init_from       a run that starts from the weights of another
enough_memory   whether a training fits into memory, before it starts
results         the metrics of a trained run
load            a trained run, in Python: `lstm_jax.load_run`
ensemble        several trained translators as one
"""
