"""A stage of `benchmarks.accelerator` on a machine without torch."""


def cases(setting):
    del setting
    raise ModuleNotFoundError("No module named 'torch'", name="torch")
