import signal
import sys

from benchmarks.accelerator.command import main

if __name__ == "__main__":
    # As Ctrl-C does: whoever ends this process also ends the stage that runs.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # A shell makes processes in the background ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
