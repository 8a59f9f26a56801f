"""The commands of ``lstm-jax``, a file for those that belong together.

arguments.py   arguments that several commands have
train.py       train, resume
worker.py      one of several processes that train together, and its watcher
sweep.py       sweep
evaluate.py    evaluate
generate.py    generate
reproduce.py   reproduce: published results, and receipts
describe.py    config
listing.py     runs, compare
interop.py     import, export
receipts.py    what receipts say of a recipe and of a machine
memory.py      memory: compares cells; memory_plots.py draws the curves
process.py     memory and messages of the process itself
"""
