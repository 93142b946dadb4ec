"""The command line of `python -m comp`: thin modules, each `arguments(parser)` and `run(args)`."""
