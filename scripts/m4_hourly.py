"""Writes the hourly series of the M4 competition in the long form.

    python scripts/m4_hourly.py Hourly-train.csv.gz Hourly-test.csv.gz m4_hourly.csv

The files are those of github.com/Mcompetitions/M4-methods, with a row for each series.
The last 48 hours of a series are those of the test file. M4 gives no times, so hours
are numbered.
"""

import argparse
import csv
import gzip
from pathlib import Path


def series(path):
    """The values of every series as texts, by name."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        next(rows)
        return {name: [cell for cell in cells if cell] for name, *cells in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("train", "test", "out"):
        parser.add_argument(name, type=Path)
    args = parser.parse_args()
    train, test = series(args.train), series(args.test)
    with args.out.open("x", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["unique_id", "ds", "y"])
        for name, values in train.items():
            whole = [*values, *test[name]]
            rows.writerows([name, hour, value] for hour, value in enumerate(whole))
    print(f"{len(train)} series: {args.out}")


if __name__ == "__main__":
    main()
