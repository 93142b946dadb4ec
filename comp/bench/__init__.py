"""How fast this machine trains and predicts with a config, through the wiring that trainings have."""
