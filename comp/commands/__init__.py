"""The commands of `python -m comp`, one module per family: `<command>(args)` and `<command>_arguments(parser)`."""
