"""Studies: many runs with a question. They call `experiment`, never the trainer."""
