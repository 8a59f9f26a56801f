"""Is this library right and fast on this machine's accelerator? An answer in minutes.

    python -m benchmarks.accelerator [--minutes 8] [--out FOLDER] [--dry-run] [--list]

command.py           the arguments and the exit status
packages.py          what is missing, and wheels from a folder
stages.py            the stages, the most important first
supervise.py         runs the stages, each in a process with a time limit
child.py             such a process: runs the cases of a stage and reports their rows
record.py            the file of the results, complete after every row
contenders.py        libraries that do the same work, checked and then timed

numbers.py           stage: the worked example; errors by matmul precision
checks.py            stage: a sample of the tests
trainings.py         stage: every task trains, stops and resumes
one_layer.py         stage: a training step of one layer, by library
unrolled.py          stage: several steps of the scan in one turn of its loop
newton.py            stage: Newton's method against the scan
language_models.py   stage: a training step of two published language models
"""
