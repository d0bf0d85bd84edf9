"""The hospital's job: a logistic regression by gradient descent, with nothing but the standard library.

It reads records.csv, keeps every fifth record for testing, standardises, trains for as many epochs as it is told,
and writes weights.json.
"""

import csv
import json
import math
import os
import pathlib
import sys

RATE = 0.2
Row = tuple[list[float], int]  # features, and a label that is 0 or 1


def read(path: str) -> list[Row]:
    with open(path, newline="") as file:
        rows = csv.reader(file)
        next(rows)
        return [([float(value) for value in row[:-1]], int(row[-1])) for row in rows]


def standardise(train: list[Row], test: list[Row]) -> tuple[list[Row], list[Row]]:
    columns = list(zip(*(features for features, _ in train)))
    means = [sum(column) / len(column) for column in columns]
    spreads = [
        math.sqrt(sum((value - mean) ** 2 for value in column) / len(column)) or 1.0
        for column, mean in zip(columns, means)
    ]

    def scaled(rows: list[Row]) -> list[Row]:
        return [([(v - m) / s for v, m, s in zip(features, means, spreads)], label) for features, label in rows]

    return scaled(train), scaled(test)


def predict(weights: list[float], features: list[float]) -> float:
    z = weights[0] + sum(w * x for w, x in zip(weights[1:], features))
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, z))))


def train(rows: list[Row], epochs: int) -> list[float]:
    weights = [0.0] * (len(rows[0][0]) + 1)
    for epoch in range(epochs):
        gradient, loss = [0.0] * len(weights), 0.0
        for features, label in rows:
            p = predict(weights, features)
            loss -= math.log(max(p if label else 1 - p, 1e-12))
            gradient[0] += p - label
            for i, x in enumerate(features, start=1):
                gradient[i] += (p - label) * x
        weights = [w - RATE * g / len(rows) for w, g in zip(weights, gradient)]
        if (epoch + 1) % (epochs // 10) == 0:
            print(f"epoch {epoch + 1}: loss {loss / len(rows):.4f}", flush=True)
    return weights


def main() -> None:
    rows = read("records.csv")
    test = rows[::5]
    training = [row for i, row in enumerate(rows) if i % 5]
    training, test = standardise(training, test)
    weights = train(training, int(sys.argv[1]))
    right = sum((predict(weights, features) > 0.5) == (label == 1) for features, label in test)
    accuracy = right / len(test)
    print(f"accuracy {accuracy:.4f} on {len(test)} records", flush=True)
    out = pathlib.Path(os.environ["CARNET_OUTPUT"])
    (out / "weights.json").write_text(json.dumps({"accuracy": accuracy, "weights": weights, "tested": len(test)}))


main()
