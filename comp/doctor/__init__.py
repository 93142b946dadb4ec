"""What this machine has, what a training would use, and what is wrong."""
