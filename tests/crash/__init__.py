"""Crash testing: real `textxfer` processes are ended at random moments, go on, and must lose nothing.

`python -m tests.crash --minutes 20 --seed 1` prints how many processes were ended, how many went on from a saved state,
and what was lost. `jobs` are the commands, `ends` the ways in which they end, `checks` what must hold afterwards,
`rounds` the course of it. `server` forks processes that need not import torch first; `processes` starts them.
"""
