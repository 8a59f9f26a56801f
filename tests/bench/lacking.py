"""A stage of `benchmarks.accelerator` on a machine without torch."""

raise ModuleNotFoundError("No module named 'torch'", name="torch")
