"""Soak test: thousands of predictions and hundreds of fits in one process leave nothing behind.

`python -m tests.soak --out FOLDER` does them and writes what the process held after each round. `jobs` are the fits,
`work` puts them and the predictions in turn, `watch` counts, `picture` draws.
"""
