"""The commands of ``lstm-jax``, a file for those that belong together.

setup.py       configs, tasks and trained runs, found and checked
train.py       train, resume
evaluate.py    evaluate
generate.py    generate
reproduce.py   reproduce: published figures, and receipts
describe.py    config
runs.py        runs, compare
interop.py     import, export
receipts.py    what receipts say of a recipe and of a machine
memory.py      memory: cells compete; memory_plots.py draws them
tables.py      figures as a table
extras.py      plots and baselines, which may fail without harm
process.py     what the process itself is told
"""
