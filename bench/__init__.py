"""What the documents claim, measured: `make bench`, or `python -m bench --only NAME --quick`.

Each benchmark is a function from a `Run` to figures; `__main__` lists them. A figure is the median of several runs with
the least and the most of them, and the reach that the project set itself, so that a table can say whether it was met.

Machines differ and are shared, so what can be is measured in a way that survives that: pure code by CPU time, the
transport and the proxy side by side with something bare in the same run, interleaved, as a ratio. The load average
before and after each benchmark is part of the result.
"""
