#!/usr/bin/env python3
"""Compares an embedding that Preon wrote with the float64 NumPy BERT of bert_numpy.py.

    python3 check_embedding.py MODEL_FOLDER "the text" embedding.npy [least cosine, default 0.99999]

Prints the cosine and the largest difference; exit code 0 if the cosine is high enough, 1 if not.
"""

import sys

import numpy as np
from bert_numpy import embed


def main():
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    folder, text, path = sys.argv[1:4]
    least = float(sys.argv[4]) if len(sys.argv) == 5 else 0.99999
    ids, want = embed(folder, text)
    got = np.load(path).astype(np.float64).ravel()
    if got.shape != want.shape:
        sys.exit(f"{path} holds {got.size} numbers, not {want.size}")
    cosine = float(got @ want / (np.linalg.norm(got) * np.linalg.norm(want)))
    print(f"tokens {len(ids)}  cosine {cosine:.9f}  largest difference {np.abs(got - want).max():.3g}")
    sys.exit(0 if cosine >= least else 1)


if __name__ == "__main__":
    main()
