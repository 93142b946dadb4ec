"""`make gpu-check`: what only a GPU can show, in one table. No part of the test suite, which needs no GPU."""
