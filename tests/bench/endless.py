"""A stage that never ends: whoever runs it has to be killed."""

import itertools
import time


def cases(setting):
    del setting
    return {"rows": rows}


def rows():
    for n in itertools.count():
        yield {"number": n, "text": "a row that is long enough to be cut " * 50}
        time.sleep(0.001)
