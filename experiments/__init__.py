"""The paper's tables and curves, each from one command: `python -m experiments TABLE --data trec --model en-small`.

A table is a set of cells, each one training and one error rate. What is done is kept as a line of JSON in
`experiments/results/`; a command that is run again does what is missing. `python -m experiments report` writes the
page.
"""
